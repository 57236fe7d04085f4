"""Look into queues, and change them by command."""
