"""Compiled code for what is done for each message; Python modules of the other layers are the
reference."""
