from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.bench.__main__ import ALL, arguments


def given(monkeypatch: pytest.MonkeyPatch, *words: str) -> argparse.Namespace:
    monkeypatch.setattr("sys.argv", ["bench", *words])
    return arguments()


def test_a_corpus_leaves_the_results_and_the_long_messages_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    corpus.touch()
    found = given(monkeypatch, "--corpus", str(corpus))
    assert found.corpus == corpus
    assert found.dry
    assert found.workloads == ALL.replace(",h", "") != ALL


def test_without_a_corpus_all_is_measured_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    found = given(monkeypatch)
    assert (found.corpus, found.dry, found.workloads) == (None, False, ALL)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--corpus", "/nowhere/corpus"], "found no file /nowhere/corpus"),
        (["--corpus", __file__, "-w", "a,h"], "found h"),
        (["-w", "z"], "found z"),
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
