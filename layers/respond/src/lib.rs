//! Renders answers and refusals.
