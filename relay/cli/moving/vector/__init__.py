"""Reads configurations of Vector."""
