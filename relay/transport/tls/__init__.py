"""TLS: contexts, verification of peers, explanations of failed handshakes."""
