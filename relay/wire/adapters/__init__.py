"""Formats of particular applications and vendors, read as name-value pairs."""
