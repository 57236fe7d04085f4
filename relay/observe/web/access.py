"""Who may ask the web server: names by which it is called, tokens, and the origin of actions."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from relay.model.clock import Clock
from relay.model.text import printable
from relay.model.token import Token
from relay.wire.http.paths import secrets_of

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::[0-9]{1,5})?")
_WRONG_TOKENS_MAX = 10
"""Of one address within a minute."""
_WRONG_TOKENS_SECONDS = 60.0
_ADDRESSES_MAX = 1000


class Needs(Enum):
    """What a client has to show."""

    NOTHING = "nothing"
    READER = "reader"
    """The token of `token_file` if there is one; the one for actions does as well."""
    ADMIN = "admin"
    """The token of `admin_token_file`."""


class Denied(Exception):
    """A request that gets an error.

    Attributes:
        kind: For warnings.
        headers: Of the answer; ``_`` in their names stands for ``-``.
    """

    def __init__(self, status: int, kind: str, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.headers = status, kind, headers


class WrongTokens:
    """Counts wrong tokens by address; who shows too many has to wait, with a right one too.

    Of IPv6 the first 64 bits count as the address, since a host has all that follow.

    Attributes:
        count: All of them.
    """

    def __init__(self, clock: Clock) -> None:
        self.count = 0
        self._clock = clock
        self._recent: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises `Denied` while `address` has to wait."""
        since = self._clock.seconds() - _WRONG_TOKENS_SECONDS
        recent = [at for at in self._recent.get(_network(address), ()) if at > since]
        if len(recent) >= _WRONG_TOKENS_MAX:
            raise Denied(
                429,
                "guesses",
                f"{_WRONG_TOKENS_MAX} wrong tokens came from this address within a minute; wait "
                "for a minute",
                Retry_After=f"{_WRONG_TOKENS_SECONDS:.0f}",
            )

    def note(self, address: str) -> None:
        """`address` has shown a wrong token."""
        self.count += 1
        name = _network(address)
        recent = self._recent.setdefault(name, [])
        recent.append(self._clock.seconds())
        del recent[:-_WRONG_TOKENS_MAX]
        self._recent.move_to_end(name)
        if len(self._recent) > _ADDRESSES_MAX:
            self._recent.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Read the tokens that clients have to show; they raise ValueError where there is none.

    Attributes:
        reader: None = nobody asks for one.
        admin: None = there are no actions.
    """

    reader: Callable[[], Token] | None = None
    admin: Callable[[], Token] | None = None


class WebAccess:
    """Who may ask.

    Args:
        host_names: Names by which the server may be called, in lower case; ``localhost`` and
            addresses always may.
        wrong: Counts wrong tokens.
    """

    def __init__(self, host_names: Collection[str], tokens: Tokens, wrong: WrongTokens) -> None:
        self._host_names = {"localhost", *host_names}
        self._tokens = tokens
        self.wrong = wrong

    def check_host(self, header: str) -> None:
        """Raises `Denied` unless the value of Host is one of ours."""
        found = _HOST.fullmatch(header)
        host = "" if found is None else found[1].strip("[]").lower()
        if host in self._host_names or _is_address(host):
            return
        if not header:
            raise Denied(421, "host", "the request has no Host; send the address of this server")
        raise Denied(
            421,
            "host",
            f"this server is not called {printable(header, length_max=100)}; use its address, or "
            "add the name to web.host_names",
        )

    def check_token(self, needs: Needs, authorization: str, address: str) -> None:
        """Raises `Denied` unless the value of Authorization has the token.

        Args:
            address: Of the client; empty = unknown.
        """
        tokens = self._tokens
        if needs is Needs.NOTHING or (needs is Needs.READER and tokens.reader is None):
            return
        self.wrong.check(address)
        given = secrets_of(authorization)
        if needs is Needs.READER and self._is_one(given, tokens.reader, "token_file"):
            return
        if tokens.admin is not None and self._is_one(given, tokens.admin, "admin_token_file"):
            self._check_difference()
            return
        if given:
            self.wrong.note(address)
        key = "admin_token_file" if needs is Needs.ADMIN else "token_file"
        found = "it is another one" if given else "there is none"
        reason = f"the token of web.{key} is required; {found}"
        raise Denied(401, "token", reason, WWW_Authenticate="Bearer")

    def _is_one(self, given: list[bytes], read: Callable[[], Token] | None, key: str) -> bool:
        if read is None:
            return False
        try:
            wanted = read().reveal()
        except ValueError as error:
            raise Denied(503, "token", f"web.{key}: {error}") from None
        return any(hmac.compare_digest(secret, wanted) for secret in given)

    def _check_difference(self) -> None:
        """Raises `Denied` where every reader could act."""
        if self._tokens.reader is None or self._tokens.admin is None:
            return
        try:
            is_same = self._tokens.reader() == self._tokens.admin()
        except ValueError:
            return  # readers cannot show theirs
        if is_same:
            raise Denied(
                503,
                "token",
                "web.admin_token_file: holds the token of web.token_file; write another one, or "
                "everybody who may look could act",
            )


def check_origin(origin: str, fetch_site: str, host: str) -> None:
    """Raises `Denied` if a browser says that a page of another site asks.

    Args:
        origin: Value of Origin; empty = there is none, as programs send none.
        fetch_site: Value of Sec-Fetch-Site; likewise.
        host: Value of Host, which was checked.
    """
    its_host = origin.partition("://")[2]  # the scheme may be that of a proxy
    if fetch_site in ("", "same-origin") and (not origin or its_host.lower() == host.lower()):
        return
    found = printable(origin or fetch_site, length_max=100)
    reason = f"actions are taken from the relay's own page only; found {found}"
    raise Denied(403, "origin", reason)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
