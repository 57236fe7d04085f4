"""The queue as a service: its life, its limits, and the commands that work on it."""
