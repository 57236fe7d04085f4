"""What counts as a warning or an error, and alerts."""
