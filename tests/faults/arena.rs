//! A gateway with a network on each side that can be stopped at a chosen point: the store's and the broker's.

use crate::{
    inject::Injector,
    place::{LONG, SQLITE, Workshop, ready, submit},
    postgres::Postgres,
    proxy::Proxy,
    rabbit::Rabbit,
    support::{Gateway, alive, get, pause, until},
    wire::Wire,
};
use serde_json::Value;
use std::{fs, process::Command};

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

pub(crate) struct Arena {
    pub(crate) gateway: Gateway,
    /// Between the gateway and the broker.
    pub(crate) wire: Wire,
    pub(crate) broker: Rabbit,
    pub(crate) workshop: Workshop,
    database: Option<(Postgres, Proxy)>,
}

impl Arena {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with(kind, Rabbit::shared(), |_| String::new())
    }

    /// `more` is added to the configuration, after the table of the service; it is told the tasks' queue.
    pub(crate) fn with(kind: Kind, broker: Rabbit, more: impl FnOnce(&str) -> String) -> Self {
        Self::start(kind, broker, "", more, |_, _| {})
    }

    /// The gateway notices after a few seconds that a connection is dead or a confirm does not come.
    pub(crate) fn impatient(kind: Kind) -> Self {
        let adjust = |_: &Workshop, command: &mut Command| {
            command.env("GATEWAY_BROKER__PUBLISH_TIMEOUT", "5s");
        };
        Self::start(kind, Rabbit::shared(), "?heartbeat=3", |_| String::new(), adjust)
    }

    /// The gateway has a clock of its own, which [`Arena::set_clock`] sets.
    pub(crate) fn with_clock(kind: Kind) -> Self {
        let library = std::env::var("SG_TEST_FAKETIME").expect("SG_TEST_FAKETIME is not set: run tests/run");
        Self::start(
            kind,
            Rabbit::shared(),
            "",
            |_| String::new(),
            |workshop, command| {
                let file = workshop.path("clock");
                fs::write(&file, "+0\n").unwrap();
                command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
                // Two names, for the library's versions.
                command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            },
        )
    }

    /// The gateway has this `broker.outbox_depth`.
    pub(crate) fn bounded(kind: Kind, depth: usize) -> Self {
        Self::start(
            kind,
            Rabbit::shared(),
            "",
            |_| String::new(),
            |_, command| {
                command.env("GATEWAY_BROKER__OUTBOX_DEPTH", depth.to_string());
            },
        )
    }

    /// Sets the gateway's clock to the true time and so much (`+3h`, `-10m`). At once: it is read all the time.
    pub(crate) fn set_clock(&self, offset: &str) {
        let (new, clock) = (self.workshop.path("clock.new"), self.workshop.path("clock"));
        fs::write(&new, format!("{offset}\n")).unwrap();
        fs::rename(new, clock).unwrap();
    }

    /// Ends all connections between gateway and broker, admits no new ones, and waits until the gateway has noticed:
    /// before that it sends into a connection that is gone, which counts as an attempt.
    pub(crate) fn cut_off(&self) {
        self.wire.cut();
        until(LONG, "the gateway has noticed", || {
            let parts = get(&format!("{}/readyz", self.gateway.url())).json()["parts"].clone();
            parts["broker"].as_str()?.contains("publish: ").then_some(())
        });
    }

    fn start(
        kind: Kind,
        broker: Rabbit,
        query: &str,
        more: impl FnOnce(&str) -> String,
        adjust: impl FnOnce(&Workshop, &mut Command),
    ) -> Self {
        let (workshop, wire) = (Workshop::new(), Wire::to(broker.url()));
        let database = (kind == Kind::Postgres).then(|| {
            let database = Postgres::shared();
            let url = url::Url::parse(&database.url()).unwrap();
            let proxy = Proxy::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()));
            (database, proxy)
        });
        let store = match &database {
            None => SQLITE.to_owned(),
            Some((database, proxy)) => {
                let mut url = url::Url::parse(&database.url()).unwrap();
                url.set_port(Some(proxy.address().port())).unwrap();
                url.into()
            }
        };
        let toml = workshop.configuration(&format!("{}{query}", wire.url()), &store);
        let gateway = Gateway::start_with(&(toml + &more(&workshop.queue)), |command| adjust(&workshop, command));
        ready(&gateway);
        Self { gateway, wire, broker, workshop, database }
    }

    /// The results' queue.
    pub(crate) fn replies(&self) -> String {
        format!("{}.replies", self.workshop.queue)
    }

    #[track_caller]
    pub(crate) fn submit(&self, form: &[(&str, &str)]) -> String {
        submit(&self.gateway, form)
    }

    /// Asks something of the gateway's and lets it die at the moment at which it would write the answer's cause into the
    /// store: what led there is done, nothing is kept.
    pub(crate) fn dies_before_the_commit(&mut self, asks: impl FnOnce() + Send) {
        match &self.database {
            None => {
                let injector = Injector::attach(self.gateway.pid(), "store-writer", "pwrite64:signal=KILL:when=1");
                self.asked(asks, |pid| until(LONG, "the gateway is dead", || (!alive(pid)).then_some(())));
                drop(injector);
            }
            Some((_, network)) => {
                let lost = network.losses();
                network.lose_requests();
                self.asked(asks, |pid| {
                    until(LONG, "the store was asked, in vain", || lost.has_lost().then_some(()));
                    pause(300);
                    crate::support::signal(pid, "KILL");
                });
            }
        }
        self.gateway.wait();
        if let Some((_, network)) = &self.database {
            network.cut();
            network.heal();
        }
    }

    /// Asks something, and lets the gateway die at the moment at which it would send the answer.
    pub(crate) fn dies_before_the_answer(&mut self, asks: impl FnOnce() + Send) {
        let injector = Injector::attach(self.gateway.pid(), "http-", "sendto,writev,sendmsg:signal=KILL:when=1");
        self.asked(asks, |pid| until(LONG, "the gateway is dead", || (!alive(pid)).then_some(())));
        drop(injector);
        self.gateway.wait();
    }

    fn asked(&self, asks: impl FnOnce() + Send, then: impl FnOnce(u32)) {
        std::thread::scope(|scope| {
            scope.spawn(asks);
            then(self.gateway.pid());
        });
    }

    /// Starts the gateway again, which has ended.
    pub(crate) fn restart(&mut self) {
        self.gateway.restart();
        ready(&self.gateway);
    }

    /// `kill -9`, while the broker's network may be stopped at something that then never happens.
    pub(crate) fn dies_there(&mut self) {
        self.gateway.kill9();
        self.wire.go_on(crate::wire::Fate::CutBefore);
    }

    /// How many messages wait in the tasks' queue, once there are so many.
    #[track_caller]
    pub(crate) fn waiting(&self, number: u32) {
        let ready = || self.broker.queue(&self.workshop.queue).map_or(0, |queue| queue.ready);
        until(LONG, &format!("{number} messages wait"), || (ready() == number).then_some(()));
    }

    /// How many submissions were accepted, as the gateway counts them.
    pub(crate) fn invocations(&self) -> Value {
        get(&format!("{}/record/stats", self.gateway.url())).json()["invocations"].clone()
    }
}
