//! What whoever knew the future would have paid.

use super::{Setting, Task};

/// Worker-seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimum {
    /// Of a schedule made with foreknowledge, in which every task starts within the target.
    pub schedule: f64,
    /// Below which nobody comes: the work alone, or the workers that are always kept.
    pub bound: f64,
}

/// Makes the schedule: each task goes, in order, to the slot that becomes free last and still in time, so that those
/// that are free longer can go; only if there is none a worker is started, so that it is ready at the last moment. A slot
/// that is idle for longer than a start takes is given up instead. Starts are paid for, and so are the workers that
/// are always kept. (A worker with several slots counts as so many parts.)
pub fn optimum(tasks: &[Task], setting: &Setting) -> Optimum {
    let rules = &setting.rules;
    let slots = f64::from(setting.slots.max(1));
    let end = tasks.iter().map(|task| task.arrival + rules.target_wait + task.service).fold(0.0, f64::max);
    let last = tasks.last().map_or(0.0, |task| task.arrival);
    let kept = (rules.min_idle_workers * setting.slots.max(1)) as usize;
    // Until when each is at work. The first are always there and paid for.
    let (mut free, mut paid) = (vec![0.0_f64; kept], 0.0);
    for task in tasks {
        let deadline = task.arrival + rules.target_wait;
        let idle = |at: usize| if at < kept { 0.0 } else { (task.arrival - free[at]).max(0.0) };
        let fit = (0..free.len()).filter(|at| free[*at] <= deadline && idle(*at) <= rules.start_time);
        let best = fit.max_by(|one, other| free[*one].total_cmp(&free[*other]));
        let (at, start) = match best {
            Some(at) => {
                paid += idle(at);
                (at, free[at].max(task.arrival))
            }
            None => {
                paid += rules.start_time;
                free.push(deadline);
                (free.len() - 1, deadline)
            }
        };
        if at >= kept {
            paid += task.service;
        }
        free[at] = start + task.service;
        // What nobody will ask for again need not be looked at.
        if free.len() > 4096 {
            let first = kept;
            let old = task.arrival - rules.start_time;
            let mut position = 0;
            free.retain(|until| {
                position += 1;
                position <= first || *until > old
            });
        }
    }
    let horizon = end.min(last + rules.target_wait);
    let always = f64::from(rules.min_idle_workers) * horizon;
    let work: f64 = tasks.iter().map(|task| task.service).sum::<f64>() / slots;
    Optimum { schedule: always + paid / slots, bound: work.max(always) }
}
