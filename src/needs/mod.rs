//! How many workers are needed: asks store and broker, and lets [`gateway_scaling`] conclude.
//!
//! | asked | for |
//! |---|---|
//! | the queue (`queue.declare`, passive) | what waits there, how many workers consume it |
//! | the store's counters | arrivals; what is accepted and not yet sent |
//! | the store's oldest open tasks | what runs (results, progress and events of workers), the age of the oldest |
//! | the store's latest ended tasks | how long tasks take |
//!
//! All of it is asked at most once a second, whoever asks us, and every `scaling.interval` if nobody does, so that rates
//! and the patience before workers are taken away do not hang on who looks. After a start the last hour is read from
//! the store.

mod gauges;
mod watched;

use crate::{
    broker::{Broker, Queued},
    engine::now,
    plan::Plan,
    store::{LATEST, Store, StoreError, Tally},
};
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use gateway_config::{ScalingPolicy, ServiceScaling};
use gateway_contract::{Needs, Rejection};
use gateway_life::Millis;
use gateway_metrics::Family;
use gateway_scaling::{Policy, Rules, Wish, share};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Cell, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use watched::{Seen, Watched};

/// What was found out is told again for so long.
const FRESH: Duration = Duration::from_secs(1);
/// How far back the store is read at the beginning, in milliseconds.
const HISTORY: Millis = 3_600_000;

/// Why it cannot be told.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NeedsError {
    /// The broker does not say what waits.
    #[error("the broker cannot be asked how many tasks wait and who works: GET /readyz says why")]
    Broker,
    /// The store does not say what it knows.
    #[error("the store cannot be read now")]
    Store(#[source] StoreError),
    /// The service is gone from the configuration.
    #[error("this service was removed from the configuration")]
    Gone,
}

impl From<NeedsError> for Rejection {
    fn from(error: NeedsError) -> Self {
        Rejection::unavailable(error.to_string(), 5).with_cause(error)
    }
}

type Told = Result<Arc<[Needs]>, NeedsError>;

/// Finds out how many workers are needed.
pub(crate) struct Assessor {
    plan: Arc<ArcSwap<Plan>>,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    began: Instant,
    state: Mutex<State>,
    /// For whoever cannot wait.
    last: Cell<Option<(Instant, Arc<[Needs]>)>>,
}

#[derive(Default)]
struct State {
    services: HashMap<Arc<str>, Watched>,
    /// Ends after this time are new.
    since: Option<Millis>,
    told: Option<(Instant, Told)>,
}

impl Assessor {
    pub(crate) fn new(plan: Arc<ArcSwap<Plan>>, store: Arc<dyn Store>, broker: Arc<dyn Broker>) -> Self {
        let (state, last) = (Mutex::default(), Cell::default());
        Self { plan, store, broker, began: Instant::now(), state, last }
    }

    /// Looks every interval, so that there is a history when somebody asks. Ends at `shutdown`.
    pub(crate) async fn tend(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            if let Err(error) = self.all().await {
                tracing::debug!(%error, "how many workers are needed is not known");
            }
            let interval = self.plan.load().scaling.interval.max(FRESH);
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// The needs of one service, or of all in the order of their names.
    pub(crate) async fn of(&self, service: Option<&str>) -> Result<Vec<Needs>, NeedsError> {
        let all = self.all().await?;
        let Some(name) = service else { return Ok(all.to_vec()) };
        all.iter().find(|needs| &*needs.service == name).map(|needs| vec![needs.clone()]).ok_or(NeedsError::Gone)
    }

    /// Whoever comes while somebody else asks waits for the same answer.
    async fn all(&self) -> Told {
        let mut state = self.state.lock().await;
        if let Some((at, told)) = &state.told
            && at.elapsed() < FRESH
        {
            return told.clone();
        }
        let told = self.look(&mut state).await;
        state.told = Some((Instant::now(), told.clone()));
        let last = told.as_ref().ok().map(|needs| (Instant::now(), needs.clone()));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        told
    }

    async fn look(&self, state: &mut State) -> Told {
        let plan = self.plan.load_full();
        let (at, wall) = (self.began.elapsed().as_secs_f64(), now());
        let first = state.since.is_none();
        let since = state.since.unwrap_or(wall - HISTORY);
        let queued = join_all(plan.services().iter().map(|service| self.broker.queued(&service.name())));
        let (queued, tally) = tokio::join!(queued, self.store.tally(wall, since));
        let tally = tally.map_err(NeedsError::Store)?;
        let queued: Vec<Queued> = queued.into_iter().collect::<Option<_>>().ok_or(NeedsError::Broker)?;
        if first {
            self.restore(state, &plan, &tally, at, wall).await?;
        }
        state.since = Some(tally.ended.first().map_or(since, |latest| latest.ended.max(since)));
        for took in tally.ended.iter().rev() {
            let watched = state.services.entry(took.service.clone()).or_default();
            watched.times.observe(took.took as f64 / 1000.0);
        }
        let mut needs = Vec::with_capacity(queued.len());
        let policy = policy(plan.scaling.policy);
        for (service, queued) in plan.services().iter().zip(queued) {
            let rules = rules(&plan, &service.config.scaling);
            let keep = keep(&plan, &service.config.scaling);
            let seen = Seen { queued, counts: tally.counts.get(&service.name()).cloned().unwrap_or_default(), wall };
            let watched = state.services.entry(service.name()).or_default();
            needs.push(watched.look(&service.name(), at, &seen, policy, &rules, keep));
        }
        state.services.retain(|name, _| plan.service(name).is_some());
        share_out(&mut needs, plan.scaling.max_workers);
        Ok(needs.into_iter().map(|(needs, _)| needs).collect())
    }

    /// What came in the last hour, by minutes: that nothing came is known, too.
    async fn restore(
        &self,
        state: &mut State,
        plan: &Plan,
        tally: &Tally,
        at: f64,
        wall: Millis,
    ) -> Result<(), NeedsError> {
        let latest = self.store.arrivals(wall - HISTORY).await.map_err(NeedsError::Store)?;
        // If these are not all, nothing is known of what was before the oldest.
        let complete = latest.len() < LATEST;
        let first = if complete { wall - HISTORY } else { latest.last().map_or(wall, |(_, oldest)| *oldest) };
        for name in plan.services().iter().map(|service| service.name()) {
            let accepted = tally.counts.get(&name).map_or(0, |counts| counts.accepted);
            let mine: Vec<_> = latest.iter().filter(|(service, _)| *service == name).map(|(_, at)| *at).collect();
            let watched = state.services.entry(name).or_default();
            for ago in (1..=HISTORY / 60_000).rev().map(|minutes| minutes * 60_000) {
                let then = wall - ago;
                if then >= first {
                    // The latest first: as many as are younger.
                    let since = mine.partition_point(|submitted| *submitted > then) as u64;
                    watched.arrivals.observe(at - ago as f64 / 1000.0, accepted.saturating_sub(since));
                }
            }
        }
        Ok(())
    }

    /// The latest, as gauges in Prometheus' text format; nothing if they are not known now.
    pub(crate) fn families(&self) -> Vec<Family> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let old = 3 * self.plan.load().scaling.interval.max(FRESH);
        last.filter(|(at, _)| at.elapsed() < old).map_or_else(Vec::new, |(_, needs)| gauges::families(&needs))
    }
}

/// All services share what there may be.
fn share_out(needs: &mut [(Needs, u32)], total: u32) {
    let wishes: Vec<_> =
        needs.iter().map(|(needs, busy)| Wish { desired: needs.desired_workers, busy: *busy }).collect();
    for ((needs, _), given) in needs.iter_mut().zip(share(&wishes, total)) {
        if given < needs.desired_workers {
            needs.reason = gateway_scaling::Reason::Shared { total, wanted: needs.desired_workers }.to_string();
            needs.desired_workers = given;
        }
    }
}

fn policy(policy: ScalingPolicy) -> Policy {
    match policy {
        ScalingPolicy::Load => Policy::Load,
        ScalingPolicy::Backlog => Policy::Backlog,
        ScalingPolicy::Original => Policy::Original,
    }
}

fn rules(plan: &Plan, service: &ServiceScaling) -> Rules {
    Rules {
        target_wait: service.target_wait.as_secs_f64(),
        start_time: service.start_time.as_secs_f64(),
        max_workers: service.max_workers.min(plan.scaling.max_workers),
        min_idle_workers: plan.scaling.min_idle_workers.min(service.max_workers),
        spawn_ratio: service.spawn_ratio,
        backlog_threshold: plan.scaling.backlog_threshold,
    }
}

/// How long a worker that is not needed is kept, in seconds.
fn keep(plan: &Plan, service: &ServiceScaling) -> f64 {
    service.keep_idle.unwrap_or_else(|| service.start_time.max(2 * plan.scaling.interval)).as_secs_f64()
}
