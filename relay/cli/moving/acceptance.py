"""The relay's own judgement of an imported configuration, before it is written.

A port that is none, a name with a space, two destinations that may write one file: instead of
looking for all of that in each dialect, the result is read as the relay reads it.  What it would
refuse is left out, and is in the report with the relay's own reason.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.toml_writing import Table, write_toml
from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.configuration.toml_text import parts_of
from relay.service.kinds import KINDS

__all__ = ["accepted_tables", "open_problems"]

_ROUNDS_MAX = 100
_PLACE = re.compile(r"^.*?relay\.toml(?::[0-9]+)?: ")


def accepted_tables(imported: Imported) -> list[Table]:
    """The tables of a configuration, without those that the relay would refuse.

    Certificates, keys and tokens that are not there are no reason: they may come later.
    """
    for _ in range(_ROUNDS_MAX):
        tables = imported.tables()
        refused = [
            reason
            for kind, id, key, reason in _refused(tables, imported.extra_files)
            if imported.leave_out(kind, id, key, reason)
        ]
        if not refused:
            break
    return imported.tables()


def open_problems(path: str) -> list[str]:
    """The findings of `syslogrelay check` on the file that was written: files still missing."""
    try:
        read_configuration(path, KINDS)
    except ConfigurationError as error:
        return error.problems
    return []


def _refused(
    tables: Sequence[Table], files: Mapping[str, ExtraFile]
) -> Iterator[tuple[str, str, str, str]]:
    """The kind (``sources``, ``destinations``, ``relay``), the id, the key, and the reason."""
    with tempfile.TemporaryDirectory() as folder:
        for name, file in files.items():
            with open(
                os.path.join(folder, name), "w", encoding="utf-8", opener=_for_owner
            ) as opened:
                opened.write(file.text)
        path = os.path.join(folder, "relay.toml")
        with open(path, "w", encoding="utf-8") as opened:
            opened.write(write_toml(tables))
        try:
            read_configuration(path, KINDS, to_start=True)
        except ConfigurationError as error:
            for problem in error.problems:
                text = _PLACE.sub("", problem)
                kind, id, key, *_ = (*parts_of(text), "", "", "")
                yield kind, id, key, text.replace(folder + os.sep, "")


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
