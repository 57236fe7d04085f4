"""STRUCTURED-DATA of RFC 5424 §6.3: find its end, take it apart, make it safe to send.

Accepted is what senders in the field send: SD-IDs and PARAM-NAMEs of any length
up to 255 (RFC: 32), values that are not UTF-8, any escaped character.  Not accepted
are more than one space before a parameter, values without quotes, and a bare ``]``
in a value: the meaning of such an element is undefined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# SD-NAME (§6.3): printable US-ASCII without = SP ] and the quote.
_NAME = rb"[!#-<>-\\^-~]{1,255}+"
# PARAM-VALUE (§6.3.3).  Possessive, so that hostile input cannot cause backtracking.
_VALUE = rb'[^"\\\]]*+(?:\\.[^"\\\]]*+)*+'

# Grammar of one or more SD-ELEMENTs, without groups; needs re.DOTALL.
STRUCTURED_DATA = rb'(?:\[%s(?: %s="%s")*+\])++' % (_NAME, _NAME, _VALUE)

# As much of it as is in order.
STRUCTURED_DATA_SO_FAR = rb'(?:%s)?(?:\[%s(?: %s="%s")*+)?' % (
    *(STRUCTURED_DATA, _NAME, _NAME),
    _VALUE,
)

_ELEMENTS = re.compile(STRUCTURED_DATA, re.DOTALL)
_ELEMENT = re.compile(rb'\[(%s)((?: %s="%s")*+)\]' % (_NAME, _NAME, _VALUE), re.DOTALL)
_PARAMETER = re.compile(rb' (%s)="(%s)"' % (_NAME, _VALUE), re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\\]])')
_TO_ESCAPE = re.compile(rb'["\\\]]')
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# Like syslog-ng, the opening bracket too, although the grammar has it.
_NOT_IN_NAME = re.compile(rb'[^!-~]|["=\[\]]')
_NAME_BYTES_MAX = 255


def is_structured_data(text: bytes) -> bool:
    """Whether `text` is one or more valid SD-ELEMENTs and nothing else."""
    return _ELEMENTS.fullmatch(text) is not None


def element_at(text: bytes, at: int) -> re.Match[bytes] | None:
    """The SD-ELEMENT at `at`: its SD-ID and its parameters, each after a space, are the groups."""
    return _ELEMENT.match(text, at)


def parse_structured_data(text: bytes | None) -> dict[str, dict[str, list[bytes]]]:
    """Take SD-ELEMENTs apart: SD-ID to PARAM-NAME to values, all in order.

    A parameter may be repeated (§6.3.4).  Elements of the same SD-ID, which
    §6.3.2 forbids, are merged.  ``\\"``, ``\\\\`` and ``\\]`` are unescaped; any
    other backslash stands for itself (§6.3.3).

    Args:
        text: Valid SD-ELEMENTs, or None for the NILVALUE.
    """
    elements: dict[str, dict[str, list[bytes]]] = {}
    for sd_id, parameters in _ELEMENT.findall(text or b""):
        element = elements.setdefault(sd_id.decode("ascii"), {})
        for name, value in _PARAMETER.findall(parameters):
            values = element.setdefault(name.decode("ascii"), [])
            values.append(_ESCAPED.sub(rb"\1", value) if b"\\" in value else value)
    return elements


def without_controls(text: bytes) -> bytes:
    """Write each control character in `text` as ``#`` and three octal digits.

    Values may contain LF and NUL, which delimit messages on many transports.
    RFC 5424 §8.2 lets a relay change them in this way.
    """
    if _CONTROL.search(text) is None:
        return text
    return _CONTROL.sub(lambda control: b"#%03o" % control[0][0], text)


def format_structured_data(elements: Mapping[str, Mapping[str, Sequence[bytes]]]) -> bytes:
    """Write SD-ELEMENTs that `parse_structured_data` takes apart again.

    In names, what §6.3.2 does not allow becomes ``%XX``, as syslog-ng writes it, and
    what is longer than 255 bytes is cut.

    Args:
        elements: SD-ID to PARAM-NAME to values; bytes that are no text in names as
            surrogates.
    """
    return b"".join(
        [
            b"[%s%s]"
            % (
                _sd_name(sd_id),
                b"".join(
                    [
                        b' %s="%s"' % (_sd_name(name), escape_value(value))
                        for name, values in element.items()
                        for value in values
                    ]
                ),
            )
            for sd_id, element in elements.items()
        ]
    )


def escape_value(value: bytes) -> bytes:
    """Write a PARAM-VALUE (§6.3.3)."""
    return _TO_ESCAPE.sub(rb"\\\g<0>", value)


def _sd_name(name: str) -> bytes:
    text = name.encode("utf-8", "surrogateescape") or b"-"  # no name is none of §6.3.2
    return _NOT_IN_NAME.sub(lambda byte: b"%%%02X" % byte[0][0], text)[:_NAME_BYTES_MAX]
