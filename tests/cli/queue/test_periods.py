from __future__ import annotations

import time

import click
import pytest
from click.testing import CliRunner

from relay.cli.queue.periods import Chosen, instant, period_of, period_options
from relay.queue.inspect.queries import Period


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:20:00Z", 1200.0),
        ("1970-01-01T02:20:00.5+02:00", 1200.5),
        ("2h", 2800.0),
        ("1h30m", 4600.0),
        ("0s", 10_000.0),
    ],
)
def test_stamps_and_ages(text: str, at: float) -> None:
    assert instant(text, "--since", now=10_000.0) == at


def test_a_stamp_without_a_zone_is_in_that_of_this_host() -> None:
    assert instant("1970-01-02", "--since", now=0.0) == time.mktime((1970, 1, 2, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize("text", ["yesterday", "", "2", "-2h", "0001-01-01", "2026-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"--until: .* is no time such as .*, and no age such as 2h"
    ):
        instant(text, "--until", now=10_000.0)


def test_periods_have_ends_or_not() -> None:
    assert period_of(None, None) == Period()
    period = period_of("2h", "1h", by_receipt=True)
    assert period.to - period.since == pytest.approx(3600)
    assert abs(time.time() - 7200 - period.since) < 60
    assert period.by_receipt


@pytest.mark.parametrize(
    ("since", "to"), [("1h", "2h"), ("1970-01-02T00:00Z", "1970-01-02T00:00Z")]
)
def test_a_period_that_holds_nothing(since: str, to: str) -> None:
    with pytest.raises(click.UsageError, match="--until is not after --since"):
        period_of(since, to)


def test_a_command_gets_them_as_one() -> None:
    @click.command()
    @click.argument("word")
    @period_options
    def say(word: str, chosen: Chosen) -> None:
        """Words."""
        click.echo(f"{word} {chosen.history} {chosen.period.since:g} {chosen.period.by_receipt}")

    runner = CliRunner()
    assert runner.invoke(say, ["a"]).output == "a False 0 False\n"
    options = ["--history", "--received", "--since", "1970-01-01T00:00:09Z"]
    assert runner.invoke(say, ["a", *options]).output == "a True 9 True\n"
    assert runner.invoke(say, ["a", "--until", "x"]).exit_code == 2
    assert "such as 2h" in " ".join(runner.invoke(say, ["--help"]).output.split())
