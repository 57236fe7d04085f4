"""Observability: status document, health, log format, control socket."""
