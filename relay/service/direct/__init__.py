"""Direct mode as a service: publishers for sources that are answered by a log."""
