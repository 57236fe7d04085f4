"""Messages to payloads: tokens and envelopes.  Pure: no I/O, no clock, no log."""
