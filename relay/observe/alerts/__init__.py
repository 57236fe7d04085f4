"""Alerts: what raises them, and when each begins and ends."""
