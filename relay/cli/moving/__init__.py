"""Moving in: configurations of other programs become one of the relay, and a report.

`command` is `syslogrelay import`.  A dialect (`dialect.Dialect`) reads its files through
`files.InputFiles`, opens each statement that it finds in the `report.Report`, and fills an
`imported.Imported` with sources and destinations; filters are built with `conditions`.
`imported.Imported.tables` puts them together and `relay.cli.toml_writing` writes them.
"""
