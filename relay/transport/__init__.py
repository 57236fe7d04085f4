"""Twisted protocols and factories: thin shells, one per kind of socket."""
