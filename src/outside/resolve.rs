//! Names to addresses, judged at the moment we connect.

use crate::policy::{Policy, not_allowed};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{net::SocketAddr, sync::Arc};

/// The system's resolver, without the addresses that the policy refuses. What is connected to is what was judged:
/// there is no second look-up in between.
#[derive(Debug)]
pub(crate) struct JudgingResolver {
    pub(crate) policy: Arc<Policy>,
}

impl Resolve for JudgingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
            let any = !found.is_empty();
            let admitted: Vec<_> = found.into_iter().filter(|a| policy.admits_address(name, a.ip())).collect();
            if any && admitted.is_empty() {
                return Err(not_allowed(name).into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}
