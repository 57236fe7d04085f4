"""Look up the servers of SRV records, as the relay does, in a thread without a reactor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import ensureDeferred
from twisted.internet.selectreactor import SelectReactor
from twisted.python.failure import Failure

from relay.model.errors import UpstreamError
from relay.transport.names import Found, Names, Place, new_dns

_TURN_SECONDS = 0.05


def servers_of(name: str, seconds_max: float) -> Sequence[Place]:
    """The addresses and ports of all servers behind the SRV records of `name`.

    Raises:
        UpstreamError: There are none, or nobody says.
    """
    reactor = SelectReactor()  # of this thread alone; only its timers and sockets are used
    names = Names(
        run_in_thread=_at_once,
        warn=lambda text: None,
        new_dns=partial(new_dns, reactor),
        clock=reactor,
    )
    results: list[Found | Failure] = []
    ensureDeferred(names.look_up(name, 0)).addBoth(results.append)
    deadline = time.monotonic() + seconds_max
    while not results and time.monotonic() < deadline:
        reactor.iterate(_TURN_SECONDS)
    reactor.removeAll()
    for result in results:
        if isinstance(result, Failure):
            result.raiseException()
        else:
            return result.places
    raise UpstreamError(f"no answer from DNS for {name} within {seconds_max:g} s")


async def _at_once(call: Callable[[], Sequence[Place]]) -> Sequence[Place]:
    return call()
