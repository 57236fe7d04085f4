"""JSON output: text, nesting, typed values and value-pairs."""
