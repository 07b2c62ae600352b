//! Reaching out: document URL policy and the one HTTP client.
