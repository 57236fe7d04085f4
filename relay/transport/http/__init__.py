"""HTTP through Twisted."""
