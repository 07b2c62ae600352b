//! `info`: what a service, the platform and the gateway are.

use crate::{About, PageSource, Pages, ServicePages};
use gateway_contract::{Base, Page, Reply, View, data};
use serde_json::{Map, Value, json};

/// `/S/info`. `workers` is `None` where nobody could be asked.
pub(crate) fn of_service<R>(pages: &Pages, service: &ServicePages, workers: Option<u32>) -> Reply<R> {
    let mut info = about(&service.profile.about);
    info.insert("tags".into(), service.profile.about.tags().collect());
    info.insert("version".into(), format!("{}_{}", pages.version, service.version).into());
    info.insert("activeWorkers".into(), workers.into());
    data(Value::Object(info).to_string(), View::Info)
}

/// `/platform/info`.
pub(crate) fn of_platform<R>(pages: &Pages) -> Reply<R> {
    let mut info = about(&pages.platform.about);
    info.insert("tags".into(), pages.platform.about.tags().collect());
    info.insert("version".into(), pages.version.as_str().into());
    data(Value::Object(info).to_string(), View::Info)
}

/// `/info`: every service by its configured name. Always JSON.
pub(crate) fn of_all<R>(pages: &Pages, base: Option<&Base>) -> Reply<R> {
    let services: Map<String, Value> =
        pages.services.iter().map(|service| (service.service.name.to_string(), configured(service, base))).collect();
    let info = json!({ "version": pages.version, "services": services });
    data(info.to_string(), View::JsonOnly)
}

/// A service as its configuration says it, in the original's words: tags in one string, the version alone.
fn configured(service: &ServicePages, base: Option<&Base>) -> Value {
    let mut info = about(&service.profile.about);
    info.insert("tags".into(), service.profile.about.tags().collect::<Vec<_>>().join(", ").into());
    info.insert("version".into(), service.version.as_str().into());
    info.insert("route_keyword".into(), (*service.service.route).into());
    info.insert("celery_task_name".into(), service.task.as_str().into());
    info.insert("celery_queue_name".into(), service.queue.as_str().into());
    for page in Page::ALL {
        info.insert(page.name().into(), shown(service, page, base).into());
    }
    Value::Object(info)
}

/// A page as its configuration writes it; a file's is the path at which we show it, for where the file lies on our
/// disk is nobody's business.
fn shown(service: &ServicePages, page: Page, base: Option<&Base>) -> String {
    match service.profile.pages.get(&page) {
        None => String::new(),
        Some(PageSource::Redirect(url)) => url.clone(),
        Some(PageSource::Text { body, status }) => format!("{body},{}", status.as_u16()),
        Some(PageSource::Html(_)) => {
            let root = base.map_or("", |base| &*base.0).trim_end_matches('/');
            let segment = if page == Page::Home { "" } else { page.name() };
            format!("{root}{}{segment}", service.service.path())
        }
    }
}

/// What every kind of info begins with, under CANARIE's names.
fn about(about: &About) -> Map<String, Value> {
    [
        ("name", &about.name),
        ("synopsis", &about.synopsis),
        ("institution", &about.institution),
        ("releaseTime", &about.release_time),
        ("supportEmail", &about.support_email),
        ("category", &about.category),
        ("researchSubject", &about.research_subject),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.as_str().into()))
    .collect()
}
