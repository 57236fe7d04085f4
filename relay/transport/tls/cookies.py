"""Cookies of DTLS (RFC 6347 §4.2.1): a client has to receive at its address."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

_STEP_SECONDS = 60.0
"""A cookie is valid for one to two of these."""


class Cookies:
    """Makes and checks cookies without keeping any.

    Args:
        now: Seconds on a steady clock.
        secret: The key of the hash.
    """

    def __init__(self, now: Callable[[], float], *, secret: bytes | None = None) -> None:
        self._now = now
        self._secret = secret or os.urandom(32)

    def make(self, address: bytes) -> bytes:
        """The cookie of a client at `address` (host and port, in any form)."""
        return self._of_step(address, self._step)

    def is_valid(self, address: bytes, cookie: bytes) -> bool:
        """Whether `cookie` was made for `address`, not long ago."""
        return any(
            hmac.compare_digest(cookie, self._of_step(address, step))
            for step in (self._step, self._step - 1)
        )

    @property
    def _step(self) -> int:
        return int(self._now() // _STEP_SECONDS)

    def _of_step(self, address: bytes, step: int) -> bytes:
        return hmac.digest(self._secret, b"%d %s" % (step, address), "sha256")
