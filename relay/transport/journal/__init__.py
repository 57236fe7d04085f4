"""The systemd journal as a source."""
