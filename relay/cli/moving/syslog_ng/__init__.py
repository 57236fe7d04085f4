"""syslog-ng's configuration as one of the relay.

    scanner ──▶ tree ──▶ assembly ──▶ paths, branches
                            │
                            └──▶ sources, destinations, filters, steps

`scanner` makes tokens, with blocks and variables put in; `tree` makes statements of them.
`assembly` reads each statement with the module for its kind, and follows the log paths (`paths`,
`branches`), which say what reaches a destination, and changed by which steps.  All modules take the
options of a driver through `options`, so the report misses none.
"""
