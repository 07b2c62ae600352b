//! Watches requests and counts them.
