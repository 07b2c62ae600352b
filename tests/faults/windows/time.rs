//! W15: the clock is set. The gateway runs with a clock of its own (libfaketime) that this test sets; monotonic time, as
//! always, cannot be set.

use crate::{
    arena::{Arena, Kind},
    place::{sent, succeeds},
};

both!(a_clock_that_is_set_ends_and_delays_nothing);

fn a_clock_that_is_set_ends_and_delays_nothing(kind: Kind) {
    let arena = Arena::with_clock(kind);
    let before: Vec<_> = (0..3).map(|_| arena.submit(&[])).collect();
    before.iter().for_each(|uuid| drop(sent(&arena.gateway, uuid)));
    for offset in ["+3h", "-3h", "+1h"] {
        // It waits for its next attempt when the clock is set.
        arena.wire.cut();
        let waits = arena.submit(&[]);
        arena.set_clock(offset);
        arena.wire.heal();
        sent(&arena.gateway, &waits);
        sent(&arena.gateway, &arena.submit(&[]));
    }
    let _worker = arena.workshop.worker(arena.broker.url());
    for uuid in &before {
        let told = succeeds(&arena.gateway, uuid);
        assert_eq!(told["attempts"], 1, "{told}");
    }
    succeeds(&arena.gateway, &arena.submit(&[]));
}
