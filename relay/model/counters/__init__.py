"""What the relay counts in memory."""
