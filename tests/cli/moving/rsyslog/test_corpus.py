"""Each configuration of the corpus becomes the expected one, which `check` accepts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from tests.certificate_files import make_certificate_files

CORPUS = Path(__file__).parents[1] / "corpus" / "rsyslog"
NAMES = sorted(path.stem for path in CORPUS.glob("*.conf"))
WRITES = os.environ.get("SYSLOGRELAY_WRITE_EXPECTED") == "1"
"""Write the expected results anew, to be read before they are committed."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate_files(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The corpus and the certificates that it names, in the working directory."""
    shutil.copytree(CORPUS, tmp_path, dirs_exist_ok=True)
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_the_expected_one(name: str, here: Path) -> None:
    arguments = [f"{name}.conf", "-o", "made.toml", "--report", "made.report"]
    result = CliRunner().invoke(main, ["import", *arguments])
    assert result.exit_code in (0, 1), result.output
    report = (here / "made.report").read_text()
    # The first lines have the version.
    found = {"toml": (here / "made.toml").read_text().partition("\n\n")[2], "report": report}
    for kind, text in found.items():
        expected = CORPUS / "expected" / f"{name}.{kind}"
        if WRITES:
            expected.parent.mkdir(exist_ok=True)
            expected.write_text(text)
        assert text == expected.read_text()
    doubts = [line for line in report.splitlines() if ": taken over: " not in line][:-1]
    doubts = [line for line in doubts if ": approximated: " in line or ": not supported: " in line]
    assert result.exit_code == (1 if doubts else 0)
    checked = CliRunner().invoke(main, ["check", "made.toml"])
    assert checked.exit_code == 0, checked.output


def test_the_corpus_is_large_enough() -> None:
    assert len(NAMES) >= 16


@pytest.mark.parametrize("name", ["debian", "legacy_server", "selectors", "property_filters"])
def test_every_line_of_a_configuration_is_in_the_report(name: str) -> None:
    report = (CORPUS / "expected" / f"{name}.report").read_text()
    continued = False
    for number, line in enumerate((CORPUS / f"{name}.conf").read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#") and not continued:
            assert f"\n{name}.conf:{number}: " in f"\n{report}", line
        continued = line.endswith("\\")
