"""The page of a real relay in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.browser import Browser, opened_browser
from tests.interop.chromium import UnavailableError, fetched
from tests.plain_senders import feed_datagrams, feed_lines
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

AXE = Path(__file__).parents[1] / "axe" / "axe.min.js"
PAGE_BYTES_MAX = 150_000
READER, ADMIN = "reader-0123456789", "admin-0123456789"
ATTACK = (
    b"<11>host app: <script>document.title='hacked'</script><img src=x onerror=alert(1)> \x1b[2J"
)
LOST = ATTACK.replace(b"<11>", b"<187>")
WANTED = {"not": {"facility": "local7"}}


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    try:
        chromium = fetched()
    except UnavailableError as error:
        pytest.skip(str(error))
    with opened_browser(chromium) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """A window of the usual size that remembers no token; nothing may have gone wrong in it."""
    window.show()
    yield window
    complaints = [text for text in window.complaints() if "status of 401" not in text]
    window.open("about:blank")
    window.complaints(), window.requested()
    assert complaints == []


class Shown:
    """A relay with a page, and what it needs."""

    def __init__(self, programs: Programs, folder: Path, alerts: Any = None, **web: Any) -> None:
        self.tcp, self.udp, port = free_port(), free_port(), free_port()
        self.upstream = free_port()
        self.url = f"http://127.0.0.1:{port}"
        folder.mkdir(exist_ok=True)
        for key, token in web.items():
            file = folder / key
            file.write_text(token)
            file.chmod(0o600)
            web[key] = str(file)
        self.relay = RelayProcess.started(
            programs,
            folder,
            relay={"name": "relay-under-test"},
            sources={
                "in": {"listen": f"tcp://127.0.0.1:{self.tcp}"},
                "other": {"listen": f"udp://127.0.0.1:{self.udp}"},
            },
            destinations={
                "file": {"connect": f"file://{folder}/received.log", "match": WANTED},
                "central": {
                    "connect": f"relp://127.0.0.1:{self.upstream}",
                    "retry_seconds_max": 2.0,
                    "match": WANTED,
                },
            },
            web={"listen": self.url, **web},
            alerts=alerts,
        )

    def status(self) -> Any:
        return ask(str(self.relay.state_dir), "status")

    def destination(self, id: str) -> Any:
        return next(each for each in self.status()["destinations"] if each["id"] == id)


def fact(browser: Browser, id: str, name: str) -> str:
    """What the card of a destination has under a name."""
    found = browser.run(
        """
        for (const card of document.querySelectorAll(".destination"))
          if (card.querySelector("h3").textContent === arguments[0])
            for (const each of card.querySelectorAll("dl > div"))
              if (each.firstChild.textContent === arguments[1]) return each.lastChild.textContent;
        return "";
        """,
        id,
        name,
    )
    return str(found)


def card(id: str, rest: str = "") -> str:
    """The selector of a destination's card."""
    return f'#destination-cards > [data-key="{id}"] {rest}'.strip()


def test_it_loads_little_and_from_nowhere_else_and_shows_what_is_true(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    shown = Shown(programs, tmp_path)
    feed_lines(shown.tcp, [b"<%d>host app: %d" % (9 + n % 3, n) for n in range(300)])
    wait_until(lambda: shown.destination("central")["queued_records"] == 300, "all are queued")
    browser.requested()
    browser.open(shown.url)
    browser.wait_for("#name", "relay-under-test")
    browser.wait_for(card("central", ".state"), f"refused by 127.0.0.1:{shown.upstream}, next try")
    urls = browser.requested()
    assert len(urls) > 8
    assert [url for url in urls if not url.startswith(shown.url + "/")] == []
    transferred = browser.run(
        "return performance.getEntriesByType('resource').concat(performance.getEntriesByType("
        "'navigation')).filter(e => !/events|history|samples/.test(e.name))"
        ".reduce((all, e) => all + e.transferSize, 0)"
    )
    assert 50_000 < transferred <= PAGE_BYTES_MAX
    # What the first paint waits for, however fast the machine is.
    blocking = browser.run(
        "return performance.getEntriesByType('resource')"
        ".filter(e => e.renderBlockingStatus === 'blocking').map(e => e.name)"
    )
    assert sorted(blocking) == [f"{shown.url}/page.css", f"{shown.url}/uplot.css"]
    assert fact(browser, "central", "Queued") == "300"
    assert "127.0.0.1" in browser.text("#top-rows")
    feed_lines(shown.tcp, [b"<%d>host app: %d" % (9 + n % 3, n) for n in range(1200)])
    wait_until(lambda: fact(browser, "central", "Queued") == "1,500", "the page shows the queue")
    wait_until(lambda: fact(browser, "file", "Queued") == "0", "the file has them")
    status = shown.status()
    assert [each["received_records"] for each in status["sources"]] == [1500, 0]
    browser.wait_for('#source-rows > [data-key="in"]', "1,500")
    browser.wait_for("#mix-legend", "critical 400 (33 %)")
    browser.wait_for("#messages-summary", "highest")
    wait_until(lambda: "highest 0" not in browser.text("#messages-summary"), "the chart moves")
    browser.wait_for("#health-text", "central: refused by")
    # Said once, and not each time a number changes.
    assert browser.text("#announced") == "The relay needs attention: 1 problem."
    assert browser.run("return document.querySelectorAll('.flow .edge').length") == 4


def test_messages_are_text_and_tokens_are_masked(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    shown = Shown(programs, tmp_path)
    token = b"12345678-9abc-4def-8123-456789abcdef"
    masked = b'<11>host app:@cee: {"logsene-app-token": "%b", "message": "masked"}' % token
    feed_lines(shown.tcp, [ATTACK, masked, b"<13>host app: another"])
    feed_datagrams(shown.udp, [LOST])
    browser.open(shown.url)
    browser.wait_for("#search-place", "queue of central")
    wait_until(lambda: shown.destination("central")["queued_records"] == 3, "all are queued")
    browser.run(
        "const s = document.getElementById('search-place');"
        "s.value = [...s.options].find(o => o.textContent === 'queue of central').value"
    )
    browser.run("document.getElementById('search-text').focus()")
    browser.press("<SCRIPT>", "\ue007")
    browser.wait_for("#search-status", "1 message found, 3 messages looked at. That is all.")
    found = browser.text("#search-found")
    assert "<script>document.title='hacked'</script><img src=x" in found
    assert "\\x1b[2J" in found and "\x1b" not in found
    browser.wait_for("#sample-groups", "\\x1b[2J")
    assert "<script>" in browser.text("#sample-groups")
    browser.run("document.getElementById('search-text').value = 'masked'")
    browser.run("document.getElementById('search-form').requestSubmit()")
    browser.wait_for("#search-found", "1234…cdef")
    assert token.decode() not in browser.run("return document.documentElement.outerHTML")
    assert browser.run("return document.title").startswith("(1) relay-under-test")
    assert browser.run("return document.querySelectorAll('main script, main img').length") == 0


def test_actions_need_the_admin_token_and_then_work(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    shown = Shown(programs, tmp_path, admin_token_file=ADMIN)
    feed_lines(shown.tcp, [b"<13>host app: waits"] * 5)
    browser.open(shown.url)
    wait_until(lambda: fact(browser, "central", "Queued") == "5", "they are queued")
    browser.click(card("central", "[data-action=pause]"))
    browser.wait_for("#ask-title", "Admin token")
    browser.press("wrong", "\ue007")
    browser.wait_for("#ask-problem", "does not take this token")
    assert not shown.destination("central")["paused"]
    browser.press(ADMIN, "\ue007")
    browser.wait_for(card("central", ".state"), "paused by hand since")
    browser.wait_for("#acted", "central is paused.")
    assert shown.destination("central")["paused"]
    assert shown.status()["web"]["wrong_tokens"] == 1
    browser.click(card("central", "[data-action=resume]"))
    wait_until(lambda: not shown.destination("central")["paused"], "it is resumed")
    browser.click(card("central", "[data-action=purge]"))
    browser.wait_for("#ask-text", "5 messages of central will be deleted")
    browser.press("\ue00c")  # escape
    assert shown.destination("central")["queued_records"] == 5
    browser.click(card("central", "[data-action=purge]"))
    browser.click("#ask-go")
    browser.wait_for("#acted", "5 messages of central were deleted.")
    assert shown.destination("central")["dropped_records"] == {"operator": 5}
    assert "127.0.0.1 asks for: purge central" in shown.relay.log()
    assert ADMIN not in shown.relay.log()
    kept = browser.run("return JSON.stringify([{...localStorage}, document.cookie])")
    assert kept == '[{},""]'


def test_a_readers_token_is_asked_for_and_actions_are_not_there(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    shown = Shown(programs, tmp_path, token_file=READER)
    browser.open(shown.url)
    browser.wait_for("#ask-title", "Token")
    assert "relay-under-test" not in browser.run("return document.documentElement.outerHTML")
    browser.press(READER, "\ue007")
    browser.wait_for("#name", "relay-under-test")
    wait_until(lambda: fact(browser, "file", "Queued") == "0", "it shows the destination")
    shows = "return [...document.querySelectorAll('.destination .buttons')].map(e => e.hidden)"
    assert browser.run(shows) == [True, True]


def test_charts_survive_a_restart_and_the_page_says_that_the_relay_is_away(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    shown = Shown(programs, tmp_path)
    browser.open(shown.url)
    browser.wait_for("#name", "relay-under-test")
    feed_lines(shown.tcp, [b"<13>host app: before"] * 500)
    wait_until(lambda: shown.status()["rates"]["10s"]["messages"] > 0, "they are sampled")
    shown.relay.stop()
    browser.wait_for("#health-text", "not connected")
    assert browser.run("return document.getElementById('away').hidden") is False
    shown.relay.start()
    browser.wait_for("#health-text", "central: ")
    assert browser.run("return document.getElementById('away').hidden") is True
    browser.open(shown.url)  # a page that has seen nothing of it
    browser.wait_for("#mix-legend", "notice 500 (100 %)")
    assert "highest 0" not in browser.text("#messages-summary")
    browser.complaints()  # of requests that found nobody


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A relay whose page has something in each part."""
    with running_programs() as programs:
        folder = tmp_path_factory.mktemp("filled")
        shown = Shown(programs, folder, {"down_after": 1}, admin_token_file=ADMIN)
        feed_lines(shown.tcp, [b"<%d>host app: %d" % (8 + n % 8, n) for n in range(80)])
        feed_datagrams(shown.udp, [LOST])
        yield shown


def test_an_alert_is_shown_with_the_time_when_it_began(filled: Shown, browser: Browser) -> None:
    browser.open(filled.url)
    browser.wait_for("#problem-list", "alert down, since")
    browser.wait_for("#health-text", "destination central: ")
    assert "down" in [alert["rule"] for alert in filled.status()["alerts"]]


def violations(browser: Browser) -> list[str]:
    """What axe-core finds, with the elements."""
    browser.run(AXE.read_text())
    found = browser.driver.execute_async_script(
        "axe.run(document).then(result => arguments[0](result.violations))"
    )
    return [
        f"{each['id']}: {each['help']}: {node['target']} {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


def test_axe_finds_nothing_light_dark_and_narrow(filled: Shown, browser: Browser) -> None:
    browser.open(filled.url)
    browser.wait_for("#source-rows", "80")
    browser.run("for (const each of document.querySelectorAll('details')) each.open = true")
    for dark in (False, True):
        for width in (1280, 320):
            browser.show(width=width, dark=dark)
            wait_until(lambda: violations(browser) == [], f"{violations(browser)}", 3.0)
            wide = browser.run("return document.documentElement.scrollWidth")
            assert wide <= width
    browser.show()
    browser.click(card("central", "[data-action=purge]"))
    assert violations(browser) == []
    browser.press("\ue00c")


def test_everything_is_reached_by_keyboard(filled: Shown, browser: Browser) -> None:
    browser.open(filled.url)
    browser.wait_for("#source-rows", "80")
    reached = []
    for _ in range(60):
        browser.press("\ue004")  # tab
        reached.append(
            browser.run(
                "const e = document.activeElement; return e.getAttribute('href') || e.name || "
                "e.dataset.action || e.id || e.textContent.slice(0, 20)"
            )
        )
    order = ["#main", "#traffic", "#search", "span", "pause", "purge", "search-place"]
    order += ["search-text"]
    places = [reached.index(each) for each in order]
    assert places == sorted(places)
    outline = browser.run(
        "document.getElementById('search-text').focus();"
        "return getComputedStyle(document.activeElement).outlineStyle"
    )
    assert outline == "solid"
    headings = browser.run(
        "return [...document.querySelectorAll('h1, h2, h3')].map(e => Number(e.tagName[1]))"
    )
    assert headings[0] == 1 and headings.count(1) == 1


def test_a_page_that_somebody_else_opens_gets_no_data(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    """Another site may neither read, nor act, nor show the page in a frame."""
    shown, other = (
        Shown(programs, tmp_path, admin_token_file=ADMIN),
        Shown(programs, tmp_path / "o"),
    )
    browser.open(other.url)
    browser.wait_for("#name", "relay-under-test")
    script = """
        const done = arguments[2];
        const options = arguments[1] && {method: "POST", body: "{}", headers: arguments[1]};
        fetch(arguments[0], options).then(a => done(a.status), e => done(String(e)));
        """
    for path, headers in (
        ("/history", None),
        (
            "/actions/pause",
            {"Content-Type": "application/json", "Authorization": f"Bearer {ADMIN}"},
        ),
    ):
        found = browser.driver.execute_async_script(script, shown.url + path, headers)
        assert "TypeError" in str(found)
    assert not shown.destination("central")["paused"]
    assert [text for text in browser.complaints() if "Content Security Policy" in text]


def test_the_tail_shows_what_passes_and_pauses(
    programs: Programs, tmp_path: Path, browser: Browser
) -> None:
    shown = Shown(programs, tmp_path)
    browser.open(shown.url)
    browser.wait_for("#tail-id", "all sources")
    browser.click("#tail-go")
    browser.wait_for("#tail-status", "Waiting")
    wait_until(lambda: shown.status()["web"]["readers"] == 1, "the page reads")

    def send() -> bool:
        feed_lines(shown.tcp, [ATTACK])
        return "<script>" in browser.text("#tail-lines")

    wait_until(send, "it is shown")
    assert "\\x1b[2J" in browser.text("#tail-lines")
    browser.click("#tail-go")
    browser.wait_for("#tail-status", "Paused")
    feed_lines(shown.tcp, [b"<13>host app: not shown"])
    browser.click("#tail-clear")
    browser.run("document.getElementById('tail-stage').value = 'delivered'")
    browser.run("document.getElementById('tail-stage').dispatchEvent(new Event('change'))")
    browser.wait_for("#tail-id", "all destinations")
    assert "not shown" not in browser.text("#tail-lines")
