"""Tests of `check --connect` for NATS: connects, and compares the stream with the demands."""

from __future__ import annotations

import asyncio

from relay.model.errors import UpstreamError
from relay.service.probes.probe import Probe
from relay.transport.nats.client import Connection, Login, ServerInfo
from relay.transport.nats.consumer import ConsumerPlan, interest_problem
from relay.transport.nats.stream import SYNC_REMARK, Demands, StreamInfo, read_stream
from relay.wire.nats.answers import NO_RESPONDERS, StreamError
from relay.wire.nats.subjects import is_covered

_NO_STREAM = 10059


def probe_stream(login: Login, stream: str, probe: Probe) -> tuple[ServerInfo, StreamInfo] | None:
    """Connect and look at the stream; None = something has failed, which was told."""

    async def look() -> tuple[ServerInfo, StreamInfo]:
        connection = Connection(login, on_lost=lambda why: None)
        try:
            server = await connection.open()
            answer = await connection.ask_api(f"$JS.API.STREAM.INFO.{stream}", b"", False)
            return server, read_stream(stream, answer)
        finally:
            await connection.close()

    try:
        server, found = asyncio.run(look())
    except UpstreamError as error:
        probe.fail(
            "nats",
            "nats-unreachable",
            str(error),
            "is this the address of a NATS server, with these credentials?",
        )
        return None
    except StreamError as error:
        probe.fail("stream", *_stream_fault(error, stream))
        return None
    probe.passed("nats", f"{server.place} is nats-server {server.version}")
    return server, found


def probe_demands(login: Login, stream: str, demands: Demands, probe: Probe) -> None:
    """Test the stream of a destination."""
    if (found := probe_stream(login, stream, probe)) is None:
        return
    server, info = found
    if problem := demands.problem(info, server.version):
        probe.fail("stream", "nats-stream", problem, "change the stream or the configuration")
        return
    for warning in demands.warnings(info):
        probe.warn("stream", "nats-stream", warning, "change the stream if that is not wanted")
    probe.passed("stream", f"{info.text}; {SYNC_REMARK}")


def probe_consumer(login: Login, plan: ConsumerPlan, probe: Probe) -> None:
    """Test the stream and consumer of a source; the consumer is looked at and not made."""
    if (found := probe_stream(login, plan.stream, probe)) is None:
        return
    _, info = found
    subject, subjects = plan.subject, [*info.subjects]
    if subject and not (
        is_covered(subject, subjects) or any(is_covered(each, [subject]) for each in subjects)
    ):
        probe.fail(
            "stream",
            "nats-stream",
            f"stream {plan.stream} has no subject that {subject} matches, only "
            f"{', '.join(subjects)}",
            "change subject",
        )
        return
    if info.retention == "interest":
        probe.fail("stream", "nats-stream", interest_problem(plan.stream), "change the stream")
        return
    probe.passed("stream", f"{info.text}, messages {info.first_seq} to {info.last_seq}")


def _stream_fault(error: StreamError, stream: str) -> tuple[str, str, str]:
    if error.code == _NO_STREAM:
        return (
            "nats-no-stream",
            f"there is no stream {stream}",
            "make it, or change the path of the URL",
        )
    if error.code == NO_RESPONDERS:
        return (
            "nats-no-jetstream",
            "JetStream does not answer",
            "switch it on, and allow this account to use it",
        )
    return "nats-stream", f"stream {stream}: {error}", "ask the administrator of the servers"
