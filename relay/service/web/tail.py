"""Messages as they pass, for the page: a reader of the taps whose messages become events."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from relay.model.clock import Clock, DelayedCall
from relay.model.errors import RelayError
from relay.model.text import Document, printable
from relay.observe.taps import TapReader, Taps, Wanted
from relay.observe.web.access import Denied
from relay.observe.web.server import Outlet, Query
from relay.service.tapping import message_test

_RATE = 20.0  # messages a second: more than anybody reads
_TEXT_LENGTH_MAX = 200
_SHOWN_MAX = 2000
_LOOK_SECONDS = 0.25
_SIGN_SECONDS = 5.0  # of life, where no message passes
_FULL_SECONDS_MAX = 15.0
_SECONDS_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Tail:
    """Answers ``/tap?stage=STAGE&id=ID&text=…``; `id` and `text` may be empty.

    Text is looked for in what is shown as well: nobody finds a masked token by trying its parts.
    """

    taps: Taps
    clock: Clock

    def open(self, query: Query, outlet: Outlet) -> None:
        """Raises `Denied` for parameters that do not fit, or if too many read."""
        asked = query.parameters
        text = asked.get("text", "")
        if len(text) > _TEXT_LENGTH_MAX:
            raise Denied(400, "tap", f"text: has at most {_TEXT_LENGTH_MAX} characters")
        fits = message_test(text, ignore_case=True, fixed=True) if text else None
        wanted = Wanted(asked.get("stage", ""), asked.get("id", ""), fits, rate=_RATE)
        try:
            reader = self.taps.open(wanted)
        except RelayError as error:
            raise Denied(409, "tap", str(error)) from None
        _Tailed(reader, outlet, text, self.clock)


class _Tailed:
    """One reader: it is looked at four times a second, so messages come in batches."""

    def __init__(self, reader: TapReader, outlet: Outlet, text: str, clock: Clock) -> None:
        self._reader, self._outlet, self._clock = reader, outlet, clock
        self._text = text.casefold()
        self._began_at = self._wrote_at = clock.seconds()
        self._call: DelayedCall = clock.callLater(_LOOK_SECONDS, self._look)
        outlet.on_gone = self._gone

    def _gone(self) -> None:
        self._reader.close()
        if self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        now, outlet = self._clock.seconds(), self._outlet
        if now - self._began_at >= _SECONDS_MAX:
            self._reader.close()
            outlet.end()
            return
        self._call = self._clock.callLater(_LOOK_SECONDS, self._look)
        if outlet.is_full:
            if now - self._wrote_at >= _FULL_SECONDS_MAX:
                outlet.abort()
            return
        found = [_shown(each) for each in self._reader.take()]
        found = [each for each in found if self._text in each.get("text", self._text).casefold()]
        if found:
            outlet.write(b"data: %b\n\n" % msgspec.json.encode(found))
        elif now - self._wrote_at < _SIGN_SECONDS:
            return
        else:
            outlet.write(b":\n\n")
        self._wrote_at = now


def _shown(found: Document) -> Document:
    """A message with text instead of bytes."""
    shown = {name: value for name, value in found.items() if not isinstance(value, bytes)}
    if "peer" in shown:
        shown["peer"] = printable(shown["peer"])
    if "payload" in found:
        shown["text"] = printable(found["payload"], length_max=_SHOWN_MAX)
    if "key" in found:
        shown["key"] = printable(found["key"])
    return shown
