"""The queue's directory and the files in it: ownership, format, room on the disk."""
