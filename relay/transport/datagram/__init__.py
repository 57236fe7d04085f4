"""Syslog over UDP and unix datagrams."""
