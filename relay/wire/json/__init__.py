"""JSON as pairs of names and values, strict and lenient."""
