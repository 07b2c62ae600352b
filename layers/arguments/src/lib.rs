//! Reads a submission's arguments.
