"""Commands that read and change queues and quarantines."""
