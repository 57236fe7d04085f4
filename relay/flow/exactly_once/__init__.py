"""Exactly once: numbers of records, and what a receiver already has of them."""
