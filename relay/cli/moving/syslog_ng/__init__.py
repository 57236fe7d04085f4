"""Reads configurations of syslog-ng."""
