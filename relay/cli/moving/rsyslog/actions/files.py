"""omfile and ompipe."""

from __future__ import annotations

import re

from relay.cli.moving.rsyslog.actions.output import (
    NO_NEED,
    Keys,
    Output,
    checked_path,
    default_template,
    form_of_action,
)
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import Octal
from relay.service.configuration.table import size_value


def file(settings: Settings, read: Reader) -> Output:
    """The destination for omfile.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(
        settings, read, default_template(settings, "omfile", "RSYSLOG_FileFormat")
    )
    keys: Keys = {}
    if name := read.text("dynafile"):
        path, more = settings.path(name)
        form.steps += more.steps
        form.notes += more.notes
        id = f"files-{name}"
    else:
        path = read.text("file").replace("$", "$$")
        id = path.rpartition("/")[2].rpartition(".")[0] or path.rpartition("/")[2]
    if re.match(r"/dev/(?!null|shm)", path):
        raise NotSupported(f"{path} is a device; the relay writes to files")
    if not path.startswith("/"):
        raise NotSupported(f"the path {path[:50]!r} is not absolute")
    if path == "/dev/null":
        raise NotSupported("/dev/null; write a step that drops, or leave it out")
    keys["connect"] = f"file://{checked_path(path)}"
    keys |= _permissions(settings, read)
    if size := read.size("@size"):
        keys["rotate_bytes"] = size_value(size)
    if size := read.size("rotation.sizelimit"):
        keys["rotate_bytes"] = size_value(size)
        read.refuse(["rotation.sizelimitcommand"], "the relay itself renames the file")
    if read.text("ziplevel", "0").strip() not in ("", "0"):
        read.said.approximated("zipLevel: closed files are compressed, if they are rotated")
        keys |= {"compress": "gzip", "rotate_seconds": "1d"}
    read.ignore(
        [
            *("createdirs", "dynafilecachesize", "failonchownfailure", "sync", "asyncwriting"),
            *("flushontxend", "flushinterval", "iobuffersize", "closetimeout", "veryrobustzip"),
            *("dynafile.donotsuspend", "addlf"),
        ],
        "directories are made, each batch is synced before it counts as delivered",
    )
    read.refuse(
        ["sig.provider", "cry.provider", "cry.key", "cry.mode", "cry.algo"],
        "signed or encrypted files",
    )
    return Output(id, keys, form)


def _permissions(settings: Settings, read: Reader) -> Keys:
    keys: Keys = {}
    module = Reader(settings.parameters_of("builtin:omfile"), read.said)

    def value(name: str) -> str:
        return read.text(name) or module.text(name)

    owners = [*map(value, ("fileowner", "fileownernum", "dirowner", "dirownernum"))]
    if any(owners):
        read.said.approximated("files belong to the relay's user; with root write owner")
    groups = [*map(value, ("filegroup", "filegroupnum", "dirgroup", "dirgroupnum"))]
    if group := next(filter(None, groups), ""):
        keys["group"] = group
        if not read.is_on("@noted"):  # where a legacy line said so already
            read.said.approximated(f"the relay's user has to be a member of the group {group}")
    for ours, name in (("mode", "filecreatemode"), ("directory_mode", "dircreatemode")):
        text = value(name).strip()
        if re.fullmatch(r"0?[0-7]{3}", text):
            keys[ours] = Octal(int(text, 8))
        elif text:
            read.said.unsupported(f"{name}: expected permissions, found {text[:20]!r}")
    return keys


def pipe(settings: Settings, read: Reader) -> Output:
    """The destination for ompipe.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(
        settings, read, default_template(settings, "omfile", "RSYSLOG_FileFormat")
    )
    path = read.text("pipe")
    if not path.startswith("/"):
        raise NotSupported(f"the path {path[:50]!r} is not absolute")
    read.ignore(["tryresumereopen"], NO_NEED)
    keys: Keys = {"connect": f"pipe://{checked_path(path)}"}
    return Output(f"pipe-{path.rpartition('/')[2]}", keys, form)
