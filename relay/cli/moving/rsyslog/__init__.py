"""rsyslog's configuration, in all of its three styles, as one of the relay."""
