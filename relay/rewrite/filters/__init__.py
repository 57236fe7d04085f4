"""Conditions that select messages."""
