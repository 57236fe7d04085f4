"""Handing over: one process of the relay leaves what it has open to the next one."""
