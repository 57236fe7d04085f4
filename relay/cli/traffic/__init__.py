"""Messages to send where there are none: `syslogrelay send --traffic`."""
