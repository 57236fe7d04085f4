"""Read tables of a TOML file.  What is wrong is collected; the rest is read all the same."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Generic, Protocol, TypeAlias, TypeVar, runtime_checkable

from relay.model import expression
from relay.model.template import macros_of
from relay.service.configuration.credentials import (
    UNIT_DIRECTORY,
    VARIABLE,
    is_assumed,
    with_credentials,
)
from relay.service.configuration.origin import Origin
from relay.service.configuration.table import (
    Expression,
    Leaf,
    Text,
    Texts,
    did_you_mean,
    join_path,
    shown,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")
K = TypeVar("K")

_MILLISECONDS = round(1000 * expression.SECONDS_MAX)
_PLACEHOLDER = re.compile(rb"(?i)\s*(?:[a-z_]*token_goes_here|<[^>]*>|your[_-][a-z_-]*token)\s*")
_TOKEN_FILE_BYTES_MAX = 4096


def content_of(path: str, *, bytes_max: int) -> bytes:
    """The first `bytes_max` bytes of a file that the configuration names.

    Raises:
        OSError: It cannot be read, or is no regular file: to open a named pipe would stop the
            relay until somebody writes into it.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        return file.read(bytes_max)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


class Reported(ValueError):
    """A value is wrong, and the problems say so already."""


@dataclass(slots=True)
class Reading:
    """What is known while one file is read, and what is found beside its values."""

    base_dir: str = ""
    """Directory for relative paths."""
    origin: Origin | None = None
    """The files that are read; None = there is none, or one."""
    sources: Sequence[str] = ()
    """The ids that a filter may name."""
    apps: Sequence[str] = ()
    """Likewise."""
    filters: Mapping[str, object] = field(default_factory=dict)
    """The tables that ``filter = "NAME"`` means, by name."""
    inside: list[str] = field(default_factory=list)
    """The filters that are being read, outermost first: their names, or empty."""
    problems: list[str] = field(default_factory=list)
    """One line for each key that is wrong."""
    unready: list[str] = field(default_factory=list)
    """The same for files that a running relay waits for."""
    warnings: list[str] = field(default_factory=list)
    """What works, but deserves a look."""

    def add(self, path: str, problem: str) -> None:
        """Something is wrong at `path`: once, though a named filter is read wherever it is used."""
        if (line := f"{path}: {problem}") not in self.problems:
            self.problems.append(line)

    def absolute(self, path: str, where: str = "") -> str:
        """The path of a file that is named at `where`, relative to the file that names it."""
        found = os.path.normpath(os.path.join(self.directory_of(where), path))
        if found != path:
            self.note_absolute(path, found, where)
        return found

    def directory_of(self, where: str) -> str:
        """Where a relative path starts from that is the value at a dotted path."""
        return self.base_dir if self.origin is None else self.origin.directory_of(where)

    def note_absolute(self, text: str, absolute: str, where: str) -> None:
        """Remember what a relative path or URL at a dotted path stands for."""
        if self.origin is not None:
            self.origin.absolute[where, text] = absolute

    def file(self, written: str, path: str) -> str:
        """The absolute path of the file that the key at `path` names, perhaps a credential.

        Raises:
            ValueError: It begins as the path of a credential and is none.
        """
        credential = with_credentials(written)
        if credential == written:
            return self.absolute(written, path)
        self.note_absolute(written, credential, path)
        if is_assumed(written):
            self.warnings.append(
                f"{path}: {VARIABLE} is not set, so credentials are looked for in "
                f"{UNIT_DIRECTORY}; systemd sets it for units with LoadCredential="
            )
        return credential

    def note_expression(self, pattern: str, path: str) -> None:
        """Warn of a regular expression that runs under a time limit."""
        if expression.Expression(pattern).backtracks:
            self.warnings.append(
                f"{path}: {shown(pattern)} needs lookaround, references to groups or possessive "
                f"quantifiers, so a search may be slow; one that takes longer than "
                f"{_MILLISECONDS} ms counts as not found"
            )

    def note_secret(self, file: str, path: str, *, is_token: bool) -> None:
        """Warn of a file with a secret that everybody can read, and of an example of a token."""
        try:
            data = content_of(file, bytes_max=_TOKEN_FILE_BYTES_MAX)
            mode = stat.S_IMODE(os.stat(file).st_mode)
        except OSError:
            return  # where the file is needed, that is a problem
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            self.warnings.append(
                f"{path}: every user can read or write {file} (mode {mode:04o}), which holds a "
                f"secret; chmod o= {file}"
            )
        if is_token and _PLACEHOLDER.fullmatch(data):
            self.warnings.append(
                f"{path}: {file} holds an example instead of a token; put the token of the app "
                "there"
            )

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Raise `Reported` at the end of the block if it has found something wrong."""
        known = len(self.problems)
        yield
        if len(self.problems) > known:
            raise Reported

    def read(self, kind: Leaf[T] | Nested[T], value: object, path: str) -> T:
        """What `kind` makes of `value`.

        Raises:
            Reported: It is wrong.
        """
        try:
            if isinstance(kind, Nested):
                return kind.read_at(value, path, self)
            found = kind.read(value)
        except Reported:
            raise
        except ValueError as error:
            self.add(path, str(error))
            raise Reported from None
        if isinstance(kind, Expression):
            self.note_expression(str(found), path)
        return found

    def table(
        self,
        values: object,
        kinds: Mapping[str, Leaf[T] | Nested[T]],
        path: str,
        *,
        fitting: Sequence[str] = (),
    ) -> dict[str, T]:
        """Read the keys of one table.

        Args:
            values: The table as TOML gave it.
            kinds: The keys that are allowed.  None of them is required here.
            path: Dotted path of the table; empty for the whole file.
            fitting: The keys to suggest for one that is unknown; none = all.

        Returns:
            The keys that were there and right.
        """
        if not isinstance(values, dict):
            self.add(path, f"expected a table, found {shown(values)}")
            return {}
        found: dict[str, T] = {}
        for key, value in values.items():
            where = join_path(path, key)
            if key in kinds:
                with suppress(Reported):
                    found[key] = self.read(kinds[key], value, where)
            else:
                # The value is not shown: it may be a secret under a misspelt name.
                near = did_you_mean(key, fitting or kinds) or did_you_mean(key, kinds) or "."
                allowed = ", ".join(fitting or kinds)
                self.add(where, f"unknown key{near} Allowed here: {allowed}")
        return found


@runtime_checkable
class Nested(Protocol[T_co]):
    """What a key may hold, where several things in it can be wrong."""

    def read_at(self, value: object, path: str, reading: Reading, /) -> T_co:
        """Turn a TOML value into a Python value; ValueError says what is wrong with it."""


Readable: TypeAlias = Leaf[object] | Nested[object]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with macros."""

    allowed: ClassVar[str] = "a text with macros"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f'expected a template, such as "$ISODATE $MSG", found {shown(value)}')
        macros_of(value)
        return value


@dataclass(frozen=True, slots=True)
class OneOrMore:
    """A text, or a list of texts."""

    allowed: str
    may_repeat: bool = False

    def read(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str) and value:
            return (value,)
        return Texts(f"{self.allowed}, or a list of them", self.may_repeat).read(value)


@dataclass(frozen=True, slots=True)
class True_:
    """true: what is not wanted is not written."""

    def read(self, value: object) -> bool:
        if value is True:
            return True
        raise ValueError(f"expected true, found {shown(value)}; remove the key instead")


@dataclass(frozen=True, slots=True)
class FilePath:
    """The path of a file; it becomes absolute."""

    allowed: ClassVar[str] = "a path"

    def read_at(self, value: object, path: str, reading: Reading, /) -> str:
        return reading.file(Text(self.allowed).read(value), path)


@dataclass(frozen=True, slots=True)
class SecretFile:
    """The path of a file with a secret; it becomes absolute."""

    is_token: bool = False
    allowed: ClassVar[str] = "a path"

    def read_at(self, value: object, path: str, reading: Reading, /) -> str:
        # A pasted secret is a likely slip.
        file = reading.file(Text(self.allowed, secret=True).read(value), path)
        reading.note_secret(file, path, is_token=self.is_token)
        return file


@dataclass(frozen=True, slots=True)
class TokenVariable:
    """The name of an environment variable with a token."""

    allowed: ClassVar[str] = "the name of an environment variable"

    def read_at(self, value: object, path: str, reading: Reading, /) -> str:
        name = Text(self.allowed, r"[A-Za-z_][A-Za-z0-9_]*", secret=True).read(value)
        if _PLACEHOLDER.fullmatch(os.fsencode(os.environ.get(name, ""))):
            reading.warnings.append(
                f"{path}: the variable {name} holds an example instead of a token"
            )
        return name


@dataclass(frozen=True, slots=True)
class TableOf(Generic[T]):
    """A table of names with values of one kind.

    Args:
        example: For the error.
    """

    kind: Leaf[T] | Nested[T]
    example: str
    may_be_empty: bool = True

    def read_at(self, value: object, path: str, reading: Reading, /) -> Mapping[str, T]:
        if not isinstance(value, dict) or not (value or self.may_be_empty):
            raise ValueError(f"expected a table such as {self.example}, found {shown(value)}")
        return dict(_each(self.kind, value.items(), partial(join_path, path), reading))


@dataclass(frozen=True, slots=True)
class Entries(Generic[T]):
    """A list of tables."""

    kind: Leaf[T] | Nested[T]

    def read_at(self, value: object, path: str, reading: Reading, /) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"expected a list of tables, found {shown(value)}")
        found = _each(self.kind, enumerate(value), lambda n: f"{path}[{n}]", reading)
        return tuple(entry for _, entry in found)


def _each(
    kind: Leaf[T] | Nested[T],
    items: Iterable[tuple[K, object]],
    path_of: Callable[[K], str],
    reading: Reading,
) -> list[tuple[K, T]]:
    """What `kind` makes of all items; all that are wrong become problems."""
    found = []
    with reading.whole():
        for name, item in items:
            with suppress(Reported):
                found.append((name, reading.read(kind, item, path_of(name))))
    return found
