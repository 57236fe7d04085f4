"""The files of the page, which come with the package."""

from __future__ import annotations

from importlib.resources import files

from relay.observe.web.access import Needs
from relay.observe.web.server import Answer, Page

_HTML = "page.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_files() -> dict[str, Page]:
    """A page for each file, by its path; that of the HTML is ``/``.

    They tell nothing of the relay, so they need no token: the page asks for it.
    """
    found = {}
    for file in files("relay.observe.web").joinpath("page").iterdir():
        kind = _TYPES.get("." + file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == _HTML else f"/{file.name}"
            found[path] = _page(Answer(file.read_bytes(), content_type=kind))
    return dict(sorted(found.items()))


def _page(answer: Answer) -> Page:
    return Page(lambda query: answer, Needs.NOTHING, variant=None)
