"""Destinations as services, from their configuration."""
