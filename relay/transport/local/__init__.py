"""Sessions and readers of this host: sockets with paths, named pipes, programs."""
