"""The statements of a configuration of syslog-ng, as a tree.

The language is regular enough for one grammar, whatever the drivers and options are called:

    item   = node … ";"              in braces; the semicolon behind a closing brace may be missing
    node   = word | text | sign | call | body
    call   = word "(" node … ")"
    body   = node … "{" item … "}"   the nodes before the brace are its head

A block (``block source name(option(default)) { … }``) is kept as text and read again wherever it is
called.  Python and FilterX are languages of their own; their bodies stay text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from relay.cli.moving.report import Place
from relay.cli.moving.syslog_ng.scanner import (
    ConfigurationText,
    Scanner,
    SyntaxProblem,
    Token,
    filled_in,
)

__all__ = [
    "Atom",
    "Body",
    "Call",
    "Directive",
    "Included",
    "Item",
    "Node",
    "Tree",
    "is_catch_all",
    "names_of",
    "parse",
    "texts_in",
]

NESTING_MAX = 64
EXPANSIONS_MAX = 5_000

_OPERATORS = ("and", "or", "not")
_FOREIGN = ("python", "filterx")
# What a name in braces is looked up as, when it is the name of a block.
_CONTEXTS = {
    **{name: name for name in ("source", "destination", "filter", "parser", "rewrite", "options")},
    **dict.fromkeys(("log", "junction", "channel", "if", "elif", "else"), "log"),
}


@dataclass(frozen=True, slots=True)
class Atom:
    """A word, a text (kind string), or a sign (kind op)."""

    kind: str
    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """A name with parentheses; the name is empty where there is none."""

    name: str
    arguments: tuple[Node, ...]
    place: Place

    @property
    def texts(self) -> list[str]:
        """Its words and texts, at this level."""
        return texts_in(self.arguments)

    @property
    def first(self) -> str:
        """The first of them; empty if there is none."""
        return next(iter(self.texts), "")

    @property
    def calls(self) -> list[Call]:
        """The calls in its parentheses."""
        return [node for node in self.arguments if isinstance(node, Call)]


@dataclass(frozen=True, slots=True)
class Body:
    """Something with braces.

    Attributes:
        text: Of a foreign language; it has no items then.
    """

    head: tuple[Node, ...]
    items: tuple[Item, ...]
    place: Place
    text: str = ""

    @property
    def kind(self) -> str:
        """The first word of the head, in the spelling with hyphens' place taken by underscores."""
        first = self.head[0] if self.head else None
        match first:
            case Atom(text=text) | Call(name=text):
                return text.replace("-", "_")
        return ""

    @property
    def name(self) -> str:
        """The second word of the head."""
        second = self.head[1] if len(self.head) > 1 else None
        return second.text if isinstance(second, Atom) else ""


@dataclass(frozen=True, slots=True)
class Directive:
    """A line that begins with @."""

    name: str
    text: str
    place: Place


Node: TypeAlias = Atom | Call | Body
Item: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Included:
    """The files that an ``@include`` names.

    Attributes:
        texts: The files, in order.
        note: What is to be said of it; empty = nothing.
        is_missing: There is no such file.
    """

    texts: tuple[ConfigurationText, ...] = ()
    note: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class _Block:
    body: str
    defaults: dict[str, str]
    place: Place


@dataclass(slots=True)
class Tree:
    """All statements.

    Attributes:
        items: Statements, in order; those of included files where they are included.
        directives: Lines with @, and what is to be said about each.
        blocks: Place and name of each block that is defined.
        calls_of_blocks: Place and name of each call of one.
        unknown_variables: Place and name of each variable between backticks without a value.
    """

    items: list[Item] = field(default_factory=list)
    directives: list[tuple[Directive, Included | None]] = field(default_factory=list)
    blocks: list[tuple[str, Place]] = field(default_factory=list)
    calls_of_blocks: list[tuple[str, Place]] = field(default_factory=list)
    unknown_variables: list[tuple[str, Place]] = field(default_factory=list)


def parse(
    source: ConfigurationText,
    include: Callable[[str, Place], Included],
    environment: dict[str, str] | None = None,
) -> Tree:
    """The tree of `source` and all that it includes.

    Args:
        include: Finds the files of an ``@include``.
        environment: Values of variables that are not defined in the file.

    Raises:
        SyntaxProblem: A text is not in the language, or there is too much of it.
    """
    return _Parser(source, include, dict(environment or {})).parse()


class _Parser:
    def __init__(
        self,
        source: ConfigurationText,
        include: Callable[[str, Place], Included],
        variables: dict[str, str],
    ) -> None:
        self._variables = variables
        self._scanner = Scanner(source, variables)
        self._include = include
        self._blocks: dict[tuple[str, str], _Block] = {}
        self._tree = Tree()
        self._nesting = 0

    def parse(self) -> Tree:
        while True:
            items = self._items("root")
            self._tree.items += items
            token = self._scanner.next()
            if token.kind == "end":
                break
            raise SyntaxProblem(token.place, "found '}' without '{'; remove it")
        self._tree.unknown_variables += self._scanner.unknown_variables
        return self._tree

    def _items(self, context: str) -> list[Item]:
        """Items up to the closing brace or the end, which stays."""
        self._nesting += 1
        if self._nesting > NESTING_MAX:
            raise SyntaxProblem(
                self._scanner.next().place, f"more than {NESTING_MAX} braces inside each other"
            )
        items: list[Item] = []
        while True:
            token = self._scanner.next()
            if token.kind == "end" or token.is_op("}"):
                self._scanner.put_back(token)
                self._nesting -= 1
                return items
            if token.kind == "directive":
                self._directive(token)
            elif token.kind == "word" and token.text == "block" and context == "root":
                self._define_block(token)
            elif not token.is_op(";"):
                self._scanner.put_back(token)
                item = self._item(context)
                if item:
                    items.append(item)

    def _item(self, context: str) -> Item:
        nodes: list[Node] = []
        while True:
            token = self._scanner.next()
            if token.is_op(";"):
                return tuple(nodes)
            if token.kind == "end" or token.is_op("}"):
                self._scanner.put_back(token)
                return tuple(nodes)
            if token.is_op("{"):
                return (self._body(tuple(nodes), token.place),)
            node = self._node(token, context)
            if node is not None:
                nodes.append(node)

    def _body(self, head: tuple[Node, ...], place: Place) -> Body:
        first = head[0] if head else None
        if first is not None and not isinstance(first, Body):
            place = first.place
        body = Body(head, (), place)
        if body.kind in _FOREIGN:
            return Body(head, (), place, self._scanner.raw("{", "}"))
        items = self._items(_CONTEXTS.get(body.kind, ""))
        token = self._scanner.next()
        if token.kind == "end":
            raise SyntaxProblem(place, "the '{' of this statement has no '}'")
        return Body(head, tuple(items), place)

    def _node(self, token: Token, context: str) -> Node | None:
        """A node that begins with `token`; None where a block's text takes its place."""
        if token.is_op("("):
            return self._call("", token.place)
        if token.is_op(")"):
            raise SyntaxProblem(token.place, "found ')' without '('; remove it")
        if token.kind != "word" or token.text in _OPERATORS:
            return Atom(token.kind, token.text, token.place)
        after = self._scanner.next()
        if not after.is_op("("):
            self._scanner.put_back(after)
            return Atom(token.kind, token.text, token.place)
        block = self._blocks.get((context, token.text.replace("-", "_")))
        if block is None:
            return self._call(token.text, token.place)
        self._expand(block, token, context)
        return None

    def _call(self, name: str, place: Place) -> Call:
        self._nesting += 1
        if self._nesting > NESTING_MAX:
            raise SyntaxProblem(place, f"more than {NESTING_MAX} parentheses inside each other")
        nodes: list[Node] = []
        while not (token := self._scanner.next()).is_op(")"):
            if token.kind == "end" or token.is_op(";", "}"):
                raise SyntaxProblem(place, f"the '(' behind {name or 'this'} has no ')'")
            if token.is_op("{"):
                nodes.append(self._body((), token.place))
                continue
            node = self._node(token, "")
            if node is not None:
                nodes.append(node)
        self._nesting -= 1
        return Call(name, tuple(nodes), place)

    def _directive(self, token: Token) -> None:
        text = self._scanner.rest_of_line()
        directive = Directive(token.text[1:], text, token.place)
        included = None
        if directive.name == "include":
            included = self._include(_without_quotes(text, self._variables), token.place)
            self._scanner.push(*included.texts)
        elif directive.name == "define":
            name, _, value = text.partition(" ")
            self._variables[name.strip()] = _without_quotes(value, self._variables)
        self._tree.directives.append((directive, included))

    def _define_block(self, start: Token) -> None:
        kind, name, opening = (self._scanner.next() for _ in range(3))
        if kind.kind != "word" or name.kind != "word" or not opening.is_op("("):
            raise SyntaxProblem(
                start.place,
                f"found block {kind.text} {name.text} {opening.text}; expected "
                "block KIND NAME(options) { … }",
            )
        defaults = _options_of(self._scanner.raw("(", ")"), start.place)
        brace = self._scanner.next()
        if not brace.is_op("{"):
            raise SyntaxProblem(brace.place, f"found {brace}; expected '{{' of the block")
        body = self._scanner.raw("{", "}")
        key = kind.text.replace("-", "_"), name.text.replace("-", "_")
        self._blocks[key] = _Block(body, defaults, start.place)
        self._tree.blocks.append((f"{kind.text} {name.text}", start.place))

    def _expand(self, block: _Block, token: Token, context: str) -> None:
        if len(self._tree.calls_of_blocks) >= EXPANSIONS_MAX:
            raise SyntaxProblem(token.place, f"more than {EXPANSIONS_MAX:,} calls of blocks")
        given = _options_of(self._scanner.raw("(", ")"), token.place)
        others = {name: text for name, text in given.items() if name not in block.defaults}
        arguments = {
            **block.defaults,
            **{name: text for name, text in given.items() if name in block.defaults},
            "__VARARGS__": " ".join(
                f"{name}({text})" if name else text for name, text in others.items()
            ),
        }
        body = filled_in(block.body, arguments)
        if context == "filter":
            body = body.rstrip().rstrip(";")
        self._tree.calls_of_blocks.append((f"{context} {token.text}", token.place))
        name = f"the block {token.text} of {block.place}"
        self._scanner.push(
            ConfigurationText(body, token.place.file, token.place.line, is_body=True, name=name)
        )


def _options_of(text: str, place: Place) -> dict[str, str]:
    """The options in parentheses, each with the text in its own parentheses.

    What is no option stands under the empty name.
    """
    scanner = Scanner(ConfigurationText(text, place.file, place.line, is_body=True), {})
    options: dict[str, str] = {}
    others: list[str] = []
    while (token := scanner.next()).kind != "end":
        after = scanner.next()
        if token.kind == "word" and after.is_op("("):
            options[token.text.replace("-", "_")] = scanner.raw("(", ")")
            continue
        if after.kind != "end":
            scanner.put_back(after)
        others.append(f'"{token.text}"' if token.kind == "string" else token.text)
    if others:
        options[""] = " ".join(others)
    return options


def _without_quotes(text: str, variables: dict[str, str]) -> str:
    """The value of a directive's argument."""
    scanner = Scanner(ConfigurationText(text.strip(), ""), variables)
    token = scanner.next()
    return text.strip() if scanner.next().kind != "end" else token.text


def texts_in(nodes: Sequence[Node]) -> list[str]:
    """Words and texts of `nodes` at this level."""
    return [node.text for node in nodes if isinstance(node, Atom) and node.kind != "op"]


def names_of(kind: str, items: Iterable[Item]) -> Iterator[str]:
    """The names in calls of `kind` in log paths, those of paths inside of them too."""
    for item in items:
        for node in item:
            if isinstance(node, Call) and node.name == kind:
                yield from node.texts
            elif isinstance(node, Body):
                yield from names_of(kind, node.items)


def is_catch_all(items: Iterable[Item]) -> bool:
    """Whether a log path with these items takes from all sources."""
    calls = [node for item in items for node in item if isinstance(node, Call)]
    words = [text for call in calls if call.name == "flags" for text in call.texts]
    return any(word.replace("_", "").replace("-", "") == "catchall" for word in words)
