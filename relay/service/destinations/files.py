"""Messages appended to a file, or to files that they name."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred
from twisted.python.failure import Failure

from relay.model.output import KeyTemplate
from relay.model.text import counted
from relay.service.checks.warnings import directory_warnings
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import (
    YEAR_SECONDS,
    DestinationConfiguration,
    TiB,
    Url,
    Where,
)
from relay.service.configuration.table import Choice, Duration, Permissions, Size, Text, Whole
from relay.service.configuration.url import Path, Role, url_shown
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.probes.files import probe_appended, probe_ownership
from relay.service.probes.probe import Probe
from relay.transport.files.below import Access
from relay.transport.files.closed_files import COMPRESSIONS, ClosedFiles, Keeping, MadeFiles
from relay.transport.files.file_names import FileNames, meetings
from relay.transport.files.file_tree import FileOptions, FileTree
from relay.transport.files.writer import FileSession

T = TypeVar("T")

_TIDY_SECONDS = 10.0


class _Target(Path):
    """The path of a file to write, perhaps with macros."""

    __slots__ = ()

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        try:
            names = FileNames.of(rest)
        except ValueError as error:
            raise ValueError(f"{url_shown(f'{scheme}:{rest}')}: {error}") from None
        # Only the part before the first macro is a path yet.  The result is a template again.
        fixed = rest.replace("$$", "$") if names is None else os.path.join(names.root, "file")
        path = Path.read(self, scheme, fixed, role, base_dir).path.replace("$", "$$")
        if names is not None:
            path = f"{os.path.dirname(path).rstrip('/')}/{names.below}"
        return Url(scheme, path=path)


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Whose the files are that the relay makes."""

    owner: str = key(
        Text("a user name or number"),
        "",
        "owner of files and directories that the relay makes; needs root or CAP_CHOWN",
        default_text="the relay's user",
    )
    group_name: str = key(
        Text("a group name or number"),
        "",
        "group of files and directories that the relay makes",
        default_text="the relay's group",
        named="group",
    )
    mode: int = key(Permissions(), 0o640, "permissions of files that the relay makes")
    directory_mode: int = key(
        Permissions(), 0o750, "permissions of directories that the relay makes"
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        for name, text, find in (
            ("owner", self.owner, _user_id),
            ("group", self.group_name, _group_id),
        ):
            try:
                find(text)
            except KeyError:
                kind = "user" if name == "owner" else name
                yield f"{where(name)}: there is no {kind} {text!r}; make it, or write another one"

    @property
    def access(self) -> Access:
        owner, group_id = _user_id(self.owner), _group_id(self.group_name)
        return Access(owner, group_id, self.mode, self.directory_mode)


@dataclass(frozen=True, slots=True)
class Rotation:
    """When files are closed."""

    rotate_bytes: int = key(
        Size(0, 16 * TiB), 0, "close a file before it grows above this size; 0 = never"
    )
    rotate_seconds: float = key(
        Duration(0, YEAR_SECONDS),
        0.0,
        'close files when a period of this length ends, with `"1d"` at midnight, local time; '
        "0 = never",
    )
    compress: str = key(
        Choice(("none", *COMPRESSIONS)), "none", "compression of closed files, or of HTTP requests"
    )
    keep_files: int = key(
        Whole(0, 1_000_000), 0, "closed files to keep of each file; 0 = all of them"
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if self.keep_files and not (self.rotate_bytes or self.rotate_seconds):
            yield (
                f"{where('keep_files')}: is for closed files, and none is ever closed; write for "
                'example rotate_seconds = "1d"; files with a date in their names: keep_seconds'
            )


@dataclass(frozen=True, slots=True)
class Kept:
    """Which of the files that a destination has made are kept."""

    keep_seconds: float = key(
        Duration(0, 100 * YEAR_SECONDS),
        0.0,
        "remove files that were last written longer ago than this, an hour or more; 0 = never",
    )
    keep_bytes: int = key(
        Size(0, 16 * TiB),
        0,
        "remove the oldest files while all files of the destination have more; 0 = never",
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if 0 < self.keep_seconds < 3600:
            yield f"{where('keep_seconds')}: expected 0, or at least 3,600 seconds"


@dataclass(frozen=True, slots=True)
class FileConfiguration(DestinationConfiguration):
    access: FileAccess = group(FileAccess)
    rotation: Rotation = group(Rotation)
    kept_files: Kept = group(Kept)
    files_open_max: int = key(
        Whole(16, 65536), 256, "files that are open at a time, if the path has macros"
    )
    files_new_per_peer_max: int = key(
        Whole(0, 1_000_000),
        1000,
        "files that one sender may cause in an hour, if the path has macros; 0 = any number",
    )

    @property
    def names(self) -> FileNames | None:
        """None if its path has no macros."""
        return FileNames.of(self.connect.path)

    @property
    def record_key(self) -> KeyTemplate | None:
        names = self.names
        return None if names is None else names.key

    def problems(self, where: Where, given: Collection[str]) -> Iterable[str]:
        rotation = self.rotation
        names = self.names
        has_date = names is not None and names.unit
        is_closed = rotation.rotate_bytes or rotation.rotate_seconds or has_date
        if rotation.compress != "none" and not is_closed:
            yield (
                f"{where('compress')}: is for closed files, and none is ever closed; write for "
                'example rotate_seconds = "1d", or a date into the path, as in ${R_YEAR}-${R_MONTH}'
            )

    def warnings(self, where: Where) -> Iterable[str]:
        return directory_warnings(os.path.join(self._place[0], "file"), where("connect"))

    @property
    def _place(self) -> tuple[str, str]:
        """The fixed directory, and the file in it if its path has no macros."""
        names = self.names
        root, _, only = self.connect.path.replace("$$", "$").rpartition("/")
        return (names.root, "") if names else (root or "/", only)

    @property
    def options(self) -> FileOptions:
        names = self.names
        root, only = self._place
        return FileOptions(
            root=root,
            only=only,
            overflow=f"_overflow-{self.id}.log",
            access=self.access.access,
            files_open_max=self.files_open_max,
            files_new_per_peer_max=self.files_new_per_peer_max,
            rotate_bytes=self.rotation.rotate_bytes,
            rotate_seconds=self.rotation.rotate_seconds,
            unit=names.unit if names and self.rotation.compress != "none" else "",
        )


class _Turn:
    """What one session has of files that are shared with another lane, and with tidying."""

    def __init__(self, tree: FileTree, close: Callable[[], object]) -> None:
        self._tree = tree
        self.append = tree.append
        self.close = close

    @property
    def batch_records(self) -> int:
        return self._tree.batch_records


class _Files:
    """The files of one destination, whose lanes take turns."""

    def __init__(self, configuration: FileConfiguration, parts: DestinationParts) -> None:
        kept, rotation = configuration.kept_files, configuration.rotation
        self._subject = f"destination {configuration.id}"
        self._parts = parts
        # What two lanes append must not mix, nor what one cuts off again be the other's.
        self._one_at_a_time = DeferredLock()
        self._options = options = configuration.options
        keeping = Keeping(kept.keep_seconds, kept.keep_bytes, rotation.keep_files)
        self._has_closed = bool(
            keeping or rotation.rotate_bytes or rotation.rotate_seconds or options.unit
        )
        made = MadeFiles(options.root, configuration.id, is_kept=self._has_closed)
        self._closed = ClosedFiles(
            made,
            root=options.root,
            kept_always=options.only,
            compress="" if rotation.compress == "none" else rotation.compress,
            keeping=keeping,
            wall=parts.wall,
            say=self._warn_from_thread,
        )
        self._tree = FileTree(
            options, made=made, closed=self._closed, wall=parts.wall, say=self._warn_from_thread
        )
        self._tidies_at = 0.0
        self._is_tidying = False

    async def open(self, outlet: Outlet, on_failure: Callable[[str], None]) -> FileSession:
        # So that a file that cannot be opened is known before there is a record for it.
        await self._run_in_thread(partial(self._tree.append, (), reopen=True))
        return FileSession(
            _Turn(self._tree, self._close),
            drain=outlet.drain,
            run_in_thread=self._run_in_thread,
            clock=self._parts.reactor,
            on_failure=on_failure,
            on_reopened=partial(self._parts.notices.warn, self._subject, "reopened"),
            on_look=self._look,
        )

    def details(self) -> list[str]:
        """For `status`."""
        tree, lines = self._tree, []
        if not self._options.only:
            lines.append(
                f"{counted(tree.open_files, 'file')} open, {tree.made_files:,} made since the start"
            )
        if tree.overflow_records:
            records = counted(tree.overflow_records, "message")
            lines.append(f"{records} went to {self._tree.overflow_path}; the log says why")
        return [*lines, *filter(None, [self._closed.text])]

    def _run_in_thread(self, call: Callable[[], T]) -> Deferred[T]:
        return self._one_at_a_time.run(self._parts.run_in_thread, call)

    def _close(self) -> Deferred[None]:
        """Close the files in turn: a descriptor that a thread still writes to may be reused."""
        self._closed.is_interrupted = True
        return self._run_in_thread(self._tree.close)

    def _warn_from_thread(self, kind: str, text: str) -> None:
        self._parts.reactor.callFromThread(self._parts.notices.warn, self._subject, kind, text)

    def _look(self) -> None:
        """Tidy up every ten seconds."""
        now = self._parts.reactor.seconds()
        if self._has_closed and not self._is_tidying and now >= self._tidies_at:
            self._is_tidying = True
            self._tidies_at = now + _TIDY_SECONDS
            ensureDeferred(self._tidy()).addErrback(self._not_tidied)

    async def _tidy(self) -> None:
        try:
            await self._run_in_thread(self._tree.tidy)
            await self._parts.run_in_thread(self._closed.compress)
        finally:
            self._is_tidying = False

    def _not_tidied(self, failure: Failure) -> None:
        failure.trap(OSError)
        text = f"{self._options.root}: cannot tidy up: {failure.getErrorMessage()}"
        self._parts.notices.warn(self._subject, "tidy", text)


def _make(configuration: FileConfiguration, parts: DestinationParts) -> Delivery:
    files = _Files(configuration, parts)
    how = f"appending to {configuration.connect.path}, delivered when synced"
    return Delivery(
        new_link=lambda outlet: LocalLink(outlet, files.open, how=how, clock=parts.reactor),
        details=files.details,
        is_confirmed=True,
    )


def _user_id(text: str) -> int:
    """The number of a user; -1 = none is named.  KeyError: there is no such user."""
    return int(text) if text.isdecimal() else pwd.getpwnam(text).pw_uid if text else -1


def _group_id(text: str) -> int:
    return int(text) if text.isdecimal() else grp.getgrnam(text).gr_gid if text else -1


def _probe(configuration: FileConfiguration, probe: Probe) -> None:
    options = configuration.options
    probe_appended(probe, options.root, options.only)
    access = options.access
    probe_ownership(probe, access.owner, access.group)


FILE = DestinationKind(
    scheme="file",
    address=_Target("file"),
    configuration=FileConfiguration,
    delivered="the file is synced; a file that was removed or renamed is opened again. The path "
    "may have macros, as in `file:///srv/logs/${HOST}/${R_YEAR}-${R_MONTH}-${R_DAY}.log`",
    medium="file",
    meetings=lambda urls: meetings([url.path for url in urls]),
    make=_make,
    probe=_probe,
)
