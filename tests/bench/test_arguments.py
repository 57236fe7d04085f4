from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.bench.__main__ import arguments
from tests.bench.subjects import FORMS
from tests.bench.traffic import KINDS
from tests.bench.workloads import WORKLOADS


def given(monkeypatch: pytest.MonkeyPatch, *words: str) -> argparse.Namespace:
    monkeypatch.setattr("sys.argv", ["bench", *words])
    return arguments()


def test_all_is_measured_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = given(monkeypatch)
    assert (found.corpus, found.dry) == (None, False)
    assert found.workloads == list(WORKLOADS)
    assert found.kinds == list(KINDS)
    assert found.forms == ["none", "cee", "ewmm"]


def test_a_corpus_leaves_the_results_and_the_long_messages_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.touch()
    found = given(monkeypatch, "--corpus", str(corpus))
    assert found.corpus == corpus
    assert found.dry
    assert found.workloads == [letter for letter in WORKLOADS if letter != "h"]


@pytest.mark.parametrize(
    "words",
    [
        ["-w", "a,e"],
        ["--kinds", "mixed,devices"],
        ["--forms", "none"],
        ["-s", "relay"],
        ["--dry"],
    ],
)
def test_a_run_that_leaves_something_out_leaves_the_results_as_they_are(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    assert given(monkeypatch, *words).dry


def test_more_forms_or_rounds_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not given(monkeypatch, "--forms", ",".join(FORMS), "-r", "9", "--seed", "7").dry


def test_letters_kinds_and_forms_come_in_the_order_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = given(monkeypatch, "-w", "ea", "--kinds", "mixed,uniform,mixed", "--forms", "tag,cee")
    assert found.workloads == ["e", "a"]
    assert found.kinds == ["mixed", "uniform"]
    assert found.forms == ["tag", "cee"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corpus", "/nowhere/corpus"], "found no file /nowhere/corpus"),
        (["--corpus", __file__, "-w", "a,h"], "found h"),
        (["-w", "z"], "found z"),
        (["--kinds", "mixed,odd"], "kinds: found odd, there are uniform, host3164"),
        (["--forms", "odd"], "forms: found odd, there are none, cee, json, tag"),
        (["--kinds", ","], "kinds: found nothing"),
        (["-r", "0"], "allowed 1 or more"),
    ],
)
def test_what_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    with pytest.raises(SystemExit):
        given(monkeypatch, *words)
    assert said in capsys.readouterr().err
