"""Output formats: how a message becomes a payload."""
