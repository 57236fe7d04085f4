"""Cisco's lines, each part of which before the ``%`` may be missing.

<PRI>sequence: origin: [*.]STAMP zone: %FACILITY-SEVERITY-MNEMONIC: text
<PRI>STAMP host : %FACILITY-SEVERITY-MNEMONIC: text
"""

from __future__ import annotations

import re

from relay.model.message import SyslogMessage
from relay.wire.headers.timestamp import ISO_STAMP

_TRIPLET = re.compile(
    rb": (%([A-Z][A-Z0-9_]*+(?:-(?![0-7]-)[A-Z0-9_]++)*+)-([0-7])-([A-Za-z0-9_]++) ?:)"
)
# Route processors and line cards are no hosts.
_MODULE = rb"(?P<module>RP/[0-9]/[^: ]++|CLC [0-9]/[0-9]):[ ]*+"
_ORIGIN = rb"(?P<origin>[^ :%*][^ :%]*+|[0-9A-Fa-f]*+:[0-9A-Fa-f:.]*[0-9A-Fa-f.]):(?: |\Z)"
_STAMP = (
    rb"[*.]?(?:(?P<iso>%s)|(?P<year_first>[12][0-9]{3} )?(?P<day>[A-Z][A-Za-z]{2} [0-9 ]?[0-9]) "
    rb"(?P<year>[12][0-9]{3} )?(?P<hour>[0-9]{2})(?P<minute>:[0-9]{2}:[0-9]{2})"
    rb"(?P<fraction>[.,][0-9]++)?(?: (?P<half>[AP]M)(?P<half_fraction>[.][0-9]++)?)?)" % ISO_STAMP
)
# A zone is told from a host by the blank before the colon.  A process may follow, or, where a
# relay has put its stamp and the host in front, what Cisco wrote itself.
_REST = rb"(?: [A-Z]{1,5}(?=:|\Z)| (?P<host>[^ :]++(?= :| ?\Z)))? ?(?:: ?[^ ]++)?"
_RELAYED = rb" (?P<relayed>[^ :]++) [0-9]++: [^%]*+"
_HEADER = re.compile(
    rb"(?:[0-9]*+: ++)?(?:(?:%s|%s)?%s(?:%s|%s)|%s)?"
    % (*(_MODULE, _ORIGIN, _STAMP, _RELAYED, _REST), rb"(?P<host_only>[^ :%]++)")
)


def read_cisco(line: bytes, raw: bytes, pri: tuple[int, int], start: int) -> SyslogMessage | None:
    """Parse `line`, or return None if Cisco did not write it.

    MSG begins with the mnemonic.  The sequence number and the name of the zone are
    dropped, as by syslog-ng; `raw` has them.

    Args:
        start: Offset after the PRI.
    """
    triplet = _TRIPLET.search(line, start)
    if triplet is None:
        return None
    header = _HEADER.fullmatch(line, start, triplet.start())
    if header is None:
        return None
    pairs = {
        ".cisco.facility": triplet[2],
        ".cisco.severity": triplet[3],
        ".cisco.mnemonic": triplet[4],
        ".app.name": b"cisco",
    }
    if header["module"] is not None:
        pairs[".cisco.cpu_module"] = header["module"]
    hostname = header["host"] or header["relayed"] or header["origin"] or header["host_only"]
    msg = line[triplet.start(1) :]
    return SyslogMessage(
        *(*pri, 0, _stamp_of(header), hostname, None, None, None, None, msg, raw, pairs)
    )


def _stamp_of(header: re.Match[bytes]) -> bytes | None:
    """The stamp as `relay.wire.headers.timestamp` knows it."""
    if header["iso"] is not None or header["day"] is None:
        return header["iso"]
    hour = int(header["hour"])
    if header["half"] is not None:
        hour = hour % 12 + (12 if header["half"] == b"PM" else 0)
    return b"%s %s%02d%s%s" % (
        header["day"],
        header["year_first"] or header["year"] or b"",
        hour,
        header["minute"],
        header["fraction"] or header["half_fraction"] or b"",
    )
