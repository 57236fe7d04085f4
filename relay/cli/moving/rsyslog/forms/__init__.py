"""Templates, and what changes messages."""
