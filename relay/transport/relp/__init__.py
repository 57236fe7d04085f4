"""RELP over TCP and TLS."""
