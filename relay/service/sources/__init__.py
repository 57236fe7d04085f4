"""Sources as services, from their configuration."""
