"""Value types, names and errors that every layer shares.  Pure: no I/O, no clock."""
