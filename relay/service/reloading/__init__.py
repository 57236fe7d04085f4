"""A running relay changes to another configuration.

    service ──▶ reading ──▶ difference ──▶ changeover ──▶ sources, routes, destinations, optional

`service` has the command and SIGHUP.  In a thread, `reading` reads the file and compares it with
the configuration in use (`difference`).  `changeover` applies that to the parts that a reload
changes: `sources` (with `intakes` and `sockets`), `routes`, `destinations`, and the services that a
relay may do without (`optional`).  A start makes the same parts, so a relay that was reloaded is
like one that was started.

`shared` has what no reload changes.  `live` lets other parts of the relay keep one mapping for
good, while its entries change.
"""
