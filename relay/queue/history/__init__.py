"""Delivered records that are kept for a while."""
