"""The `syslogrelay` command."""
