"""Commands for the operator of a running relay, and for those who help: a module for each.

`bundle` collects what helpers need: its parts (`bundle_parts`, `host_facts`), without secrets and
messages (`scrubbing`).  `known_ids` completes arguments in shells.
"""
