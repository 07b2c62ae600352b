//! RabbitMQ by lapin.
