"""`syslogrelay certs`: make a private certificate authority and certificates."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import click

from relay.cli.groups import Commands
from relay.cli.output import give_up
from relay.service.tls.certificates import Issued, load_issued, make_authority, make_leaf

Purpose = Literal["server", "client"]


@click.group(cls=Commands)
def certs() -> None:
    """Make certificates for TLS between relays: a private authority and leaves.

    Files in --out: ca.pem, ca-key.pem, server.pem, server-key.pem, client.pem
    and client-key.pem.  Keys are readable by their owner only.  No file is
    overwritten without --force.
    """


def _shared_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--force", is_flag=True, help="Replace existing files."),
        click.option("--rsa", "rsa_key", is_flag=True, help="Make RSA 2048 keys instead of P-256."),
        click.option(
            "--out",
            default=".",
            show_default=True,
            type=click.Path(file_okay=False, path_type=Path),
            help="Directory for the files; created if it does not exist.",
        ),
    ):
        command = option(command)
    return command


@certs.command()
@_shared_options
@click.option("--common-name", default="syslogrelay private authority", show_default=True)
def ca(out: Path, rsa_key: bool, force: bool, common_name: str) -> None:
    """Make the authority that signs the others; valid for ten years."""
    try:
        authority = make_authority(common_name, rsa_key=rsa_key)
    except ValueError as error:
        give_up(f"--common-name: {error}")
    _write_all(out, {"ca": authority}, force=force)


@certs.command()
@_shared_options
@click.option("--name", "names", multiple=True, help="DNS name or IP address; may be repeated.")
def server(out: Path, rsa_key: bool, force: bool, names: tuple[str, ...]) -> None:
    """Make a certificate for a listener; valid for 397 days.

    Clients compare --name with the host that they connect to.  Without one it is
    this host's name, localhost, 127.0.0.1 and ::1.
    """
    leaf = _leaf(_authority(out), names or _local_names(), "server", rsa_key)
    _write_all(out, {"server": leaf}, force=force)


@certs.command()
@_shared_options
@click.option("--name", "names", multiple=True, help="DNS name or IP address; may be repeated.")
def client(out: Path, rsa_key: bool, force: bool, names: tuple[str, ...]) -> None:
    """Make a certificate for a sender; valid for 397 days.

    Without --name it is this host's name.
    """
    leaf = _leaf(_authority(out), names or (socket.gethostname(),), "client", rsa_key)
    _write_all(out, {"client": leaf}, force=force)


@certs.command(name="all")
@_shared_options
@click.option("--name", "names", multiple=True, help="Name of the server; may be repeated.")
@click.option("--client-name", "client_names", multiple=True, help="Name of the client.")
def everything(
    out: Path, rsa_key: bool, force: bool, names: tuple[str, ...], client_names: tuple[str, ...]
) -> None:
    """Make a new authority, a server and a client certificate.

    With --force this replaces the authority too, which invalidates every certificate that
    the old one signed.
    """
    authority = make_authority("syslogrelay private authority", rsa_key=rsa_key)
    issued = {
        "ca": authority,
        "server": _leaf(authority, names or _local_names(), "server", rsa_key),
        "client": _leaf(authority, client_names or (socket.gethostname(),), "client", rsa_key),
    }
    _write_all(out, issued, force=force)


def _local_names() -> tuple[str, ...]:
    return tuple(dict.fromkeys((socket.gethostname(), "localhost", "127.0.0.1", "::1")))


def _leaf(authority: Issued, names: Sequence[str], purpose: Purpose, rsa_key: bool) -> Issued:
    try:
        return make_leaf(authority, names, purpose=purpose, rsa_key=rsa_key)
    except ValueError as error:
        give_up(f"--name: {error}")


def _authority(out: Path) -> Issued:
    certificate, key = out / "ca.pem", out / "ca-key.pem"
    try:
        return load_issued(certificate.read_bytes(), key.read_bytes())
    except FileNotFoundError as error:
        give_up(f"{error.filename} is missing; make it with: syslogrelay certs ca --out {out}")
    except OSError as error:
        give_up(f"cannot read {error.filename}: {error.strerror}")
    except ValueError as error:
        give_up(f"{certificate} and {key} are no authority: {error}")


def _write_all(out: Path, issued: dict[str, Issued], *, force: bool) -> None:
    """Write a certificate and a key file for each; nothing at all if one may not be."""
    files: list[tuple[Path, bytes, int]] = []
    for name, one in issued.items():
        files.append((out / f"{name}-key.pem", one.private_key_pem(), 0o600))
        files.append((out / f"{name}.pem", one.certificate_pem(), 0o644))
    existing = [str(path) for path, _, _ in files if path.exists()]
    if existing and not force:
        give_up(
            f"{', '.join(existing)} already there; choose another --out, or replace with --force"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, data, mode in files:
            _write(path, data, mode, replace=force)
    except OSError as error:
        give_up(f"cannot write {error.filename}: {error.strerror}")
    for name, one in issued.items():
        ends = one.certificate.not_valid_after_utc
        click.echo(f"{out / name}.pem and {name}-key.pem, valid until {ends:%Y-%m-%d}")


def _write(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    """Write a file that has its permissions from its first instant.

    A file that is replaced is whole at every moment: a relay may be reading it.
    """
    target = path.with_name(f".{path.name}.new") if replace else path
    if replace:
        target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if replace:
        os.replace(target, path)
