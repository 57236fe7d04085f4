from __future__ import annotations

from pathlib import Path

import pytest

from relay.service.configuration.credentials import UNIT_DIRECTORY, is_assumed, with_credentials
from relay.service.configuration.reading import FilePath, Reading, Reported, SecretFile

SET = {"CREDENTIALS_DIRECTORY": "/run/credentials/relay@b.service"}


@pytest.mark.parametrize("written", ["$CREDENTIALS_DIRECTORY", "${CREDENTIALS_DIRECTORY}"])
def test_a_credential_lies_where_systemd_says(written: str) -> None:
    path = f"{written}/central.token"
    assert with_credentials(path, SET) == "/run/credentials/relay@b.service/central.token"
    assert not is_assumed(path, SET)


@pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": "relative"}])
def test_without_the_variable_it_is_the_directory_of_the_packaged_unit(
    environment: dict[str, str],
) -> None:
    path = "$CREDENTIALS_DIRECTORY/key.pem"
    assert with_credentials(path, environment) == f"{UNIT_DIRECTORY}/key.pem"
    assert is_assumed(path, environment)


@pytest.mark.parametrize(
    "path", ["/etc/$CREDENTIALS_DIRECTORY/a", "token", "$CREDENTIALS_DIRECTORY_2/a", "%dir/a"]
)
def test_other_paths_are_left_alone(path: str) -> None:
    assert with_credentials(path, SET) == path
    assert not is_assumed(path, {})


@pytest.mark.parametrize("rest", ["", "/", "/..", "/../shadow", "/a/b", "key", "/a\nb"])
def test_a_name_is_a_file_name(rest: str) -> None:
    with pytest.raises(ValueError, match=r"expected \$CREDENTIALS_DIRECTORY/NAME, where NAME"):
        with_credentials("${CREDENTIALS_DIRECTORY}" + rest, SET)


def test_specifiers_of_units_are_explained() -> None:
    with pytest.raises(ValueError, match="%d is known to units only, found '%d/token'"):
        with_credentials("%d/token", SET)


def test_keys_with_paths_take_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "token").write_text("<token>")
    (tmp_path / "token").chmod(0o644)
    reading = Reading("/etc/syslogrelay")
    for kind in (FilePath(), SecretFile(is_token=True)):
        found = reading.read(kind, "$CREDENTIALS_DIRECTORY/token", "a.token_file")
        assert found == str(tmp_path / "token")
    assert ["every user can" in reading.warnings[0], "example" in reading.warnings[1]] == [True] * 2


def test_an_assumed_directory_and_a_wrong_name_name_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    reading = Reading("/etc/syslogrelay")
    reading.read(FilePath(), "$CREDENTIALS_DIRECTORY/ca.pem", "a.trusted_ca")
    assert reading.warnings == [
        "a.trusted_ca: CREDENTIALS_DIRECTORY is not set, so credentials are looked for in "
        "/run/credentials/syslogrelay.service; systemd sets it for units with LoadCredential="
    ]
    with pytest.raises(Reported):
        reading.read(SecretFile(), "%d/key", "a.private_key")
    assert reading.problems[0].startswith("a.private_key: %d is known to units only")
