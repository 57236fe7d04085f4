"""Byte streams to frames and back: octet counting, delimiters, lines, character sets."""
