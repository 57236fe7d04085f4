"""`syslogrelay certs show`: certificates, keys and lists in files, of a relay or a server."""

from __future__ import annotations

import os
import re
import socket
import ssl
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from relay.cli.output import give_up, print_document
from relay.model.text import counted, printable
from relay.service.configuration.file import DEFAULT_PATH, examine_file
from relay.service.configuration.model import Configuration, TlsConfiguration
from relay.service.configuration.reading import content_of
from relay.service.kinds import KINDS
from relay.service.tls.inspection import (
    Contents,
    Described,
    Role,
    check_issuers,
    contents_of,
    described_chain,
    match_keys,
)

_SERVER = re.compile(r"\[?([^\[\]/]+?)\]?:([0-9]{1,5})")
_SECONDS_MAX = 10.0
_REVOKED_SHOWN = 10
_AUTHORITIES_SHOWN = 10  # of one file: more are the system's, and nobody's own
_KEY_NAMES = {"fullchain.pem": "privkey.pem", "cert.pem": "privkey.pem"}
"""Certbot's names."""


@click.command()
@click.argument("targets", metavar="[FILE|HOST:PORT]...", nargs=-1)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    help=f"Show all that this configuration names; default without arguments: {DEFAULT_PATH}.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def show(targets: tuple[str, ...], config: str | None, as_json: bool) -> None:
    """Show certificates, private keys and revocation lists, and what is wrong with them.

    Of a certificate: names, issuer, serial, validity, purpose, kind of key, fingerprint, and the
    file with its key.  If authorities are among the files, it must be signed by one of them.
    HOST:PORT shows what a server presents (TLS from the first byte, as tls:// and relp+tls://).

    Status 0: no problems.  1: problems, each with a line.  2: failure.
    """
    if targets and config:
        raise click.UsageError("give files or --config, not both")
    if not targets and config is None and not os.path.exists(DEFAULT_PATH):
        raise click.UsageError(f"give files, HOST:PORT, or --config: there is no {DEFAULT_PATH}")
    now = datetime.now(UTC)
    # Of old authorities in bundles, about which nobody here can do anything.
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)
    found = _of_targets(targets, now) if targets else _of_configuration(config or DEFAULT_PATH, now)
    described = [one for contents in found for one in contents.described]
    if as_json:
        print_document(described)
    else:
        click.echo("\n\n".join(_paragraphs(found)))
    problems = sum(len(one.problems) for one in described)
    if problems:
        click.echo(f"{counted(problems, 'problem')} found", err=True)
        raise SystemExit(1)


def _of_targets(targets: Sequence[str], now: datetime) -> list[Contents]:
    found = []
    for target in dict.fromkeys(_with_keys(targets)):
        server = None if os.path.exists(target) else _SERVER.fullmatch(target)
        if server is None:
            found.append(contents_of(target, now=now))
        else:
            found.append(_presented(target, server[1], int(server[2]), now))
    match_keys(found)
    authorities = _authorities(found)
    if authorities:
        check_issuers(found, authorities)
    return found


def _with_keys(targets: Sequence[str]) -> Iterator[str]:
    """The targets, and after each certificate the file with its key, where that can be read."""
    for target in targets:
        yield target
        path = Path(target)
        key = path.with_name(_KEY_NAMES.get(path.name, f"{path.stem}-key{path.suffix}"))
        if path.is_file() and os.access(key, os.R_OK):
            yield str(key)


def _authorities(found: Sequence[Contents]) -> list[x509.Certificate]:
    return [
        certificate
        for contents in found
        for certificate, described in zip(contents.certificates, contents.described, strict=False)
        if described.kind == "authority"
    ]


def _presented(target: str, host: str, port: int, now: datetime) -> Contents:
    """The certificates that a server presents; nothing is verified and nothing sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_SECONDS_MAX) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            chain = getattr(connection, "get_unverified_chain", None)  # from Python 3.13 on
            own = connection.getpeercert(binary_form=True) or b""
            presented: list[bytes] = chain() if chain else [own]
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        give_up(f"{target}: {printable(str(error))}; expected a server with TLS there")
    try:
        certificates = [x509.load_der_x509_certificate(each) for each in presented]
    except ValueError:
        give_up(f"{target}: it presents a certificate that cannot be read")
    return described_chain(target, certificates, "server", now)


def _of_configuration(path: str, now: datetime) -> list[Contents]:
    examined = examine_file(path, KINDS)
    if examined.configuration is None:
        give_up("\n".join(examined.problems))
    tables = list(_tables(examined.configuration))
    if not tables:
        give_up(f"{path}: nothing in it uses TLS with certificates")
    by_file: dict[tuple[str, Role], Contents] = {}
    for where, role, tls in tables:
        pair = []
        passphrase = _first_line(tls.private_key_passphrase_file)
        for key, file, file_role in (
            ("certificate", tls.certificate, role),
            ("private_key", tls.private_key, "any"),
            ("trusted_ca", tls.trusted_ca, "authority"),
            ("crl", tls.crl, "any"),
        ):
            if not file:
                continue
            known = by_file.get((file, file_role))
            if known is None:
                known = contents_of(file, role=file_role, now=now, passphrase=passphrase)
                by_file[file, file_role] = known
            for one in known.described:
                one.used_by.append(f"{where}.{key}")
            if key in ("certificate", "private_key"):
                pair.append(known)
        match_keys(pair)
    return list(by_file.values())


def _tables(configuration: Configuration) -> Iterator[tuple[str, Role, TlsConfiguration]]:
    """The tables with TLS: their name, the role of their certificate, and their keys."""
    for source in configuration.sources:
        if source.tls is not None:
            yield f"sources.{source.id}", "server", source.tls
    for destination in configuration.destinations:
        if destination.tls is not None:
            yield f"destinations.{destination.id}", "client", destination.tls
    if configuration.web is not None and configuration.web.is_encrypted:
        yield "web", "server", configuration.web.tls
    if configuration.alerts is not None and configuration.alerts.is_encrypted:
        yield "alerts", "client", configuration.alerts.tls


def _first_line(path: str) -> bytes:
    try:
        data = content_of(path, bytes_max=4096) if path else b""
    except OSError:
        return b""  # the key is then shown as encrypted
    return data.partition(b"\n")[0].removesuffix(b"\r")


def _paragraphs(found: Sequence[Contents]) -> Iterator[str]:
    """One for each part; a bundle of many authorities is a line, and those with problems."""
    for contents in found:
        described = contents.described
        is_bundle = len(described) > _AUTHORITIES_SHOWN and all(
            one.kind == "authority" for one in described
        )
        if is_bundle:
            yield f"{described[0].file}: {len(described)} authorities"
            described = [one for one in described if one.problems]
        yield from ("\n".join(_lines(one)) for one in described)


def _lines(one: Described) -> Iterator[str]:
    yield f"{one.file}: {one.kind.replace('-', ' ')} {one.subject}".rstrip()
    if one.names:
        yield f"  names    {', '.join(one.names)}"
    if one.issuer:
        own = " (itself)" if one.issuer == one.subject else ""
        yield f"  issuer   {one.issuer}{own}"
    if one.serial:
        yield f"  serial   {one.serial}"
    if one.begins_at:
        yield f"  valid    {one.begins_at} to {one.ends_at or 'for ever'}{_days_left(one)}"
    if one.kind == "certificate":
        yield f"  purpose  {', '.join(one.purposes) or 'any'}"
    if one.key:
        place = f", in {one.key_file}" if one.key_file else ""
        yield f"  key      {one.key}{place}"
    if one.sha256:
        yield f"  SHA-256  {one.sha256}"
    if one.kind == "crl":
        more = f", … ({len(one.revoked)} in all)" if len(one.revoked) > _REVOKED_SHOWN else ""
        yield f"  revoked  {', '.join(one.revoked[:_REVOKED_SHOWN]) or 'none'}{more}"
    if one.used_by:
        yield f"  used by  {', '.join(one.used_by)}"
    for problem in one.problems:
        yield f"  problem  {problem}"


def _days_left(one: Described) -> str:
    if one.days_left is None:
        return ""
    if one.days_left < 0:
        return f", over for {-one.days_left:,.1f} days"
    return f", {one.days_left:,.1f} days left"
