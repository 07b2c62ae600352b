//! The configuration as the running gateway uses it: services by name, each with what its tasks need.

use gateway_celery::{Call, Protocol};
use gateway_config::{Config, ResultBackend, Scaling, Service};
use gateway_contract::Service as LayerService;
use gateway_life::Millis;
use gateway_worker::{ProcessLimits, Program};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// One service.
#[derive(Debug)]
pub struct ServicePlan {
    /// As layers see it.
    pub layer: Arc<LayerService>,
    /// Its table.
    pub config: Service,
    /// The program of its worker, if it has one. (The workflow service needs none: we run its chains.)
    pub program: Option<Program>,
    name: Arc<str>,
}

impl ServicePlan {
    /// Its name in the configuration.
    pub fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// How many tasks a worker of its runs at once.
    pub fn worker_slots(&self) -> u32 {
        self.config.worker.as_ref().map_or(self.config.scaling.worker_slots, |worker| worker.concurrency).max(1).into()
    }

    /// The task's name without the application's.
    pub fn task_name(&self) -> &str {
        &self.config.task
    }
}

/// What is the same for all services, and the services.
#[derive(Debug)]
pub struct Plan {
    services: Vec<Arc<ServicePlan>>,
    by_name: HashMap<Arc<str>, usize>,
    app: String,
    origin: String,
    /// The queue that takes the results.
    pub reply_queue: String,
    /// What tasks carry as `reply_to`: workers of the rpc backend send their results there. The other backends' clients
    /// send an id of theirs that no worker looks at; so do we.
    reply_to: String,
    /// Celery's message protocol.
    pub protocol: Protocol,
    /// How many workers are wanted, over all services.
    pub scaling: Scaling,
}

impl Plan {
    /// The plan of a checked configuration, for the installation with this id.
    pub fn new(config: &Config, installation: Uuid) -> Self {
        let services: Vec<_> = config
            .services
            .iter()
            .zip(0_u16..)
            .map(|((name, service), index)| {
                let layer = LayerService {
                    index,
                    name: name.as_str().into(),
                    route: service.route.as_str().into(),
                    requires_document: service.requires_document,
                };
                let program = service.worker.as_ref().filter(|worker| !worker.command.is_empty()).map(program);
                Arc::new(ServicePlan {
                    layer: Arc::new(layer),
                    config: service.clone(),
                    program,
                    name: name.as_str().into(),
                })
            })
            .collect();
        let by_name = services.iter().enumerate().map(|(at, service)| (service.name(), at)).collect();
        let reply_queue = match config.broker.reply_queue.as_str() {
            "" => format!("service-gateway.replies.{installation}"),
            name => name.to_owned(),
        };
        let reply_to = match config.broker.result_backend {
            ResultBackend::Rpc => reply_queue.clone(),
            ResultBackend::Amqp | ResultBackend::Redis(_) => installation.to_string(),
        };
        let protocol = if config.broker.task_protocol == 1 { Protocol::One } else { Protocol::Two };
        Self {
            services,
            by_name,
            app: config.broker.app.clone(),
            origin: origin(),
            reply_queue,
            reply_to,
            protocol,
            scaling: config.scaling.clone(),
        }
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Arc<ServicePlan>> {
        self.by_name.get(name).map(|&at| &self.services[at])
    }

    /// All services, by index.
    pub fn services(&self) -> &[Arc<ServicePlan>] {
        &self.services
    }

    /// The Celery call of a task of that service, without its argument; `run_limit` in milliseconds.
    pub fn call(&self, service: &ServicePlan, id: Uuid, run_limit: Option<Millis>) -> Call {
        let name = format!("{}.{}", self.app, service.task_name());
        let queue = service.config.queue.as_str();
        let call = Call::new(id, name, queue, self.reply_to.as_str(), self.origin.as_str());
        // In whole seconds, and not below one: Celery's worker stops a run that takes longer.
        let seconds = run_limit.map(|limit| u32::try_from(limit.max(1_000) / 1_000).unwrap_or(u32::MAX));
        Call { time_limit: (seconds, None), ..call }
    }
}

/// A service's program as it is configured.
pub(crate) fn program(worker: &gateway_config::Worker) -> Program {
    Program {
        progress: worker.progress.as_ref().map(|pattern| pattern.regex().clone()),
        timeout: worker.timeout,
        max_document: worker.max_document.bytes(),
        limits: ProcessLimits {
            memory: worker.memory.map(gateway_config::Size::bytes),
            cpu_time: worker.cpu_time,
            open_files: worker.open_files.map(u64::from),
        },
        ..Program::new(worker.command.clone())
    }
}

/// Who sends, as Celery's tools show it: `gateway@host`.
fn origin() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("service-gateway@{}", host.trim())
}
