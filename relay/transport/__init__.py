"""Twisted protocols and factories: thin shells, one for each kind of socket."""
