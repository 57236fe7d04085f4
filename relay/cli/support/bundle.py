"""`syslogrelay bundle`: what somebody needs who is asked for help, in one file."""

from __future__ import annotations

import io
import os
import socket
import sys
import tarfile
import time
from collections.abc import Sequence

import click

from relay.cli.control_client import AskFailed
from relay.cli.output import give_up
from relay.cli.support.bundle_parts import Part, Subject, collected, pid_in
from relay.cli.support.config_show import running_document
from relay.cli.support.host_facts import environment_of
from relay.cli.support.scrubbing import Scrubber, secrets_of, texts_of
from relay.cli.where import STATE_DIR_VARIABLE, named_state_dir
from relay.model.text import size
from relay.service.configuration.file import DEFAULT_PATH, examine_file
from relay.service.configuration.model import DEFAULT_STATE_DIR
from relay.service.kinds import KINDS
from relay.service.queue.state_dir import running_relay

_README = """\
Made by `syslogrelay bundle` at {at} on {host}.

Tokens, keys, passwords and texts of messages are removed: MASKED stands for a secret, and
[N characters] for a text that somebody else has sent.  Names and addresses of hosts, ids, and names
of files are not.  A file .failed says why a part could not be had.

{parts}
"""


@click.command()
@click.option("-o", "--output", metavar="FILE", type=click.Path(), help="Where to write it.")
@click.option("--list", "only_list", is_flag=True, help="Show what it would have; write nothing.")
@click.option("--yes", is_flag=True, help="Write without a question.")
@click.option(
    *("-c", "--config"),
    metavar="FILE",
    type=click.Path(),
    help=f"The relay's configuration; default: that of the running relay, or {DEFAULT_PATH}.",
)
@click.option(
    *("-d", "--state-dir"),
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="State directory of the relay; default: that of the configuration, or "
    f"{STATE_DIR_VARIABLE} in the environment.",
)
def bundle(
    output: str | None, only_list: bool, yes: bool, config: str | None, state_dir: str | None
) -> None:
    """Collect what somebody needs who is to help: versions, configuration, status, log.

    Tokens, keys, passwords and texts of messages are removed.  Names and addresses of hosts are
    not.  The list of files and sizes is shown before a .tar.gz is written, which only its owner
    may read; look into it before you give it away.

    It works without a running relay, and with one that hangs: a part that cannot be had says why.
    """
    path = os.path.abspath(output or _name())
    if not only_list:
        if os.path.lexists(path):
            give_up(f"{path} is there already; remove it, or name another file with -o")
        if not (yes or _is_terminal()):
            give_up("there is no terminal to ask at; add --yes, or --list to see what there is")
    subject = _subject(config, state_dir)
    configuration = subject.examined.configuration if subject.examined else None
    environment = {**os.environ, **environment_of(subject.pid)}
    scrubber = Scrubber(secrets_of(configuration, environment), texts_of(configuration))
    parts = collected(subject, scrubber)
    _show(parts)
    if only_list:
        return
    if not yes:
        click.confirm(f"Write {path}?", abort=True)
    write(path, parts)
    click.echo(f"{path}: {size(os.path.getsize(path))}")


def write(path: str, parts: Sequence[Part]) -> None:
    """Write a bundle that only its owner may read.

    Raises:
        OSError: There is something at `path`, or it cannot be written.
    """
    at = time.time()
    stamp, host = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), socket.gethostname()
    readme = _README.format(at=stamp, host=host, parts="\n".join(map(_line, parts)))
    folder = os.path.basename(path).removesuffix(".tar.gz")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with (
        os.fdopen(descriptor, "wb") as file,
        tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive,
    ):
        for part in (Part("README.txt", readme.encode()), *parts):
            member = tarfile.TarInfo(f"{folder}/{part.name}")
            member.size, member.mtime, member.mode = len(part.content), int(at), 0o600
            archive.addfile(member, io.BytesIO(part.content))


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _name() -> str:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return f"syslogrelay-bundle-{socket.gethostname().partition('.')[0]}-{stamp}.tar.gz"


def _subject(config: str | None, state_dir: str | None) -> Subject:
    """The state directory and the file, from options, the environment and the usual places."""
    state_dir = named_state_dir(state_dir, config, os.environ)
    if config is None and state_dir:
        config = _configuration_of(state_dir)
    if config is None and os.path.exists(DEFAULT_PATH):
        config = DEFAULT_PATH
    examined = None if config is None else examine_file(config, KINDS)
    state_dir = state_dir or (examined.state_dir if examined else "") or DEFAULT_STATE_DIR
    state_dir = os.path.abspath(state_dir)
    pid = running_relay(state_dir) or pid_in(state_dir)
    return Subject(state_dir, os.path.abspath(config) if config else "", examined, pid)


def _configuration_of(state_dir: str) -> str | None:
    """The file that the running relay has read; None = none answers, or it has flags."""
    try:
        files = running_document(state_dir).files
    except AskFailed:
        return None
    return files[0] if files else None


def _show(parts: Sequence[Part]) -> None:
    for part in parts:
        click.echo(_line(part))


def _line(part: Part) -> str:
    failure = f"  {part.failure.splitlines()[0]}" if part.failure else ""
    return f"{len(part.content):>10,} B  {part.name}{failure}"
