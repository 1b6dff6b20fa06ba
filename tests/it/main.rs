//! Integration tests: one binary, real Redis and RabbitMQ, a fault proxy between them and hookgate.
