"""Make the queue's file smaller, with or without a running relay."""
