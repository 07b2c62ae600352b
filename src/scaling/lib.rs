//! How many workers does a service need? Pure: no clock, no I/O.
//!
//! | concept | file |
//! |---|---|
//! | what is concluded from counts and times | `observe` |
//! | how long tasks wait for one of n slots | [`erlang`] |
//! | how many workers: ours, and two others | `policy` |
//! | up at once, down after a while | `steady` |
//! | who gets how many of the whole | `share` |
//! | the policies against made or recorded load | [`simulation`] |
//! | how much of everything, on paper | [`plan`] |
//!
//! # The formula
//!
//! A service has tasks that arrive at rate λ and take S on average; a worker runs `slots` of them at once and takes B
//! (`start_time`) to start; a task should not wait longer than T (`target_wait`), and 95 of 100 shall not.
//!
//! **For what arrives**: the fewest slots n with P(wait > T) ≤ 5 %, by Erlang's formula ([`erlang`]); more than λ·S in
//! any case. λ is measured over the longest window, up to an hour, that no shorter one belies (by three standard deviations of a
//! Poisson count); a fall is believed within a minute, a rise counts once it lasts for minutes.
//!
//! **For what waits**: tasks are begun in the order in which they came. So the k-th of the queue, which has waited for
//! a, has to be begun within T − a, and before that all k − 1 ahead of it: the slots must begin k tasks within T − a. In
//! a time t a busy slot begins t/S tasks (renewals of a stationary process), a free one max(1, t/S + ½) (it begins one at
//! once; ½ is the mean of what rounding down loses), one that is ready in r as many as a free one in t − r. What the
//! present and the starting workers lack, new ones must make up, which begin max(1, (T − a − B)/S + ½) for each slot. The
//! need is the largest over all k. Where T − a is less than B new workers come too late, and the task is overdue soon or
//! already: then a quarter of T after their start is the aim, so that what is late does not become later.
//! To be on the safe side T counts for 0.95 of itself here.
//!
//! **The larger of the two**, never fewer workers than are busy, than `min_idle_workers`, and than one if anything
//! waits; never more than `max_workers`. Up at once; down only to the most that was wanted within the last window
//! ([`Steady`]), which is B or longer.

pub mod erlang;
mod observe;
pub mod plan;
mod policy;
mod share;
pub mod simulation;
mod steady;

pub use observe::{Arrivals, Service, Times};
pub use policy::{Advice, Load, Policy, Reason, Rules};
pub use share::{Wish, share};
pub use steady::Steady;
