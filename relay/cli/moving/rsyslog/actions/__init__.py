"""Actions of rsyslog as destinations of the relay."""
