"""syslogrelay: a syslog relay whose answers mean "on disk"."""

__version__ = "0.1.0"

SOFTWARE = f"syslogrelay,{__version__}"
"""What RELP peers are told."""
