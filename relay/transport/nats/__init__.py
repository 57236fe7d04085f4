"""NATS JetStream: clients, driven from the reactor."""
