"""RELP sessions and frames: client and server as state machines without I/O."""
