"""Syslog over TCP, TLS and unix streams, and what all inbound connections share."""
