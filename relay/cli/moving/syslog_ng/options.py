"""Options of syslog-ng's drivers: each is read once, or the report says that nobody reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from relay.cli.moving.report import Report, Said
from relay.cli.moving.syslog_ng.tree import Atom, Body, Call, Node

__all__ = ["Option", "Options", "canonical", "item_text", "source_text"]

_YES = ("yes", "on", "1", "true")
_NO = ("no", "off", "0", "false")
_EXCERPT_MAX = 160


@dataclass(frozen=True, slots=True)
class Option(Said):
    """An option and what the report says about it."""

    call: Call

    @property
    def text(self) -> str:
        """Its first argument."""
        return self.call.first

    @property
    def texts(self) -> list[str]:
        """All its arguments."""
        return self.call.texts

    @property
    def flag(self) -> bool | None:
        """Whether it says yes; None if it says neither yes nor no."""
        word = self.text.lower()
        return True if word in _YES else False if word in _NO else None


class Options:
    """The options of a call, by name; hyphens and underscores are the same.

    Args:
        defaults: Options that count where the call has none of the name.
    """

    def __init__(
        self, call: Call, report: Report, defaults: Mapping[str, Option] | None = None
    ) -> None:
        self.call = call
        self.report = report
        self._defaults = defaults or {}
        self._left: dict[str, Option] = {}
        for each in call.calls:
            option = Option(report.statement(each.place, source_text(each)), each)
            name = canonical(each.name)
            if name in self._left:
                self._left[name].taken("a later option of this name replaces it")
            self._left[name] = option

    def take(self, *names: str) -> Option | None:
        """The option with one of `names`, else the default of them."""
        own = self.take_own(*names)
        if own is not None:
            return own
        return next((self._defaults[name] for name in names if name in self._defaults), None)

    def take_own(self, *names: str) -> Option | None:
        """The option with one of `names` that the call itself has."""
        found = [self._left.pop(name) for name in names if name in self._left]
        return found[0] if found else None

    def text(self, *names: str, default: str = "") -> str:
        """The text of an option whose meaning goes into a key as it is."""
        option = self.take_own(*names)
        if option is None:
            return default
        option.taken("taken over as it is")
        return option.text

    def flags(self) -> set[str]:
        """The words of `flags()`."""
        option = self.take_own("flags")
        if option is None:
            return set()
        option.taken("are keys of the same table")
        return {canonical(text) for text in option.texts}

    def pass_over(self, reasons: Mapping[str, str]) -> None:
        """Say of options that the relay needs no counterpart, and why."""
        for name, reason in reasons.items():
            option = self.take_own(name)
            if option is not None:
                option.taken(reason)

    def finish(self, why: str = "the relay has no counterpart") -> None:
        """Say of all that nobody took that they are not supported."""
        for option in self._left.values():
            option.unsupported(why)
        self._left.clear()

    @property
    def left(self) -> Iterator[Option]:
        """Those that nobody took so far."""
        return iter(self._left.values())


def canonical(name: str) -> str:
    """A name as it is compared."""
    return name.replace("-", "_").lower()


def source_text(node: Node) -> str:
    """`node` as a configuration has it; long ones are cut."""
    return "".join(_pieces(node, _EXCERPT_MAX))[:_EXCERPT_MAX]


def _pieces(node: Node, left: int) -> Iterator[str]:
    """The texts of a node, until there are enough of them."""
    if isinstance(node, Atom):
        yield f'"{node.text}"' if node.kind == "string" else node.text
    elif isinstance(node, Call):
        yield f"{node.name}("
        yield from _joined(node.arguments, left)
        yield ")"
    else:
        yield from _joined(node.head, left)
        yield " {…}"


def _joined(nodes: tuple[Node, ...], left: int) -> Iterator[str]:
    for number, node in enumerate(nodes):
        if left <= 0:
            return
        if number:
            yield " "
        for piece in _pieces(node, left):
            yield piece
            left -= len(piece)


def item_text(nodes: tuple[Node, ...]) -> str:
    """An item as a configuration has it; long ones are cut."""
    if len(nodes) == 1 and isinstance(nodes[0], Body):
        return source_text(nodes[0])
    return "".join(_joined(nodes, _EXCERPT_MAX))[:_EXCERPT_MAX]
