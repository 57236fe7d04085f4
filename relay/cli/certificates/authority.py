"""`syslogrelay certs renew`, `revoke`, `crl`, `issued`: what an authority does later."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from relay.cli.output import give_up, print_document
from relay.cli.screen import Screen, Table
from relay.service.tls.certificates import (
    LEAF_DAYS,
    Issued,
    PrivateKey,
    load_issued,
    renew_leaf,
)
from relay.service.tls.inspection import is_issuer
from relay.service.tls.issued_index import REASONS, Entry, Index, serial_text
from relay.service.tls.revocation import make_crl
from relay.service.writing import PUBLIC_MODE, SECRET_MODE, Written, write_files

_CRL_DAYS = 30.0
_CRL_FILE = "crl.pem"
_SERIAL = re.compile(r"(?:0x)?([0-9A-Fa-f]{1,40}(?::[0-9A-Fa-f]{2})*)")
_DAYS = click.FloatRange(0.01, 3650)


def _authority_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--out",
        "folder",
        default=".",
        show_default=True,
        type=click.Path(file_okay=False, path_type=Path),
        help="Directory of the authority: ca.pem, ca-key.pem, ca-index.txt.",
    )(command)


def authority_in(folder: Path) -> Issued:
    """The authority in a directory; ends the command if there is none."""
    certificate, key = folder / "ca.pem", folder / "ca-key.pem"
    try:
        return load_issued(certificate.read_bytes(), key.read_bytes())
    except FileNotFoundError as error:
        give_up(
            f"{error.filename} is missing; name the authority's directory with --out, or make "
            f"a new authority: syslogrelay certs ca --out {folder}"
        )
    except OSError as error:
        give_up(f"cannot read {error.filename}: {error.strerror}")
    except ValueError as error:
        give_up(f"{certificate} and {key} are no authority: {error}")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the authority; default: that of FILE.",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Its private key; default: as `certs` names it, server-key.pem for server.pem.",
)
@click.option("--keep-key", is_flag=True, help="Keep the private key, and replace FILE only.")
@click.option("--days", default=LEAF_DAYS, show_default=True, type=click.IntRange(1, 3650))
def renew(
    file: Path, folder: Path | None, key_file: Path | None, keep_key: bool, days: int
) -> None:
    """Replace the certificate FILE and its key by new ones with the same names and purposes.

    The files keep their owner and their permissions, and links stay links.  Each is replaced in
    one step, the key first; a running relay uses the new pair for new connections within a
    minute, at once on SIGHUP.  The old certificate stays valid until its end: revoke it if its
    key may be known to others.
    """
    folder = folder or file.parent
    key_file = key_file or file.with_name(f"{file.stem}-key{file.suffix}")
    authority = authority_in(folder)
    old, *chain = _certificates_in(file)
    if not is_issuer(authority.certificate, old):
        give_up(
            f"{file} was signed by {old.issuer.rfc4514_string()}, not by the authority in "
            f"{folder}; name the directory of that one with --out, or make a new certificate with: "
            f"syslogrelay certs server --out {folder}"
        )
    own = _key_of(file, key_file) if keep_key or key_file.exists() else None
    if own is None:
        give_up(f"{key_file} is missing; name the private key of {file} with --key")
    try:
        new = renew_leaf(authority, old, key=own if keep_key else None, days=days)
        files = [] if keep_key else [Written(key_file, new.private_key_pem(), SECRET_MODE)]
        Index(folder).add([Entry.of(new.certificate, file.name)])
        rest = b"".join(link.public_bytes(Encoding.PEM) for link in chain)
        files.append(Written(file, new.certificate_pem() + rest, PUBLIC_MODE))
        write_files(files, replace=True)
    except ValueError as error:
        give_up(f"{file}: {error}")
    except OSError as error:
        give_up(f"cannot write {error.filename}: {error.strerror}")
    ends, serial = new.certificate.not_valid_after_utc, serial_text(new.certificate.serial_number)
    what = f"{file}, with the same key" if keep_key else f"{file} and {key_file}"
    click.echo(f"{what}: serial {serial}, valid until {ends:%Y-%m-%d}")
    click.echo(
        f"the old one, serial {serial_text(old.serial_number)}, is valid until "
        f"{old.not_valid_after_utc:%Y-%m-%d}"
    )


@click.command()
@click.argument("certificate", metavar="FILE|SERIAL")
@click.option("--reason", default="unspecified", show_default=True, type=click.Choice(REASONS))
@click.option("--force", is_flag=True, help="Also a SERIAL that is not in the index.")
@_authority_option
def revoke(certificate: str, reason: str, force: bool, folder: Path) -> None:
    """Note in the index that a certificate is revoked: a FILE, or its SERIAL in hexadecimal.

    Relays refuse it once they have the list that `certs crl` writes then.  A revocation cannot
    be taken back.
    """
    authority = authority_in(folder)
    index = Index(folder)
    now = datetime.now(UTC)
    try:
        entry = _entry_to_revoke(certificate, authority, index, now, force=force)
        done = index.revoke(entry, now, reason)
    except (ValueError, OSError) as error:
        give_up(_words(error))
    assert done.revoked_at is not None
    was = "" if done.revoked_at == now else " already"
    why = f" ({done.reason})" if done.reason else ""
    click.echo(
        f"serial {serial_text(done.serial)}, {done.subject}, is{was} revoked since "
        f"{done.revoked_at:%Y-%m-%d %H:%M} UTC{why}"
    )
    click.echo(f"no relay knows yet; write the list with: syslogrelay certs crl --out {folder}")


@click.command()
@click.option(
    "--days",
    default=_CRL_DAYS,
    show_default=True,
    type=_DAYS,
    help="Time until the next list has to be there (nextUpdate).",
)
@_authority_option
def crl(days: float, folder: Path) -> None:
    """Write crl.pem, the signed list of revoked certificates, in place of the one before.

    Copy it to every relay whose `crl` names it.  A relay whose list is older than --days accepts
    no peer, so write it anew well before: once a week, say.
    """
    authority = authority_in(folder)
    index, path = Index(folder), folder / _CRL_FILE
    try:
        entries = index.entries()
        number = index.next_crl_number()
        now = datetime.now(UTC)
        data = make_crl(authority, entries, number=number, now=now, days=days)
        write_files([Written(path, data, PUBLIC_MODE)], replace=True)
    except (ValueError, OSError) as error:
        give_up(_words(error))
    ends = x509.load_pem_x509_crl(data).next_update_utc
    assert ends is not None
    count = sum(entry.revoked_at is not None for entry in entries)
    click.echo(
        f"{path}: list {number}, {count} revoked; the next one is due before "
        f"{ends:%Y-%m-%d %H:%M} UTC"
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@_authority_option
def issued(as_json: bool, folder: Path) -> None:
    """List the certificates that the authority has issued, with those that are revoked."""
    now = datetime.now(UTC)
    try:
        entries = Index(folder).entries()
    except (ValueError, OSError) as error:
        give_up(_words(error, "read"))
    rows = [_row(entry, now) for entry in entries]
    if as_json:
        print_document(rows)
        return
    table = Table("serial", "state", "until", "file", "subject")
    for row in rows:
        table.add(*(row[key] or "-" for key in ("serial", "state", "ends_at", "file", "subject")))
    Screen.of_output().show(table)


def _row(entry: Entry, now: datetime) -> dict[str, str]:
    state = "expired" if entry.ends_at < now else "valid"
    row = {
        "serial": serial_text(entry.serial),
        "state": state,
        "ends_at": f"{entry.ends_at:%Y-%m-%d}",
    }
    row |= {"file": entry.file, "subject": entry.subject}
    if entry.revoked_at is not None:
        row |= {"state": "revoked", "revoked_at": f"{entry.revoked_at:%Y-%m-%dT%H:%M:%SZ}"}
        row["reason"] = entry.reason
    return row


def _entry_to_revoke(
    given: str, authority: Issued, index: Index, now: datetime, *, force: bool
) -> Entry:
    path = Path(given)
    if path.exists():
        certificate, *_ = _certificates_in(path)
        if certificate.serial_number == authority.certificate.serial_number:
            raise ValueError(f"{path} is the authority itself: take it out of `trusted_ca` instead")
        if not is_issuer(authority.certificate, certificate):
            raise ValueError(
                f"{path} was signed by {certificate.issuer.rfc4514_string()}, and only that "
                "authority can revoke it; name its directory with --out"
            )
        return Entry.of(certificate, path.name)
    found = _SERIAL.fullmatch(given)
    if found is None:
        raise ValueError(f"{given}: expected a file, or a serial number in hexadecimal")
    serial = int(found[1].replace(":", ""), 16)
    known = next((each for each in index.entries() if each.serial == serial), None)
    if known is None and not force:
        raise ValueError(
            f"no certificate with serial {serial_text(serial)} is in the index; "
            "`syslogrelay certs issued` lists them; give the file, or add --force"
        )
    return known or Entry(serial, now, "unknown", "/")


def _certificates_in(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        give_up(f"cannot read {path}: {error.strerror}")
    except ValueError:
        give_up(f"{path} holds no certificate in PEM")


def _key_of(file: Path, key_file: Path) -> PrivateKey:
    try:
        return load_issued(file.read_bytes(), key_file.read_bytes()).private_key
    except OSError as error:
        give_up(f"cannot read {error.filename}: {error.strerror}")
    except ValueError as error:
        give_up(f"{key_file}: {error}; nothing was changed")


def _words(error: Exception, done: str = "write") -> str:
    if isinstance(error, OSError):
        return f"cannot {done} {error.filename}: {error.strerror}"
    return str(error)
