"""The language of rsyslog's configuration, read into statements of one style."""
