"""Direct mode: senders are answered when a distributed log has acknowledged their records."""
