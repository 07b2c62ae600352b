//! One gateway after the other is stopped and started, while clients submit.

use crate::{
    postgres::Postgres,
    support::{Gateway, pause, until},
    town::{LONG, Town, ready, try_submit},
};
use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

#[test]
fn a_rolling_restart_loses_nothing() {
    let mut town = Town::new(Postgres::shared());
    town.work();
    let gateways = [town.gateway(), town.gateway()];
    let urls = Mutex::new(gateways.each_ref().map(Gateway::url));
    let (enough, count, longest) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicU64::new(0));
    let client = |name: usize| {
        let mut accepted = Vec::new();
        while !enough.load(Ordering::Relaxed) {
            let key = format!("{name}-{}", accepted.len());
            accepted.push(submit(&urls, name + accepted.len(), &key));
            count.fetch_add(1, Ordering::Relaxed);
            pause(5);
        }
        accepted
    };
    let ten_more = || {
        let now = count.load(Ordering::Relaxed);
        until(LONG, "ten more are accepted", || (count.load(Ordering::Relaxed) >= now + 10).then_some(()));
    };
    let (gateways, accepted) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|name| scope.spawn(move || client(name))).collect();
        let gateways = gateways.into_iter().enumerate().map(|(n, mut gateway)| {
            for _ in 0..2 {
                ten_more();
                let stopping = Instant::now();
                gateway.terminate();
                assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
                longest.fetch_max(stopping.elapsed().as_millis() as u64, Ordering::Relaxed);
                gateway.restart();
                ready(&gateway);
                urls.lock().unwrap()[n] = gateway.url();
            }
            gateway
        });
        let gateways: Vec<_> = gateways.collect();
        ten_more();
        enough.store(true, Ordering::Relaxed);
        let accepted: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (gateways, accepted)
    });
    assert_eq!(accepted.iter().collect::<HashSet<_>>().len(), accepted.len(), "each key is one task");
    let again = town.all_succeed(&gateways[0], &accepted);
    // One that stops waits for the confirms that are out, but not for ever.
    let had_time = longest.load(Ordering::Relaxed) < 5_000;
    let few = again * 10 <= accepted.len();
    assert!(few || !had_time, "stopped in order, few are unsure: {again} of {}", accepted.len());
    let kept = town.store.number("SELECT count(*) FROM service_gateway.task");
    assert_eq!(kept, accepted.len() as i64, "a client that asked twice got one task");
    town.nothing_waits();
}

/// As a client does: the other gateway where the one does not answer, the same key until there is a uuid.
fn submit(urls: &Mutex<[String; 2]>, first: usize, key: &str) -> String {
    let mut turn = first;
    until(LONG, "one of the gateways takes it", || {
        let url = urls.lock().unwrap()[turn % 2].clone();
        turn += 1;
        try_submit(&url, key).ok()
    })
}
