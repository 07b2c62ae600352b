//! Finds a submission's document.
