"""The modules of compiled code; importing them fails where they were not compiled."""

from relay.codec import blocks, forms, frames, lines, numbers, objects, payloads, stamps, text

__all__ = ["blocks", "forms", "frames", "lines", "numbers", "objects", "payloads", "stamps", "text"]
