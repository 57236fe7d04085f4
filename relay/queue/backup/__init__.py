"""Backups of all queues: written while a relay works with them, and restored."""
