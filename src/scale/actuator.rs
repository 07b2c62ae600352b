//! Who starts and stops workers.

use super::{
    command::Commands,
    crew::{Crew, Process},
    local::Local,
};
use gateway_config::Service;
use std::path::PathBuf;

/// Starts, stops and lists the workers of one service. Errors are for the log.
pub(super) enum Actuator {
    Local(Local),
    Commands(Commands),
}

impl Actuator {
    /// An operator's commands where there are any, else processes on this machine where we know the program.
    pub(super) fn of(name: &str, service: &Service, file: Option<PathBuf>) -> Option<Self> {
        let scaling = &service.scaling;
        if !scaling.spawn.is_empty() {
            return Some(Self::Commands(Commands::new(name, scaling)));
        }
        service.worker.as_ref().map(|worker| Self::Local(Local::new(name, worker.timeout, file)))
    }

    /// Starts a worker of that name.
    pub(super) async fn spawn(&mut self, name: &str) -> Result<Option<Process>, String> {
        match self {
            Self::Local(local) => local.spawn(name).map(Some),
            Self::Commands(commands) => commands.spawn(name).await.map(|()| None),
        }
    }

    /// Has a worker finish what it does, and end.
    pub(super) async fn stop(&mut self, name: &str, crew: &Crew) -> Result<(), String> {
        match self {
            Self::Local(_) => Local::stop(name, crew),
            Self::Commands(commands) => commands.stop(name).await,
        }
    }

    /// The names of the workers that live.
    pub(super) async fn list(&mut self, crew: &Crew) -> Result<Vec<String>, String> {
        match self {
            Self::Local(local) => Ok(local.list(crew)),
            Self::Commands(commands) => commands.list().await,
        }
    }
}
