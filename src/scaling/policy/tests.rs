use super::*;
use proptest::prelude::*;

const RULES: Rules = Rules {
    target_wait: 300.0,
    start_time: 60.0,
    max_workers: 100,
    min_idle_workers: 1,
    spawn_ratio: 0.2,
    backlog_threshold: 3,
};

fn minute() -> Option<Service> {
    Some(Service { mean: 60.0, p95: 180.0, variation: 1.0 })
}

fn load(waiting: u64, running: u64, workers: u32) -> Load {
    Load { waiting, running, workers, slots: 1, arrival_rate: Some(0.0), service: minute(), ..Load::default() }
}

#[test]
fn steady_load_gets_what_erlang_says() {
    let at = |per_second: f64| {
        let load = Load { arrival_rate: Some(per_second), ..load(0, 0, 0) };
        Policy::Load.advise(&load, &RULES).desired
    };
    for per_second in [0.01, 0.1, 0.5, 1.0] {
        let work = Work { load: per_second * 60.0, service: 60.0, variation: 1.0 };
        let fewest = (1..1000).find(|n| work.late(*n, 300.0) <= 0.05).unwrap();
        assert_eq!(at(per_second), fewest, "{per_second}");
    }
    assert_eq!(at(0.0), 1, "the floor");
}

#[test]
fn a_backlog_is_started_within_the_target() {
    let advice = Policy::Load.advise(&load(240, 2, 2), &RULES);
    // 285 s remain; two busy workers begin 9.5 tasks, a new one (285 − 60)/60 + ½ = 4.25: (240 − 9.5)/4.25 = 54.2 more.
    assert_eq!(advice.desired, 57);
    assert!(advice.reason.to_string().contains("240 tasks of 60.0 s wait"), "{}", advice.reason);
    // Those that start already are counted.
    let booting = Load { booting: vec![60.0; 55], ..load(240, 2, 2) };
    assert_eq!(Policy::Load.advise(&booting, &RULES).desired, 57);
}

#[test]
fn what_has_waited_has_less_time_left() {
    let aged = |age| Policy::Load.advise(&Load { ages: vec![(age, 40)], ..load(40, 1, 1) }, &RULES).desired;
    assert!(aged(0.0) < aged(60.0) && aged(60.0) < aged(150.0));
    let late = Policy::Load.advise(&Load { ages: vec![(1000.0, 40)], ..load(40, 1, 1) }, &RULES);
    assert!(late.reason.to_string().contains("as soon as can be"), "{}", late.reason);
}

#[test]
fn a_worker_with_many_slots_counts_for_as_many() {
    let many = Load { slots: 8, ..load(240, 0, 0) };
    let one = Policy::Load.advise(&load(240, 0, 0), &RULES).desired;
    assert_eq!(Policy::Load.advise(&many, &RULES).desired, one.div_ceil(8));
}

#[test]
fn unknown_service_times_are_said_and_not_guessed() {
    let unknown = Load { service: None, ..load(10, 1, 1) };
    let advice = Policy::Load.advise(&unknown, &RULES);
    assert_eq!(advice.desired, 3, "one is busy, and a fifth of ten");
    assert!(advice.reason.to_string().contains("not known yet"));
}

#[test]
fn the_original_s_rule_is_its_own() {
    let advise = |waiting, running, workers| Policy::Original.advise(&load(waiting, running, workers), &RULES).desired;
    assert_eq!(advise(20, 2, 2), 6, "two are busy, and a fifth of twenty");
    assert_eq!(advise(3, 2, 5), 5, "no backlog yet");
    assert_eq!(advise(0, 2, 5), 3, "the busy ones and an idle one");
}

#[test]
fn what_is_predicted_is_what_it_takes() {
    assert_eq!(load(0, 1, 2).predicted_wait(), Some(0.0));
    assert_eq!(load(9, 2, 2).predicted_wait(), Some(300.0));
    assert_eq!(load(10, 2, 2).drain_time(), Some(300.0));
    assert_eq!((load(1, 0, 0).drain_time(), load(1, 0, 0).predicted_wait()), (None, None));
    let overrun = Load { arrival_rate: Some(1.0), ..load(10, 2, 2) };
    assert_eq!(overrun.drain_time(), None, "it never comes");
    assert_eq!(load(0, 0, 0).utilisation(), None);
}

fn any_load() -> impl Strategy<Value = Load> {
    let ages = proptest::collection::vec((0.0..2000.0_f64, 1..200_u64), 0..6);
    let service = proptest::option::of((0.001..5000.0_f64, 0.0..20.0_f64));
    let rate = proptest::option::of(0.0..50.0_f64);
    let booting = proptest::collection::vec(-10.0..400.0_f64, 0..10);
    (0..3000_u64, ages, 0..100_u64, 0..60_u32, booting, 0..5_u32, rate, service).prop_map(
        |(waiting, ages, running, workers, booting, slots, arrival_rate, service)| Load {
            waiting,
            ages,
            running,
            workers,
            booting,
            slots,
            arrival_rate,
            service: service.map(|(mean, variation)| Service { mean, p95: mean * 2.0, variation }),
        },
    )
}

proptest! {
    #[test]
    fn advice_keeps_to_the_limits(load in any_load(), most in 1..100_u32, least in 0..3_u32) {
        let rules = Rules { max_workers: most, min_idle_workers: least.min(most), ..RULES };
        for policy in Policy::ALL {
            let Advice { desired, reason } = policy.advise(&load, &rules);
            prop_assert!(desired <= most.max(load.busy()), "{policy:?}");
            prop_assert!(desired >= load.busy() && desired >= rules.min_idle_workers, "{policy:?}");
            prop_assert!(!reason.to_string().is_empty());
        }
        let one = Policy::Load.advise(&load, &rules).desired;
        prop_assert!(load.waiting == 0 || one >= 1, "what waits is started");
    }

    #[test]
    fn more_work_never_asks_for_fewer(load in any_load(), more in 1..100_u64) {
        // (Ages say of how many: they are left out.)
        let load = Load { ages: Vec::new(), ..load };
        let before = Policy::Load.advise(&load, &RULES).desired;
        let waiting = Load { waiting: load.waiting + more, ..load.clone() };
        prop_assert!(Policy::Load.advise(&waiting, &RULES).desired >= before);
        let faster = Load { arrival_rate: load.arrival_rate.map(|rate| rate + 1.0), ..load };
        prop_assert!(Policy::Load.advise(&faster, &RULES).desired >= before);
    }

    #[test]
    fn waiting_longer_never_asks_for_fewer(load in any_load(), older in 1.0..1000.0_f64) {
        let before = Policy::Load.advise(&load, &RULES).desired;
        let ages = load.ages.iter().map(|(age, number)| (age + older, *number)).collect();
        let older = Load { ages, ..load };
        prop_assert!(Policy::Load.advise(&older, &RULES).desired >= before);
    }
}
