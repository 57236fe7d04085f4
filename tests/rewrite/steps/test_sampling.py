from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite import conditions as filters
from relay.rewrite.drops import Drops
from relay.rewrite.fields import getter
from relay.rewrite.steps import sampling
from relay.rewrite.steps.pipeline import Change
from relay.wire.parse import parse


def origin(at: float = 1000.0) -> Origin:
    return Origin("in", Transport.UDP, "192.0.2.1", 5, received_at=0.0, monotonic_at=at)


def message(text: str, host: str = "web") -> SyslogMessage:
    return parse(f"<13>Oct 11 22:14:15 {host} app[1]: {text}".encode())


def passed(change: Change, messages: Sequence[SyslogMessage], at: float = 1000.0) -> list[bytes]:
    return [result.msg for result in change(messages, origin(at)) if result is not None]


def test_dropping_counts_under_the_reason() -> None:
    drops = Drops()
    assert passed(sampling.drop("noise", drops), [message("a"), message("b")]) == []
    assert drops == {"noise": 2}


def test_a_sample_is_the_first_of_each_n_over_all_batches() -> None:
    drops = Drops()
    change = sampling.sample(3, drops)
    texts = [message(str(number)) for number in range(10)]
    assert passed(change, texts[:5]) + passed(change, texts[5:]) == [b"0", b"3", b"6", b"9"]
    assert drops == {"sampled": 6}


def test_a_rate_lets_a_burst_pass_and_then_what_time_allows() -> None:
    drops = Drops()
    change = sampling.limit_rate(2.0, 3.0, drops)
    texts = [message(str(number)) for number in range(5)]
    assert passed(change, texts) == [b"0", b"1", b"2"]
    assert passed(change, texts, at=1000.5) == [b"0"]
    assert passed(change, texts, at=1100.0) == [b"0", b"1", b"2"]
    assert drops == {"rate-limit": 8}


def test_each_value_has_a_rate_of_its_own_and_few_are_kept() -> None:
    change = sampling.limit_rate(
        1.0, 1.0, Drops(), per=lambda messages, _: [getter("HOST")(m) or b"" for m in messages]
    )
    assert passed(change, [message("a", "one"), message("b", "two"), message("c", "one")]) == [
        *(b"a", b"b")
    ]
    passed(change, [message("x", f"h{number}") for number in range(20_000)])
    assert passed(change, [message("d", "one")]) == [b"d"]  # forgotten, and so full again


def suppressing(drops: Drops, seconds: float = 10.0) -> sampling.RepeatSuppression:
    return sampling.RepeatSuppression(filters.always, seconds, drops)


def texts(messages: Sequence[SyslogMessage]) -> list[bytes]:
    return [message.msg for message in messages]


def test_repeats_become_one_message_when_something_else_comes() -> None:
    drops = Drops()
    stage = suppressing(drops)
    batch = [message("a"), message("a"), message("a"), message("b"), message("b"), message("c")]
    out = stage(batch, origin())
    assert texts(out) == [
        *(b"a", b"last message repeated 2 times"),
        *(b"b", b"last message repeated 1 time", b"c"),
    ]
    assert (out[1].app_name, out[1].hostname, out[1].timestamp) == (b"app", b"web", None)
    assert out[1].raw == b"<13>last message repeated 2 times"
    assert drops == {"repeated": 3}


def test_a_summary_belongs_to_the_app_of_what_it_sums_up() -> None:
    stage = suppressing(Drops())
    sent = message("a")._replace(app="shop", facility=4, severity=2)
    summary = stage([sent, sent, message("b")], origin())[1]
    assert (summary.app, summary.pri, summary.procid) == ("shop", 34, b"1")


def test_hosts_do_not_interrupt_each_other() -> None:
    stage = suppressing(Drops())
    batch = [message("a"), message("x", "db"), message("a"), message("x", "db"), message("b")]
    assert texts(stage(batch, origin())) == [*(b"a", b"x", b"last message repeated 1 time", b"b")]


def test_repeats_are_said_after_a_time_whether_more_come_or_not() -> None:
    stage = suppressing(Drops())
    assert texts(stage([message("a"), message("a")], origin(0))) == [b"a"]
    assert texts(stage([message("a")], origin(9))) == []
    assert texts(stage([message("a")], origin(10))) == [b"last message repeated 3 times"]
    assert texts(stage([message("a")], origin(11))) == []
    assert stage.flush(20) == []
    assert texts(stage.flush(21)) == [b"last message repeated 1 time"]
    assert stage.flush(100) == []


def test_a_message_without_a_host_is_summed_up_with_its_peer() -> None:
    stage = suppressing(Drops())
    bare = parse(b"<13>app: hello")
    stage([bare, bare], origin(0))
    assert stage.flush(10)[0].hostname == b"192.0.2.1"


def test_what_it_does_not_look_at_passes_and_interrupts_nothing() -> None:
    drops = Drops()
    stage = sampling.RepeatSuppression(
        filters.field_fits("app_name", [lambda text: text == b"app"]), 10, drops
    )
    other = parse(b"<13>Oct 11 22:14:15 web other: x")
    batch = [message("a"), other, message("a"), other]
    assert texts(stage(batch, origin())) == [b"a", b"x", b"x"]


def bytes_kept_by(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_what_senders_choose_is_not_remembered_at_its_length() -> None:
    """8,000 host names, programs and texts of 60 KB each would be more than 1 GB."""
    text = "x" * 60_000
    stage, rate = suppressing(Drops()), sampling.limit_rate(1.0, 1.0, Drops(), per=host_and_text)

    def send() -> None:
        for number in range(2_000):
            name = f"{number}{text}"
            sent = message(text)._replace(hostname=name.encode(), app_name=name.encode())
            stage([sent, sent], origin())
            rate([sent], origin())

    assert bytes_kept_by(send) < 4 * 2**20


def host_and_text(messages: Sequence[SyslogMessage], _: Origin) -> list[bytes]:
    return [(each.hostname or b"") + each.msg for each in messages]


def test_long_names_that_differ_at_their_ends_are_different_senders() -> None:
    stage, rate = suppressing(Drops()), sampling.limit_rate(1.0, 1.0, Drops(), per=host_and_text)
    batch = [message("a")._replace(hostname=b"h" * 300 + end) for end in (b"1", b"2", b"1", b"2")]
    assert len(stage(batch, origin())) == 2
    assert [result is None for result in rate(batch, origin())] == [False, False, True, True]


def test_fields_that_only_add_up_to_the_same_text_are_no_repeat() -> None:
    stage = suppressing(Drops())
    one = message("a")._replace(app_name=b"app", procid=b"12")
    other = message("a")._replace(app_name=b"app1", procid=b"2")
    assert len(stage([one, other], origin())) == 2


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["web", "db"]))))
def test_nothing_is_lost_without_being_counted(batch: list[tuple[str, str]]) -> None:
    drops = Drops()
    stage = suppressing(drops)
    out = [*stage([message(*item) for item in batch], origin(0)), *stage.flush(1000)]
    said = [m.msg for m in out if m.msg.startswith(b"last message repeated")]
    assert sum(int(text.split()[3]) for text in said) == drops["repeated"]
    assert len(out) - len(said) + drops["repeated"] == len(batch)
