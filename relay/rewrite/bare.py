"""Lines without PRI and stamp whose sender means a host: ``HOST TAG:text``.

That is how text is sent to Sematext with netcat.  Syslog parsers expect a host only
after a stamp and take HOST for the program; a rewrite that writes whole headers
can keep what was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.model.message import SyslogMessage

__all__ = ["with_hosts"]

# TAG is trusted to be one if a cookie follows it, if it looks like an app token or is what
# stands where one was (`relay/rewrite/find_token.py`), or, in a line without PRI, if text
# follows its colon at once, as it does not in prose, and the tag is not the scheme of a URL.
_HOST = rb"([0-9A-Za-z][0-9A-Za-z._-]{0,254}+) ++"
_TAG = rb"(([^ \[:]++)(?:\[([^\] :]*+)\])?: ?)"
_TOKEN = rb"(?:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|-):"
_WITH_COOKIE = re.compile(rb"%s(?=[^ :]++: ?@cee:|%s)%s" % (_HOST, _TOKEN, _TAG))
_WITHOUT_PRI = re.compile(
    rb"%s(?=[^ :]++: ?@cee:|%s|[0-9]*+[A-Za-z_][^ :]*+:(?! |//))%s" % (_HOST, _TOKEN, _TAG)
)


def with_hosts(messages: Sequence[SyslogMessage]) -> Sequence[SyslogMessage]:
    """`messages`, those of the form above with HOST as their hostname."""
    if all(message.timestamp is not None or message.version for message in messages):
        return messages  # the usual case
    return [
        message if message.timestamp is not None or message.version else _with_host(message)
        for message in messages
    ]


def _with_host(message: SyslogMessage) -> SyslogMessage:
    if message.hostname is not None or message.pairs is None:
        return message
    text = message.pairs.get("LEGACY_MSGHDR", b"") + message.msg
    has_pri = message.raw.startswith(b"<")
    found = (_WITH_COOKIE if has_pri else _WITHOUT_PRI).match(text)
    if found is None:
        return message
    hostname, header, app_name, procid = found.groups()
    return message._replace(
        hostname=hostname,
        app_name=app_name,
        procid=procid or None,
        msg=text[found.end() :],
        pairs={**message.pairs, "LEGACY_MSGHDR": header},
    )
