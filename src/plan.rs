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
    /// Those that a reload has taken out of the configuration. Their tasks come to their ends and can be asked for until
    /// the process ends; nothing new is accepted for them.
    retired: Vec<Arc<ServicePlan>>,
    by_name: HashMap<Arc<str>, Arc<ServicePlan>>,
    /// By index, every service that there was in the life of this process.
    names: Vec<Arc<str>>,
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
        Self::after(config, installation, Vec::new(), Vec::new())
    }

    /// The plan of another configuration while the process lives: a service that both name keeps its index, and one
    /// that only this plan names is retired.
    #[must_use]
    pub fn next(&self, config: &Config, installation: Uuid) -> Self {
        let known = self.services.iter().chain(&self.retired);
        let retired = known.filter(|service| !config.services.contains_key(&*service.name)).cloned().collect();
        Self::after(config, installation, self.names.clone(), retired)
    }

    fn after(config: &Config, installation: Uuid, mut names: Vec<Arc<str>>, retired: Vec<Arc<ServicePlan>>) -> Self {
        let services: Vec<_> =
            config.services.iter().map(|(name, service)| Arc::new(service_plan(name, service, &mut names))).collect();
        let all = services.iter().chain(&retired);
        let by_name = all.map(|service| (service.name(), service.clone())).collect();
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
            retired,
            by_name,
            names,
            app: config.broker.app.clone(),
            origin: origin(),
            reply_queue,
            reply_to,
            protocol,
            scaling: config.scaling.clone(),
        }
    }

    /// The service of that name, also if it is retired.
    pub fn service(&self, name: &str) -> Option<&Arc<ServicePlan>> {
        self.by_name.get(name)
    }

    /// The service of that name, if tasks are accepted for it.
    pub fn open(&self, name: &str) -> Option<&Arc<ServicePlan>> {
        self.service(name).filter(|service| !self.retired.iter().any(|retired| Arc::ptr_eq(retired, service)))
    }

    /// All services that are configured, in the order of their names.
    pub fn services(&self) -> &[Arc<ServicePlan>] {
        &self.services
    }

    /// Those that a reload has taken out.
    pub fn retired(&self) -> &[Arc<ServicePlan>] {
        &self.retired
    }

    /// The names of all services that there were since the process began, each at its index.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
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

/// A service with the index that it had before, or a new one.
fn service_plan(name: &str, service: &Service, names: &mut Vec<Arc<str>>) -> ServicePlan {
    let known = names.iter().position(|known| **known == *name);
    let index = known.unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    });
    let layer = LayerService {
        // 65,536 services in one process: the configuration file would be larger than it may be.
        index: u16::try_from(index).unwrap_or(u16::MAX),
        name: name.into(),
        route: service.route.as_str().into(),
        requires_document: service.requires_document,
    };
    let program = service.worker.as_ref().filter(|worker| !worker.command.is_empty()).map(program);
    ServicePlan { layer: Arc::new(layer), config: service.clone(), program, name: names[index].clone() }
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
