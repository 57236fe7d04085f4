"""Templates and macros."""
