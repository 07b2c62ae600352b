//! A task's life: states, rules, decisions. Pure.
