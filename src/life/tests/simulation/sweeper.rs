//! Finds what is over its time, as `src/engine/sweep.rs` and the store's own sweep do.

use crate::{
    scenario::{FORGOTTEN_AFTER, Fault, SILENCE},
    world::{Event, World, number},
};
use gateway_life::{Delivery, Fact, Millis, State, Task};

impl World {
    pub(crate) fn sweep(&mut self) {
        let now = self.now();
        let keep = if self.scenario.has(Fault::Forget) { FORGOTTEN_AFTER } else { Millis::MAX / 2 };
        let mut facts = Vec::new();
        for task in self.store.tasks.values() {
            let forgotten = task.ended.is_some_and(|ended| ended < now - keep);
            if forgotten && task.state != State::Expired {
                facts.push((task.id, Fact::Forgotten));
            }
            if task.deadline().is_some_and(|deadline| deadline <= now) {
                facts.push((task.id, Fact::Late { began: task.began(), ahead: 0 }));
            }
            let silent = task.ended.is_none() && task.heard < now - SILENCE;
            if silent && (task.state.is_running() || !self.may_wait(task)) {
                facts.push((task.id, Fact::Overdue { heard: task.heard, why: "no sign of life".into() }));
            }
        }
        for (id, fact) in facts {
            self.hear(id, fact, None);
        }
        let life = self.life;
        let pause = if self.calm() { 5_000 } else { 1_000 };
        self.after(pause, Event::Sweep(life));
    }

    fn may_wait(&self, task: &Task) -> bool {
        if self.scenario.embedded {
            return true;
        }
        let queue = &self.broker.queues[number(&task.service)];
        match (self.broker.up, queue.exists) {
            // What cannot be sent for so long is not waited for any more. (Nor is what the broker does not take; here
            // that would hide a message that was forgotten.)
            (false, _) => task.delivery == Delivery::Settled,
            (true, false) => false,
            (true, true) => task.delivery == Delivery::Owned || !queue.waiting.is_empty(),
        }
    }
}
