"""The web server as a service, and what it needs to know of the relay."""
