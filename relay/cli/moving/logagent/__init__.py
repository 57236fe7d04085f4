"""Reads configurations of Sematext's Logagent."""
