"""Apache Kafka's protocol: clients, driven from the reactor."""
