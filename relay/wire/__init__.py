"""Bytes to frames to messages and back; RELP sessions.  Pure: no I/O, no clock, no log."""
