"""Names of files with macros in them, which no value can lead out of a fixed directory.

``/srv/logs/${HOST}/${YEAR}.log`` lies below ``/srv/logs``, the directory before the first macro,
and has two components there.  A value cannot add a component: ``/``, control characters and
others that are invisible become ``_``.  A component cannot be empty, ``.`` or ``..``, nor hidden:
an empty one becomes ``_``, and so does a dot at its start.  A long one is cut, and ends with a
hash of the whole then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from relay.model.output import KeyTemplate
from relay.model.template import macros_of, split_template
from relay.rewrite.macros import TIME_MACROS

COMPONENTS_MAX = 16
COMPONENT_BYTES_MAX = 215
"""Of 255: a file that is closed gets a stamp and other endings."""
_NAME_BYTES_MAX = 960  # a record key has room for the sender too
_VALUE_BYTES_MAX = 1024  # of a value, far more than a component takes
_HASH_DIGITS = 8

CLOSED = re.compile(
    r"\.[0-9]{8}T[0-9]{6}Z(?:-[0-9]{1,6})?(?P<compressed>\.zst|\.gz)?(?P<part>\.part)?"
)
"""What the name of a closed file has behind that which it had before."""
_UNITS = {  # of time macros, without their prefix; others are of a minute, or less
    **dict.fromkeys(("TZ", "TZOFFSET"), ""),
    "YEAR": "year",
    **dict.fromkeys(("MONTH", "MONTH_NAME", "MONTH_ABBREV"), "month"),
    **dict.fromkeys(("WEEK", "ISOWEEK", "MONTH_WEEK"), "week"),
    **dict.fromkeys(("DAY", "YEAR_DAY", "WEEK_DAY", "WEEK_DAY_NAME", "WEEK_DAY_ABBREV"), "day"),
    **dict.fromkeys(("HOUR", "HOUR12", "AMPM"), "hour"),
}
_UNITS_BY_LENGTH = ("minute", "hour", "day", "week", "month", "year")
_TIME_PREFIX = re.compile(r"[SRCP]_")
_ENDS_AS_CLOSED = re.compile(CLOSED.pattern.encode() + rb"\Z")
_HARMLESS = re.compile(rb"[ -.0-~]{0,%d}" % COMPONENT_BYTES_MAX)


@dataclass(frozen=True)
class FileNames:
    """A path with macros.

    Attributes:
        root: The fixed directory.
        below: A template of what comes behind it.

    Raises:
        ValueError: One of its components is wrong; says which one, and what to write.
    """

    root: str
    below: str

    @classmethod
    def of(cls, path: str) -> FileNames | None:
        """The names that a path describes; None if it has no macros."""
        at = path.replace("$$", "\0\0").find("$")
        if at < 0:
            return None
        split_template(path)  # whose errors count characters from the start of the path
        start = path.rfind("/", 0, at) + 1
        root = path[:start].replace("$$", "$")
        return cls(root.rstrip("/") or root[:1], path[start:])

    def __post_init__(self) -> None:
        components = _shape(self.below)
        if len(components) > COMPONENTS_MAX:
            raise ValueError(
                f"has {len(components)} components from the first macro on; {COMPONENTS_MAX} are "
                "allowed"
            )
        for component in components:
            fixed = component.replace(b"\0", b"")
            if component[:1] in (b"", b"."):
                raise ValueError(
                    f"has the component {component.decode().replace(chr(0), '${…}')!r} behind a "
                    "macro; write names that are not empty and do not begin with a dot"
                )
            if len(fixed) > self._component_bytes_max // 2:
                raise ValueError(
                    f"has a component with {len(fixed)} bytes of text; "
                    f"{self._component_bytes_max // 2} leave room for its macros"
                )

    @cached_property
    def _component_bytes_max(self) -> int:
        count = self.below.count("/") + 1
        return min(COMPONENT_BYTES_MAX, _NAME_BYTES_MAX // count - 1)

    @property
    def unit(self) -> str:
        """The shortest unit of the date in the names: minute, hour, day, …; empty = none is."""
        macros = [name for name in macros_of(self.below) if name in TIME_MACROS]
        units = {_UNITS.get(_TIME_PREFIX.sub("", name, 1), "minute") for name in macros}
        return next((unit for unit in _UNITS_BY_LENGTH if unit in units), "")

    @property
    def key(self) -> KeyTemplate:
        """Makes record keys: the address of the sender, a space, and a name below `root`."""
        return KeyTemplate(f"$SOURCEIP {self.below}", escape=clean_value, finish=self._finish)

    def _finish(self, key: bytes) -> bytes:
        sender, _, name = key.partition(b" ")
        *directories, last = [self._clean(component) for component in name.split(b"/")]
        if _ENDS_AS_CLOSED.search(last):
            last += b"_"
        return b"%b %b" % (sender, b"/".join([*directories, last]))

    def _clean(self, component: bytes) -> bytes:
        bytes_max = self._component_bytes_max
        if len(component) > bytes_max:
            digest = hashlib.sha256(component).hexdigest()[:_HASH_DIGITS]
            start = component[: bytes_max - _HASH_DIGITS - 1].decode("utf-8", "ignore")
            component = f"{start}-{digest}".encode()
        if component[:1] in (b"", b"."):
            component = b"_" + component[1:]
        return component


def clean_value(value: bytes) -> bytes:
    """`value` without anything that would end a component, or that nobody sees."""
    if _HARMLESS.fullmatch(value):
        return value
    if len(value) > _VALUE_BYTES_MAX:  # other values stay others
        value = value[:_VALUE_BYTES_MAX] + hashlib.sha256(value).hexdigest().encode()
    text = value.decode("utf-8", "replace").replace("\ufffd", "_")
    return "".join([char if char.isprintable() and char != "/" else "_" for char in text]).encode()


def is_clean(name: bytes) -> bool:
    """Whether a name stays below the directory that it is put behind."""
    components = name.split(b"/")
    return len(components) <= COMPONENTS_MAX and all(
        component[:1] not in (b"", b".") and len(component) <= COMPONENT_BYTES_MAX + 1
        for component in components
    )


def may_meet(path: str, other: str) -> bool:
    """Whether two paths, with or without macros, may name the same file."""
    pairs = zip(_shape(path), _shape(other), strict=False)
    return len(_shape(path)) == len(_shape(other)) and all(_meets(*pair) for pair in pairs)


class _Folder:
    """Templates by their components, so that each is compared with few others.

    Attributes:
        ends: Indexes of the templates that end here.
    """

    __slots__ = ("_fixed", "_open", "ends")

    def __init__(self) -> None:
        self.ends: list[int] = []
        self._fixed: dict[bytes, _Folder] = {}
        self._open: dict[bytes, _Folder] = {}  # names with macros

    def add(self, name: bytes) -> _Folder:
        """The folder of that name in this one."""
        return (self._open if b"\0" in name else self._fixed).setdefault(name, _Folder())

    def meeting(self, name: bytes) -> Iterator[_Folder]:
        """The folders in this one that may have the same name as `name`."""
        if b"\0" in name:
            yield from (each for other, each in self._fixed.items() if _meets(name, other))
        elif name in self._fixed:
            yield self._fixed[name]
        yield from (each for other, each in self._open.items() if _meets(name, other))


def meetings(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The pairs of `paths` of which `may_meet` is true, as indexes, the smaller one first.

    Thousands of paths without macros, or with macros in folders of their own, cost little; those
    whose macros are in names in one folder are compared with each other.
    """
    root = _Folder()
    for index, path in enumerate(paths):
        shape = _shape(path)
        here, met = root, [root]
        for name in shape:
            met = [each for folder in met for each in folder.meeting(name)]
            here = here.add(name)
        yield from ((other, index) for folder in met for other in sorted(folder.ends))
        here.ends.append(index)


def _shape(template: str) -> list[bytes]:
    """The components of a template, with NUL for each macro."""
    parts = split_template(template)
    return b"".join(part if isinstance(part, bytes) else b"\0" for part in parts).split(b"/")


@lru_cache(4096)
def _meets(one: bytes, other: bytes) -> bool:
    """Whether the same text fits both, where NUL stands for any text."""
    if not one or not other:
        return not (one + other).strip(b"\0")
    if one[0] and other[0]:
        return one[0] == other[0] and _meets(one[1:], other[1:])
    if one[0]:
        one, other = other, one
    return _meets(one[1:], other) or _meets(one, other[1:])
