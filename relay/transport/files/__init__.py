"""Text files as sources and destinations."""
