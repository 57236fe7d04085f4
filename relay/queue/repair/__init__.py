"""Find damage in the queue's file before LMDB reads it, and save what can be read."""
