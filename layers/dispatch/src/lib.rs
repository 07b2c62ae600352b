//! Sends a submission on its way.
