"""The process around the relay: systemd, signals, timers and limits."""
