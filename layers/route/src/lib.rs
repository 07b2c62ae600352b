//! Stamps the target of a request.
