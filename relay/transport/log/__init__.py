"""Distributed logs: the parts that readers of Kafka and of NATS JetStream have in common."""
