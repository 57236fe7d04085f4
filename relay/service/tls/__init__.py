"""Certificates, keys and revocation lists in files."""
