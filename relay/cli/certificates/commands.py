"""`syslogrelay certs`: the group of all its commands."""

from __future__ import annotations

import click

from relay.cli.certificates.authority import crl, issued, renew, revoke
from relay.cli.certificates.make import ca, client, everything, server
from relay.cli.certificates.show import show
from relay.cli.groups import Commands


@click.group(cls=Commands)
def certs() -> None:
    """Make, show, renew and revoke certificates for TLS between relays.

    Files in --out: ca.pem, ca-key.pem, server.pem, server-key.pem, client.pem
    and client-key.pem, the index of what was issued (ca-index.txt) and crl.pem.  Keys are
    readable by their owner only.  No file is overwritten without --force, except by `renew`
    and `crl`, which say so.
    """


for _command in (ca, server, client, everything, show, renew, revoke, crl, issued):
    certs.add_command(_command)
