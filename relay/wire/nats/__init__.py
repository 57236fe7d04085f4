"""NATS and JetStream: what is written and read beyond what their client library does."""
