"""A running relay changes to another configuration."""
