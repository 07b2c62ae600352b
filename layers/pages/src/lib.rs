//! Answers questions about the services.
