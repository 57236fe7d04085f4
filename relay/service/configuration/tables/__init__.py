"""The tables of a configuration file, each parsed into typed values."""
