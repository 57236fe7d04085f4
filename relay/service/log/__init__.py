"""Distributed logs as sources: the parts that Kafka and NATS JetStream have in common."""
