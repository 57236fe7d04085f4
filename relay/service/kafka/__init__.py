"""Apache Kafka's protocol: its kinds of sources and destinations."""
