"""Put a configuration together from one file and those that it includes.

    include = ["conf.d/*.toml", "local.toml"]

A pattern is relative to the file that it stands in, and so are relative paths in an included
file.  The files of a pattern come in the order of their names; those of an earlier pattern come
first.  Hidden files, and the including file itself, fit no pattern.  A pattern may fit nothing,
while a name without wildcards has to be that of a file.  Included files include no others.

Tables of sources, destinations, apps and filters are put side by side, keys of `relay`, `alerts`
and `web` too, and entries of `tests` and `watch` one after another.  What is there twice is a
problem that names both places.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from itertools import islice

from relay.model.errors import ConfigurationError, ConfigurationUnreadable
from relay.model.text import counted
from relay.service.configuration.origin import Origin, TomlFile
from relay.service.configuration.reading import content_of
from relay.service.configuration.table import Texts, shown, size_text
from relay.service.configuration.toml_text import TomlSlip, parse_toml, state_dir_in

FILE_BYTES_MAX = 16 * 2**20
"""Of the including file."""
INCLUDED_FILES_MAX = 1000
"""Of one configuration."""
INCLUDED_BYTES_MAX = 16 * 2**20
"""Of all of them together."""

_INCLUDE = "include"
_PATTERNS = Texts('a list of names or patterns of files, such as ["conf.d/*.toml"]')


def read_files(path: str) -> Origin:
    """Read the file at `path` and those that it includes.

    Raises:
        ConfigurationUnreadable: There is no file at `path`, it may not be read, or it is too long.
        ConfigurationError: It is not TOML.
    """
    try:
        with open(path, "rb") as file:  # may be a pipe: check <(COMMAND)
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationUnreadable([f"{path}: cannot read it: {error.strerror}"]) from None
    if len(data) > FILE_BYTES_MAX:
        most = size_text(FILE_BYTES_MAX)
        problem = f"a configuration may have {most}, and it has more; include a part of it"
        raise ConfigurationUnreadable([f"{path}: {problem}"])
    try:
        first = _parsed(path, data)
    except _Unparsed as wrong:
        raise ConfigurationError([f"{wrong.place}: {wrong.reason}"]) from None
    origin = Origin([first], {})
    origin.add(first)
    if origin.values.pop(_INCLUDE, None) is not None:
        _include(origin)
    return origin


def _include(origin: Origin) -> None:
    first = origin.files[0]
    try:
        patterns = _PATTERNS.read(first.values[_INCLUDE])
    except ValueError as error:
        origin.lacks(first.name, first.line_of(_INCLUDE), f"{_INCLUDE}: {error}")
        return
    bytes_left = INCLUDED_BYTES_MAX
    for name in _names(patterns, origin):
        try:
            data = content_of(name, bytes_max=bytes_left + 1)
        except OSError as error:
            origin.lacks(name, 0, f"cannot read it: {error.strerror}")
            continue
        bytes_left -= len(data)
        if bytes_left < 0:
            most = size_text(INCLUDED_BYTES_MAX)
            origin.lacks(name, 0, f"included files may have {most} together, and have more")
            return
        _take(name, data, origin)


def _take(name: str, data: bytes, origin: Origin) -> None:
    try:
        file = _parsed(name, data)
    except _Unparsed as wrong:
        hides = state_dir_in(data.decode(errors="surrogateescape")) != ""
        origin.lacks(wrong.place, 0, wrong.reason, hides_state_dir=hides)
        return
    if _INCLUDE in file.values:
        problem = "an included file cannot include others; name them in"
        line, first = file.line_of(_INCLUDE), origin.files[0].name
        origin.lacks(name, line, f"{_INCLUDE}: {problem} {first}")
        file.values = {key: value for key, value in file.values.items() if key != _INCLUDE}
    origin.files.append(file)
    origin.add(file)


def _names(patterns: Sequence[str], origin: Origin) -> list[str]:
    """The names of the files to include, each once."""
    first = origin.files[0]
    folder = os.path.dirname(first.name)
    found = {os.path.abspath(first.name): ""}
    for number, pattern in enumerate(patterns):
        path = os.path.join(folder, pattern)
        known = found.get(os.path.abspath(path))
        problem = ""
        if not pattern or "\0" in pattern:
            problem = f"expected the name of a file, found {shown(pattern)}"
        elif glob.has_magic(pattern):
            problem = _unlisted(folder, pattern)
            # Not of `path`: wildcards in the name of the folder are none.
            some = islice(glob.iglob(pattern, root_dir=folder or None), INCLUDED_FILES_MAX + 1)
            for name in sorted(os.path.join(folder, each) for each in some):
                found.setdefault(os.path.abspath(name), name)
        elif known is not None:
            twice = "is included before" if known else "is this file itself"
            problem = f"{shown(pattern)} {twice}; remove it"
        else:
            found[os.path.abspath(path)] = path
        if len(found) - 1 > INCLUDED_FILES_MAX:
            most = counted(INCLUDED_FILES_MAX, "included file")
            problem = f"there may be {most}, and there are more; put some together"
        if problem:
            where = f"{_INCLUDE}[{number}]"
            origin.lacks(first.name, first.line_of(where), f"{where}: {problem}")
    return [name for name in found.values() if name][:INCLUDED_FILES_MAX]


def _unlisted(folder: str, pattern: str) -> str:
    """Why the directory before the first wildcard cannot be listed; empty if it can, or is
    not there.

    `glob` takes such a directory for an empty one, and a part of the configuration would be
    missing without a word.
    """
    parts = pattern.split("/")
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    directory = os.path.join(folder, "/".join(parts[:fixed]) or ("/" if fixed else "")) or "."
    try:
        with os.scandir(directory):
            return ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot list the directory {directory}: {error.strerror}"


class _Unparsed(ValueError):
    """A file is not TOML, at `place`, for `reason`."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(reason)
        self.place = place
        self.reason = reason


def _parsed(name: str, data: bytes) -> TomlFile:
    try:
        text = data.decode()
        return TomlFile(name, text, parse_toml(text))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        reason = f"not UTF-8: found the byte 0x{data[error.start]:02x}"
    except TomlSlip as slip:
        line, column, reason = slip.line, slip.column, slip.reason
    raise _Unparsed(f"{name}:{line}:{column}" if line else name, reason)
