"""Vector's configuration, in TOML or YAML, as one of the relay.

`dialect` follows `inputs` from each sink back to the sources: transforms on the way become
conditions and steps (`transforms`, `vrl`).
"""
