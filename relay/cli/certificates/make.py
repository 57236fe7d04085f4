"""`syslogrelay certs ca`, `server`, `client`, `all`: make an authority and certificates."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import click

from relay.cli.certificates.authority import authority_in
from relay.cli.output import give_up
from relay.service.tls.certificates import Issued, make_authority, make_leaf
from relay.service.tls.issued_index import Entry, Index
from relay.service.writing import PUBLIC_MODE, SECRET_MODE, Written, write_files

Purpose = Literal["server", "client"]


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


@click.command()
@_shared_options
@click.option("--common-name", default="syslogrelay private authority", show_default=True)
def ca(out: Path, rsa_key: bool, force: bool, common_name: str) -> None:
    """Make the authority that signs the others; valid for ten years."""
    try:
        authority = make_authority(common_name, rsa_key=rsa_key)
    except ValueError as error:
        give_up(f"--common-name: {error}")
    _write_all(out, {"ca": authority}, force=force)


@click.command()
@_shared_options
@click.option("--name", "names", multiple=True, help="DNS name or IP address; may be repeated.")
def server(out: Path, rsa_key: bool, force: bool, names: tuple[str, ...]) -> None:
    """Make a certificate for a listener; valid for 397 days.

    Clients compare --name with the host that they connect to.  Without one it is
    this host's name, localhost, 127.0.0.1 and ::1.
    """
    leaf = _leaf(authority_in(out), names or _local_names(), "server", rsa_key)
    _write_all(out, {"server": leaf}, force=force)


@click.command()
@_shared_options
@click.option("--name", "names", multiple=True, help="DNS name or IP address; may be repeated.")
def client(out: Path, rsa_key: bool, force: bool, names: tuple[str, ...]) -> None:
    """Make a certificate for a sender; valid for 397 days.

    Without --name it is this host's name.
    """
    leaf = _leaf(authority_in(out), names or (socket.gethostname(),), "client", rsa_key)
    _write_all(out, {"client": leaf}, force=force)


@click.command(name="all")
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


def _write_all(out: Path, issued: dict[str, Issued], *, force: bool) -> None:
    """Write a certificate and a key file for each; nothing at all if one may not be."""
    files: list[Written] = []
    for name, one in issued.items():
        files.append(Written(out / f"{name}-key.pem", one.private_key_pem(), SECRET_MODE))
        files.append(Written(out / f"{name}.pem", one.certificate_pem(), PUBLIC_MODE))
    existing = [str(file.path) for file in files if file.path.exists()]
    if existing and not force:
        give_up(
            f"{', '.join(existing)} already there; choose another --out, or replace with --force"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        index = Index(out)
        leaves = [(name, one) for name, one in issued.items() if name != "ca"]
        entries = [Entry.of(one.certificate, f"{name}.pem") for name, one in leaves]
        if "ca" in issued:
            write_files(files, replace=force)
            index.begin_anew()  # what is in it was issued by another one
            index.add(entries)
        else:
            # First: a certificate that nobody knows of could not be revoked by its serial.
            index.add(entries)
            write_files(files, replace=force)
    except OSError as error:
        give_up(f"cannot write {error.filename}: {error.strerror}")
    except ValueError as error:
        give_up(str(error))
    for name, one in issued.items():
        ends = one.certificate.not_valid_after_utc
        click.echo(f"{out / name}.pem and {name}-key.pem, valid until {ends:%Y-%m-%d}")
    if "ca" in issued and (out / "crl.pem").exists():
        click.echo(f"{out}/crl.pem is of another authority: syslogrelay certs crl --out {out}")
