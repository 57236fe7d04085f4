"""What `check --connect` tries: names, ports, TLS, sessions, files and limits."""
