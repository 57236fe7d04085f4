"""NATS JetStream: its kinds of sources and destinations."""
