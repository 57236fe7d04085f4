"""The disk queue: LMDB, group commit, cursors, admission, accounting."""
