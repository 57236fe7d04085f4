from __future__ import annotations

import re
from importlib.resources import files

from relay.observe.web.access import Needs
from relay.observe.web.page_files import page_files
from relay.observe.web.server import Answer, Query

PAGE_BYTES_MAX = 150_000


def bodies() -> dict[str, bytes]:
    found = {}
    for path, page in page_files().items():
        answer = page.answer(Query())
        assert isinstance(answer, Answer)
        found[path] = answer.body
    return found


def test_the_page_is_small() -> None:
    assert sum(map(len, bodies().values())) <= PAGE_BYTES_MAX


def test_everything_that_is_referred_to_is_there_and_nothing_else() -> None:
    found = bodies()
    html = found["/"].decode()
    named = {f"/{name}" for name in re.findall(r'(?:src|href)="([^"#]+)"', html)}
    imported = {
        f"/{name}"
        for path, body in found.items()
        if path.endswith(".js")
        for name in re.findall(r'from "\./([^"]+)"', body.decode())
    }
    assert named | imported == found.keys() - {"/"}


def test_types_are_those_that_browsers_insist_on() -> None:
    kinds = {path: page.answer(Query()).content_type for path, page in page_files().items()}  # type: ignore[union-attr]
    assert kinds["/"] == "text/html; charset=utf-8"
    assert kinds["/page.js"] == "text/javascript; charset=utf-8"
    assert kinds["/page.css"] == "text/css; charset=utf-8"


def test_the_files_tell_nothing_and_need_no_token() -> None:
    assert {page.needs for page in page_files().values()} == {Needs.NOTHING}


def test_no_script_makes_markup_of_text() -> None:
    for path, body in bodies().items():
        if path.endswith(".js"):
            text = body.decode()
            for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
                assert word not in text, path
    assert not re.search(r"\son\w+=|style=|<script>|<style", bodies()["/"].decode())


def test_nothing_comes_from_elsewhere() -> None:
    for path, body in bodies().items():
        found = set(re.findall(rb"https?://[^\s\"')]+", body))
        allowed = {b"http://www.w3.org/2000/svg", b"https://github.com/leeoniya/uPlot"}
        assert found <= allowed, path


def test_the_vendored_library_has_its_licence() -> None:
    folder = files("relay.observe.web").joinpath("page")
    assert "MIT License" in folder.joinpath("uplot-LICENSE.txt").read_text()
    assert len(folder.joinpath("uplot.js").read_bytes()) <= 50 * 1024
