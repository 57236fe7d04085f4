"""The full screen of `top`.  The only module that imports textual."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import DataTable, Input, Static

from relay.cli.control_client import AskFailed, ask
from relay.cli.views import panes
from relay.cli.views.panes import GOOD, ROWS_MAX, SEVERE, WARNING, PeerRates, Row, Table
from relay.cli.views.sampler import SECONDS, Sampler
from relay.model.text import Document, duration, printable

_PANES = ("sources", "peers", "destinations", "programs", "relays")
_FIRST_COLUMN = {"sources": None, "peers": 2, "destinations": None, "programs": 1, "relays": None}
"""What each pane is sorted by at first; None = the worst first."""
_OF_STATUS = {
    "sources": panes.sources,
    "destinations": panes.destinations,
    "relays": panes.relays,
}
_STYLES = {GOOD: "green", WARNING: "yellow", SEVERE: "bold red"}
_PEERS_MAX = 200  # of each source
_SCROLL_BAR = 2
_LAST_COLUMN_MIN = 10
_CSS = """\
Screen { background: ansi_default; color: ansi_default; }
#summary, #health, #panes, #keys { height: 1; }
#panes { margin-top: 1; }
#detail { height: 2; }
DataTable { height: 1fr; background: ansi_default; color: ansi_default; }
.datatable--header { background: ansi_default; color: ansi_default; }
.datatable--header { text-style: bold underline; }
.datatable--cursor { background: ansi_default; color: ansi_default; text-style: reverse; }
DataTable:focus > .datatable--cursor { background: ansi_default; color: ansi_default; }
#keys { text-style: reverse; }
#filter { height: 1; border: none; padding: 0; display: none; }
HelpScreen { align: center middle; }
#help { width: 64; height: auto; border: round ansi_default; padding: 0 1; }
"""
_HELP = """\
1 2 3 4, Tab  sources, peers, destinations, programs
5             relays that report to this one, if there are any
s             sort by the next column (or click on its title)
S             the worst first again
r             turn the order around
/             filter: rows with this text in any cell
Esc           no filter
p, Space      pause and go on
up, down      move through the rows
?             this help
q             quit

Numbers per second are of the last 10 seconds.
Programs are counted in a sample of 200 messages
a second; ~msg/s is their share of all messages.
Red: does not work or loses messages.  Yellow:
look at it.  The state says the same in words.

Each key closes this."""


class HelpScreen(ModalScreen[None]):
    """What the keys do."""

    def compose(self) -> ComposeResult:
        yield Static(Text(_HELP), id="help")

    def on_key(self, event: Key) -> None:
        event.stop()
        self.dismiss()


class TopApp(App[None]):
    """Asks the relay every few seconds, and shows what it says.

    Args:
        state_dir: Of the relay.
        interval: Seconds between two looks.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = _CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(index), f"pane({index})") for index in range(1, len(_PANES) + 1)),
        Binding("tab", "next_pane", priority=True),
        Binding("s", "sort"),
        Binding("S,upper_s", "sort_worst"),
        Binding("r", "reverse"),
        Binding("slash", "filter"),
        Binding("escape", "no_filter"),
        Binding("p,space", "pause"),
        Binding("question_mark", "help"),
        Binding("q,ctrl+c", "quit", priority=False),
    ]

    def __init__(self, state_dir: str, interval: float) -> None:
        super().__init__(ansi_color=True)
        self._state_dir = state_dir
        self._interval = interval
        self._pane = _PANES[0]
        self._columns: dict[str, int | None] = dict(_FIRST_COLUMN)
        self._is_reversed = dict.fromkeys(_PANES, False)
        self._sought = ""
        self._is_paused = False
        self._document: Document | None = None
        self._peers: Table | None = None
        self._peer_rates = PeerRates()
        self._is_asking = self._is_to_ask = False
        self._failure = ""
        self._answered_at = time.monotonic()
        self._sampler = Sampler(state_dir)
        self._rows: list[Row] = []
        self._chosen = self._count = 0  # rows that fit the filter, and all

    def compose(self) -> ComposeResult:
        yield Static(id="summary")
        yield Static("asking the relay …", id="health")
        yield Static(id="panes")
        yield DataTable[Text](cursor_type="row", zebra_stripes=False)
        yield Input(placeholder="text in any cell; Enter keeps it, Esc ends it", id="filter")
        yield Static(id="detail")
        yield Static(id="keys")

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.set_interval(self._interval, self._look)
        self._look()
        self._show()

    def on_unmount(self) -> None:
        self._sampler.stop()

    # Asking.

    def _look(self) -> None:
        if self._is_asking:  # a relay that hangs is asked once
            self._is_to_ask = True
        elif not self._is_paused:
            self._is_asking, self._is_to_ask = True, False
            self._ask(self._pane == "peers")

    @work(thread=True)
    def _ask(self, with_peers: bool) -> None:
        try:
            document = ask(self._state_dir, "status")
            found = None
            if with_peers:
                found = ask(self._state_dir, "peers", {"count": _PEERS_MAX})
        except AskFailed as error:
            self.call_from_thread(self._failed, str(error))
        else:
            self.call_from_thread(self._answered, document, found)

    def _failed(self, reason: str) -> None:
        self._failure = reason
        self._asked()

    def _answered(self, document: Document, peers: dict[str, Document] | None) -> None:
        self._failure, self._answered_at = "", time.monotonic()
        self._document = document
        if peers is not None:
            self._peers = self._peer_rates.table(peers, self._answered_at)
        self._asked()

    def _asked(self) -> None:
        self._is_asking = False
        self._show()
        if self._is_to_ask:
            self._look()

    # Showing.

    @property
    def _panes(self) -> Sequence[str]:
        """Those that there are: most relays have no others that report to them."""
        has_relays = self._pane == "relays" or (self._document or {}).get("fleet")
        return _PANES if has_relays else _PANES[:-1]

    def _show(self) -> None:
        document = self._document
        if document is not None:
            self.query_one("#summary", Static).update(_line(panes.summary(document), "bold"))
        self.query_one("#health", Static).update(self._health())
        self.query_one("#panes", Static).update(self._titles())
        self.query_one("#keys", Static).update(self._keys())
        if document is not None:
            self._show_table(self._table(document))

    def _health(self) -> Text:
        if self._failure:
            age = duration(time.monotonic() - self._answered_at)
            text = f"no answer for {age}: {printable(self._failure, length_max=None)}"
            return _line(text, _STYLES[SEVERE])
        if self._document is None:
            return _line("asking the relay …")
        state, text = panes.health(self._document)
        return _line(text, _STYLES[state])

    def _titles(self) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        for index, name in enumerate(self._panes, 1):
            is_shown = name == self._pane
            line.append(f"[{index} {name}]" if is_shown else f" {index} {name} ", _tab(is_shown))
            line.append(" ")
        if self._sought:
            line.append(f" filter: {self._sought}", "bold")
        if self._is_paused:
            line.append("  paused", "bold reverse")
        return line

    def _keys(self) -> Text:
        return _line("1-4 pane  s sort  r reverse  / filter  p pause  ? help  q quit")

    def _table(self, document: Document) -> Table:
        if self._pane == "peers":
            return self._peers or self._peer_rates.table({}, self._answered_at)
        if self._pane == "programs":
            per_second = document["rates"]["10s"]["messages"]
            return panes.programs(self._sampler.sample.counted(), per_second)
        return _OF_STATUS[self._pane](document)

    def _show_table(self, table: Table) -> None:
        shown = self.query_one(DataTable)
        column, is_reversed = self._columns[self._pane], self._is_reversed[self._pane]
        titles = [
            f"{title}{('▲' if table.is_text(at) != is_reversed else '▼') if at == column else ''}"
            for at, title in enumerate(table.titles)
        ]
        row, scroll = shown.cursor_row, shown.scroll_y
        key = self._rows[row].key if 0 < row < len(self._rows) else ""
        rows = table.chosen(self._sought, column, reverse=is_reversed)
        self._rows = rows[:ROWS_MAX]
        shown.clear(columns=True)
        for title, width in zip(titles, _widths(titles, self._rows, self.size.width), strict=True):
            shown.add_column(title, width=width)
        for each in self._rows:
            shown.add_row(*_cells(table, each))
        keys = [each.key for each in self._rows]
        shown.move_cursor(row=keys.index(key) if key in keys else 0, animate=False, scroll=False)
        shown.scroll_to(y=scroll, animate=False)
        self._chosen, self._count = len(rows), len(table.rows)
        self._show_detail()

    def _show_detail(self) -> None:
        """The row at the cursor, as far as it is words, and how many rows there are."""
        row = self.query_one(DataTable).cursor_row
        words = ""
        if row < len(self._rows):
            cells = self._rows[row].cells
            words = f"{cells[0].text}: {cells[-1].text}"
        elif self._pane == "programs":
            words = self._sampler.failure or f"a sample of {SECONDS} s is being taken"
        elif self._sought:
            words = f"no row of {self._count:,} has the text of the filter"
        if self._chosen > len(self._rows):
            words += f"  (the first {len(self._rows):,} of {self._chosen:,})"
        detail = Text(printable(words, length_max=None), overflow="ellipsis")
        self.query_one("#detail", Static).update(detail)

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()

    # Keys.

    def action_pane(self, index: int) -> None:
        if index > len(self._panes):
            return
        self._pane, self._rows = _PANES[index - 1], []
        if self._pane == "programs":
            self._sampler.start()
        else:
            self._sampler.stop()
        self._show()
        self._look()

    def action_next_pane(self) -> None:
        self.action_pane((_PANES.index(self._pane) + 1) % len(self._panes) + 1)

    def action_sort(self) -> None:
        count = len(self.query_one(DataTable).columns)
        column = self._columns[self._pane]
        self._columns[self._pane] = 0 if column is None else (column + 1) % max(1, count)
        self._show()

    def action_sort_worst(self) -> None:
        self._columns[self._pane] = None
        self._show()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        if self._columns[self._pane] == event.column_index:
            self._is_reversed[self._pane] ^= True
        self._columns[self._pane] = event.column_index
        self._show()

    def action_reverse(self) -> None:
        self._is_reversed[self._pane] ^= True
        self._show()

    def action_pause(self) -> None:
        self._is_paused ^= True
        self._show()
        self._look()

    def action_help(self) -> None:
        self.push_screen(HelpScreen())

    def action_filter(self) -> None:
        entry = self.query_one("#filter", Input)
        entry.display = True
        self.screen.set_focus(entry)  # at once: the text may have been typed already

    def action_no_filter(self) -> None:
        entry = self.query_one("#filter", Input)
        entry.value = ""
        self.on_input_submitted()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._sought = printable(event.value, length_max=None)
        self._show()

    def on_input_submitted(self) -> None:
        self.query_one("#filter", Input).display = False
        self.query_one(DataTable).focus()


def _line(text: str, style: str = "") -> Text:
    """One line that neither wraps nor is read as markup."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _tab(is_shown: bool) -> str:
    return "bold reverse" if is_shown else ""


def _widths(titles: Sequence[str], rows: Sequence[Row], width: int) -> list[int]:
    """Of the columns; the last gets what is left of the line."""
    widths = [
        max(len(title), *(len(row.cells[at].text) for row in rows), 0)
        for at, title in enumerate(titles)
    ]
    left = width - sum(widths[:-1]) - 2 * len(widths) - _SCROLL_BAR
    return [*widths[:-1], max(_LAST_COLUMN_MIN, left)]


def _cells(table: Table, row: Row) -> list[Text]:
    last, style = len(row.cells) - 1, _STYLES[row.state]
    return [
        Text(
            cell.text,
            style if at in (0, last) else "",
            justify="left" if table.is_text(at) else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
        for at, cell in enumerate(row.cells)
    ]
