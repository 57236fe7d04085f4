from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from relay.flow.routing import Route
from relay.model.errors import QueueError
from relay.model.origin import Origin, Transport
from relay.queue.admission.limits import QueueLimit
from relay.rewrite.conditions import always
from relay.rewrite.drops import Drops
from relay.rewrite.forms.form import form_of
from relay.rewrite.steps.grouping import GroupBy, decode_members, encode_members
from relay.rewrite.steps.pipeline import Pipeline, per_message, stage_of
from relay.rewrite.steps.sampling import RepeatSuppression
from relay.service.routes.flushing import FlushService
from relay.wire.parse import parse
from tests.lines import write

MESSAGE = parse(b"<13>Oct 11 22:14:15 web app: hello")


def holding() -> Pipeline:
    drops = Drops()
    return Pipeline(
        [RepeatSuppression(always, 10, drops)],
        form_of(
            lambda messages, origin: [b"%s at %d" % (m.msg, origin.received_at) for m in messages]
        ),
        drops,
    )


class Relay:
    def __init__(
        self,
        *,
        full: bool = False,
        limit: QueueLimit | None = None,
        pipeline: Pipeline | None = None,
        left: Mapping[str, bytes] | None = None,
    ) -> None:
        self.left = left or {}
        self.positions: list[Mapping[str, bytes]] = []
        self.clock = Clock()
        self.drops: list[Mapping[str, Mapping[str, int]]] = []
        self.stored: list[Mapping[str, Sequence[bytes]]] = []
        self.full = full
        self.pipeline = pipeline or holding()
        plain = Pipeline([], form_of(lambda messages, origin: []), Drops())
        self.service = FlushService(
            routes={
                "held": Route(
                    "held", self.pipeline, limit=limit, take_positions=self.take_positions
                ),
                "plain": Route("plain", plain),
                "raw": Route("raw", None),
            },
            append=self.append,
            load=lambda: self.left,
            now=self.clock.seconds,
            clock=self.clock,
        )
        self.service.startService()

    def append(
        self,
        payloads: Mapping[str, Sequence[bytes]],
        *,
        drops: Mapping[str, Mapping[str, int]],
        positions: Mapping[str, bytes],
    ) -> Deferred[None]:
        self.positions.append(positions)
        self.stored.append(payloads)
        self.drops.append(drops)
        return fail(QueueError("stopped")) if self.full else succeed(None)

    def take_positions(self) -> dict[str, bytes]:
        taken = self.pipeline.take_positions()
        return {f"/groups/held/{name}": position for name, position in taken.items()}

    def repeat(self) -> None:
        write(
            self.pipeline,
            [MESSAGE] * 3,
            Origin("in", Transport.UDP, monotonic_at=self.clock.seconds()),
        )


def test_what_is_due_is_stored() -> None:
    relay = Relay()
    relay.repeat()
    relay.clock.pump([1] * 9)
    assert relay.stored == []
    relay.clock.advance(1)
    assert relay.stored == [{"held": [b"last message repeated 2 times at 10"]}]
    relay.clock.pump([1] * 20)
    assert len(relay.stored) == 1


def test_everything_is_stored_at_the_stop() -> None:
    relay = Relay()
    relay.repeat()
    relay.clock.advance(1)
    relay.service.stopService()
    assert relay.stored == [{"held": [b"last message repeated 2 times at 1"]}]
    assert not relay.clock.getDelayedCalls()


def test_a_queue_that_fails_is_somebody_elses_trouble() -> None:
    relay = Relay(full=True)
    relay.repeat()
    relay.clock.pump([1] * 10)
    assert len(relay.stored) == 1


def test_nothing_is_done_where_nothing_is_held() -> None:
    clock = Clock()
    plain = Pipeline([], form_of(lambda messages, origin: []), Drops())
    service = FlushService(
        routes={"plain": Route("plain", plain)},
        append=lambda payloads, drops, positions: succeed(None),
        load=dict,
        now=clock.seconds,
        clock=clock,
    )
    service.startService()
    assert not clock.getDelayedCalls()
    service.stopService()


@pytest.mark.parametrize(
    ("when_full", "reason"),
    [("drop-newest", "queue-full"), ("drop-by-severity", "queue-full-notice")],
)
def test_a_queue_that_drops_what_comes_drops_what_was_held_back_too(
    when_full: str, reason: str
) -> None:
    limit = QueueLimit(destination="held", bytes_max=1000, when_full=when_full)
    relay = Relay(limit=limit)
    relay.repeat()
    relay.pipeline.take_drops()
    limit.settle(0, 1000)
    relay.clock.pump([1] * 10)
    assert relay.stored == [{"held": []}]
    assert relay.drops == [{"held": {reason: 1}}]


def test_what_is_dropped_on_the_way_is_counted_with_it() -> None:
    relay = Relay()
    relay.repeat()
    relay.service.stopService()
    assert relay.drops == [{"held": {"repeated": 2}}]


def grouping() -> Pipeline:
    drops = Drops()
    stage = GroupBy(
        *(1, always, lambda messages, origin: [m.hostname or b"" for m in messages]),
        end=None,
        seconds_max=10,
        records_max=3,
        drops=drops,  # type: ignore[arg-type]
    )
    return Pipeline([stage], form_of(lambda messages, origin: [m.msg for m in messages]), drops)


def test_groups_of_an_earlier_run_go_on(logged: list[str]) -> None:
    left = {
        "held/1/7/0": encode_members([MESSAGE]),
        "held/2/1/0": encode_members([MESSAGE._replace(msg=b"of a step that is gone")]),
        "other/1/0/0": encode_members([MESSAGE] * 2),
        "raw/1/0/0": b"",
        "raw/1/0/1": encode_members([MESSAGE]),
    }
    relay = Relay(pipeline=grouping(), left=left)
    assert relay.stored == [{"held": [b"of a step that is gone"]}, {"raw": [MESSAGE.raw]}]
    assert relay.positions == [
        {"/groups/held/2/1/0": b""},
        {"/groups/raw/1/0/0": b"", "/groups/raw/1/0/1": b""},
    ]
    assert any(
        "other: 2 messages of its groups stay on disk until it is back" in line for line in logged
    )
    assert any("raw: 1 of 2 parts of groups are damaged" in line for line in logged)
    origin = Origin("in", Transport.UDP)
    assert write(relay.pipeline, [MESSAGE] * 2, origin) == [b"hello\nhello\nhello"]
    assert relay.pipeline.take_positions() == {"1/7/0": b""}


def test_members_of_a_step_that_is_gone_go_through_the_others() -> None:
    drops = Drops()
    masked = stage_of(per_message(lambda message: message._replace(msg=b"masked")))
    form = form_of(lambda messages, origin: [message.msg for message in messages])
    left = {"held/2/1/0": encode_members([MESSAGE])}
    relay = Relay(pipeline=Pipeline([masked], form, drops), left=left)
    assert relay.stored == [{"held": [b"masked"]}]
    assert relay.positions == [{"/groups/held/2/1/0": b""}]


def test_groups_whose_time_is_over_are_stored_and_their_members_forgotten() -> None:
    relay = Relay(pipeline=grouping())
    relay.repeat()
    relay.repeat()
    assert relay.pipeline.take_positions() == {}
    write(relay.pipeline, [MESSAGE], Origin("in", Transport.UDP, monotonic_at=0.0))
    ((name, members),) = relay.pipeline.take_positions().items()
    assert (name, decode_members(members)) == ("1/2/0", [MESSAGE])
    relay.clock.pump([1] * 10)
    assert relay.stored == [{"held": [b"hello"]}]
    assert relay.positions == [{"/groups/held/1/2/0": b""}]


def test_a_pipeline_that_is_replaced_lets_go_of_what_it_holds_back() -> None:
    relay = Relay()
    relay.repeat()
    relay.clock.advance(1)
    routes = dict(relay.service.routes)
    relay.service.routes = {**routes, "plain": Route("plain", None)}
    relay.service.follow()
    assert relay.stored == []  # its pipeline is the same
    del routes["held"]
    relay.service.routes = routes
    relay.service.follow()
    assert relay.stored == [{"held": [b"last message repeated 2 times at 1"]}]
    relay.service.stopService()
    assert len(relay.stored) == 1


def test_groups_of_a_destination_that_comes_are_taken_from_disk() -> None:
    relay = Relay()
    held = relay.service.routes["held"]
    relay.service.routes = {}
    relay.service.follow()
    relay.left = {"held/7/0/0": encode_members([MESSAGE]), "gone/0/0/0": b"x"}
    relay.service.routes = {"held": held}
    relay.service.follow()  # no step has this number any more, so its members are stored
    assert relay.positions[-1]["/groups/held/7/0/0"] == b""
    assert list(relay.stored[-1]) == ["held"]
    relay.service.stopService()
