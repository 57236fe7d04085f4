from __future__ import annotations

from pathlib import Path

import pytest

from relay.cli.moving import files as files_module
from relay.cli.moving.files import DEPTH_MAX, FILE_BYTES_MAX, ImportRefused, InputFiles


def test_bytes_that_are_not_utf_8_become_a_sign(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\xff")
    with InputFiles().opened(str(path)) as text:
        assert text == "a\n\ufffd"


def test_a_file_that_includes_itself_is_refused_with_the_chain(tmp_path: Path) -> None:
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    one.write_text("")
    two.write_text("")
    link.symlink_to(one)
    files = InputFiles()
    refused = pytest.raises(ImportRefused, match=f"{one} → {two} → {link}")
    with files.opened(str(one)), files.opened(str(two)), refused, files.opened(str(link)):
        pass
    with files.opened(str(one)):
        pass  # twice, one after the other, is no cycle


def test_files_inside_each_other_have_a_limit(tmp_path: Path) -> None:
    files = InputFiles()

    def descend(depth: int) -> None:
        path = tmp_path / str(depth)
        path.write_text("")
        with files.opened(str(path)):
            descend(depth + 1)

    with pytest.raises(ImportRefused, match=f"more than {DEPTH_MAX} files"):
        descend(0)


def test_a_long_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    for refused in (path, tmp_path):
        with pytest.raises(ImportRefused), InputFiles().opened(str(refused)):
            pass


def test_all_files_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "TOTAL_BYTES_MAX", 5)
    path = tmp_path / "a.conf"
    path.write_text("123")
    files = InputFiles()
    with files.opened(str(path)):
        pass
    refused = pytest.raises(ImportRefused, match=r"a\.conf: more than 64 MiB in all; import")
    with refused, files.opened(str(path)):
        pass


def test_a_pattern_for_too_many_files_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "FILES_MAX", 2)
    for name in "abcde":
        (tmp_path / name).write_text("")
    files = InputFiles()
    found = files.matching(f"{tmp_path}/*")
    assert len(found) == 3
    with pytest.raises(ImportRefused, match="more than 2 files"):
        for path in found:
            with files.opened(path):
                pass


def test_a_pattern_is_relative_to_the_open_file_and_sorted(tmp_path: Path) -> None:
    for name in ("b.conf", "a.conf", "c.txt"):
        (tmp_path / name).write_text("")
    files = InputFiles()
    with files.opened(str(tmp_path / "c.txt")):
        assert files.matching("*.conf") == [str(tmp_path / "a.conf"), str(tmp_path / "b.conf")]
        assert files.matching("none.conf") == [str(tmp_path / "none.conf")]
        assert files.matching("/none/*.conf") == []
