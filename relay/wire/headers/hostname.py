"""The rules for a HOSTNAME: the name of a host or an address (RFC 5424 §6.2.4).

RFC 3164 has no mark for a host; it is the word behind the stamp.  Senders leave it out, and
then the word is text, which must not be mistaken for a host.
"""

from __future__ import annotations

import ipaddress
import re

HOSTNAME_BYTES_MAX = 255

# Beyond letters, digits and ``-_.`` some senders have ``%`` in front, or name several hosts at
# once: ``host/relay``, ``a,b``, ``source@host``.  Whitespace, control characters and what
# belongs to text, such as quotes, ``=`` and ``|``, are in no name.
_NAME = re.compile(rb"(?!-.)[0-9A-Za-z_%\-\x80-\xff][0-9A-Za-z._%,/@+~#\-\x80-\xff]*+")
_NAMED = re.compile(rb"[0-9A-Za-z_\x80-\xff]|-\Z")
_ADDRESS = re.compile(rb"(?=[0-9A-Fa-f]*+:)[0-9A-Fa-f:.]++(?:%[0-9A-Za-z._\-]++)?")
_NOT_IN_NAME = re.compile(r"[^0-9A-Za-z._%,/@+~#\-\x80-\U0010ffff]")


def is_hostname(word: bytes) -> bool:
    """Whether `word` is the name of a host, an address, or the NILVALUE, 1 to 255 bytes.

    A name may have letters of any script, in UTF-8.  An IPv6 address may stand in brackets.
    """
    return len(word) <= HOSTNAME_BYTES_MAX and (_is_name(word) or _is_ipv6(without_brackets(word)))


def is_address(word: bytes) -> bool:
    """Whether `word` is an address of IPv4 or IPv6, without brackets."""
    try:
        ipaddress.ip_address(word.decode("ascii"))
    except ValueError:  # also for bytes that are not US-ASCII
        return False
    return True


def _is_ipv6(word: bytes) -> bool:
    """Whether `word` is an address of IPv6, with or without a zone (RFC 4007 §11)."""
    return _ADDRESS.fullmatch(word) is not None and is_address(word)


def without_brackets(word: bytes) -> bytes:
    """An address as it is; as in URLs it may come in brackets."""
    return word[1:-1] if word[:1] == b"[" and word[-1:] == b"]" else word


def format_hostname(value: bytes) -> bytes:
    """Make a HOSTNAME of `value` that is read as one again, 1 to 255 bytes.

    An IPv6 address loses its brackets; what can be in no name becomes an underscore.
    """
    value = value[:HOSTNAME_BYTES_MAX]
    if _is_name(value):
        return value
    if _is_ipv6(address := without_brackets(value)):
        return address
    text = value.decode("utf-8", "replace")
    name = "".join(
        "_"
        if _NOT_IN_NAME.match(letter) or not letter.isprintable() or letter == "\ufffd"
        else letter
        for letter in text
    ).encode()
    if _is_name(name):
        return name
    return b"_" + name[1:] if name else b"-"


def _is_name(word: bytes) -> bool:
    if _NAME.fullmatch(word) is None or _NAMED.search(word) is None:
        return False
    if word.isascii():
        return True
    try:
        return word.decode().isprintable()
    except UnicodeDecodeError:
        return False
