//! What the layer was told once: plain data.

use crate::PageSource;
use gateway_contract::{Page, Service};
use std::{collections::HashMap, sync::Arc};

/// Everything that is known from configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages {
    /// The gateway's own version.
    pub version: String,
    /// Every configured service, in the order in which `/info` shows them.
    pub services: Vec<ServicePages>,
    /// The installation as a whole.
    pub platform: Profile,
}

impl Pages {
    /// Where that service stands in `services`: usually at its index.
    pub(crate) fn position(&self, service: &Service) -> Option<usize> {
        let is_it = |pages: &ServicePages| pages.service.index == service.index;
        let index = usize::from(service.index);
        if self.services.get(index).is_some_and(is_it) {
            return Some(index);
        }
        self.services.iter().position(is_it)
    }
}

/// What is known of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePages {
    /// Its name, route and index.
    pub service: Arc<Service>,
    /// The task's name as configured, without the application's.
    pub task: String,
    /// The queue's name.
    pub queue: String,
    /// The workers' expected version; empty if it is not checked.
    pub version: String,
    /// What it shows of itself.
    pub profile: Profile,
}

/// What a service, or the platform, shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// CANARIE's facts.
    pub about: About,
    /// CANARIE's pages; one that is missing here is not configured.
    pub pages: HashMap<Page, PageSource>,
}

/// CANARIE's facts about a service or a platform, each as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names of the CANARIE registry say it all
pub struct About {
    pub name: String,
    pub synopsis: String,
    pub institution: String,
    /// RFC 3339.
    pub release_time: String,
    pub support_email: String,
    pub category: String,
    pub research_subject: String,
    pub tags: Vec<String>,
}

impl About {
    /// The tags without the white space that configuration leaves round them.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty())
    }
}
