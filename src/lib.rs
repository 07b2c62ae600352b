//! Service Gateway.
