//! The Celery protocol. Pure.
