"""Configuration, the object graph on one page, start and stop order."""
