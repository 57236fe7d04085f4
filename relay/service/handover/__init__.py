"""Handing over: one process of the relay leaves what it has open to the next one.

    arrival    at the start: sockets, connections and states that an earlier process has left
    service    at the stop: leaves them by `exec` (an upgrade) or in systemd's descriptor store
    document   what goes with the descriptors, as JSON in a memfd
    store      systemd's descriptor store
    program    the command line of this process, to start it again in place
    trial      the child that tries whether a new version could take over

The sockets wait in `relay/transport/held_sockets.py` until a source takes them.
"""
