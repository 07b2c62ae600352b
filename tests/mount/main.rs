//! One gateway, mounted in every way a host can do it, and the order in which its layers speak.
//!
//! | module | holds |
//! |---|---|
//! | `in_axum` | a layer of a router, a fallback, a nested service; a task done through it |
//! | `in_hyper` | nothing but hyper around it; a task done over a socket |
//! | `in_front` | an application with bodies and errors of its own, and what it keeps |
//! | `alone` | nothing behind it |
//! | `order` | who refuses first, and what is not touched before that |
//! | `cost` | what a request clones and how much room it takes |

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod alone;
mod cost;
mod in_axum;
mod in_front;
mod in_hyper;
mod order;
mod support;
