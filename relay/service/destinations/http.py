"""Requests over HTTP: to Elasticsearch, OpenSearch, Sematext, Splunk, Loki and others."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from twisted.internet.endpoints import wrapClientTLS
from twisted.logger import Logger

from relay import __version__
from relay.flow.exactly_once.numbering import Numbering
from relay.model.errors import UpstreamError
from relay.model.output import KeyTemplate, Pair, Selection
from relay.model.template import macros_of, split_template
from relay.model.text import counted
from relay.model.token import has_token_form
from relay.rewrite.forms.record_key import split_key
from relay.service.configuration.keys import group, key
from relay.service.configuration.model import KiB, MiB, TlsConfiguration, Url, Where
from relay.service.configuration.reading import SecretFile, Template
from relay.service.configuration.table import Choice, Flag, Seconds, Size, Text, Whole, shown
from relay.service.configuration.tables.format import FORMAT_TABLE, FormatConfiguration
from relay.service.configuration.tables.rewrite import token_from_file
from relay.service.configuration.url import HostPort, Role, url_shown
from relay.service.destinations.kind import Delivery, DestinationKind, DestinationParts
from relay.service.destinations.link import LocalLink, Outlet
from relay.service.destinations.nodes import Node, Nodes, ProbeProtocol
from relay.service.destinations.streams import (
    UPSTREAM_TLS_WITHOUT,
    AnsweringConfiguration,
    new_targets,
)
from relay.service.destinations.targets import Targets
from relay.service.prerequisite import Prerequisite
from relay.service.probes.probe import Probe
from relay.service.probes.request import Asking
from relay.service.probes.upstream import probe_upstream
from relay.transport.http.batches import Batches
from relay.transport.http.requests import Endpoint, Requests
from relay.transport.http.session import HttpSession, SessionParts
from relay.transport.http.uploads import COMPRESSIONS, Credentials, Uploads
from relay.transport.upstream import Timeouts
from relay.wire.http import answers, bodies

DOCUMENT = FormatConfiguration(
    "json",
    selection=Selection(
        pairs=(
            Pair("@timestamp", "$ISODATE"),
            Pair("message", "$MSG"),
            Pair("host", "$HOST"),
            Pair("severity", "$LEVEL"),
            Pair("facility", "$FACILITY"),
            Pair("syslog-tag", "$SYSLOGTAG"),
            Pair("source", "$PROGRAM"),
        ),
        omits_empty=True,
    ),
)
"""The fields that Sematext documents for rsyslog's omelasticsearch."""

_log = Logger(namespace="relay")

BULK_REFUSALS_MAX = 1
_USER_AGENT = f"syslogrelay/{__version__}"
_PATH = re.compile(r"/[!-~]*")
_NOT_IN_INDEX = re.compile(rb'[\x00-\x20\x7f-\xff\\/*?"<>|,#:]')
_INDEX_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class _Body:
    """One protocol over HTTP."""

    path: str
    """Where servers of the protocol take it."""
    content_type: str
    encode: Callable[[HttpConfiguration], bodies.Encode]
    read: answers.Read = answers.read_any
    health: str = ""
    """Where such servers say whether they take anything at present; empty = nowhere."""

    def health_path(self, path: str) -> str:
        """The same, given the path of requests; empty if that is of no known form."""
        path = path.partition("?")[0]
        if not self.health or not path.endswith(self.path):
            return ""
        return path.removesuffix(self.path) + self.health


_BODIES: Mapping[str, _Body] = {
    "bulk": _Body(
        "/_bulk",
        "application/x-ndjson",
        lambda configuration: bodies.bulk(configuration.constant_index, configuration.operation),
        answers.read_bulk,
    ),
    "ndjson": _Body("/", "application/x-ndjson", lambda _: bodies.ndjson),
    "array": _Body("/", "application/json", lambda _: bodies.array),
    "splunk-hec": _Body(
        "/services/collector/event",
        "application/json",
        lambda _: bodies.splunk_hec,
        answers.read_splunk_hec,
        health="/services/collector/health",
    ),
    "loki": _Body(
        "/loki/api/v1/push",
        "application/json",
        lambda configuration: bodies.loki(dict(configuration.labels)),
        health="/ready",
    ),
}


class _HttpAddress(HostPort):
    """A host, perhaps a port, perhaps a path with a query."""

    __slots__ = ()

    form = "://host[:port][/path]"

    def read(self, scheme: str, rest: str, role: Role, base_dir: str) -> Url:
        if not rest.startswith("//"):
            return HostPort.read(self, scheme, rest, role, base_dir)  # it says what is wrong
        authority, slash, path = rest[2:].partition("/")
        if slash and not _PATH.fullmatch(slash + path):
            raise ValueError(
                f"found {url_shown(slash + path)} behind the host; write a path of printable "
                "ASCII, with everything else percent-encoded"
            )
        has_port = ":" in authority.rpartition("]")[2]
        port = f":{self.port}" if authority and not has_port else ""
        url = HostPort.read(self, scheme, f"//{authority}{port}", role, base_dir)
        return replace(url, path=slash + path if path else "")


@dataclass(frozen=True, slots=True)
class _Texts:
    """A table of names and texts.

    Args:
        allowed: What it is, with an example.
        name: The pattern of a name.
        reserved: Names, in lower case, that the relay writes itself.
    """

    allowed: str
    name: str
    reserved: tuple[str, ...] = ()

    def read(self, value: object) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise ValueError(f"expected {self.allowed}, found {shown(value)}")
        for name, text in value.items():
            if not re.fullmatch(self.name, name) or name.lower() in self.reserved:
                raise ValueError(f"{shown(name)} cannot be written here; expected {self.allowed}")
            if not isinstance(text, str) or not re.fullmatch(r"[ -~]+", text):
                raise ValueError(
                    f"{shown(name)}: expected a text of printable ASCII, found {shown(text)}"
                )
        return tuple(value.items())


_HEADERS = _Texts(
    'a table such as { X-Scope-OrgID = "logs" }, without what the body and the authorization need',
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
    (
        *("authorization", "content-length", "content-type", "content-encoding"),
        *("transfer-encoding", "host", "connection"),
    ),
)
_LABELS = _Texts('a table such as { job = "syslog" }', "[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class HttpCredentials:
    """Keys for what shows the server who sends; one way at most."""

    user: str = key(
        Text("a name without colon", r"[^:\0-\x1f]+"), "", "user of basic authorization"
    )
    password_file: str = key(SecretFile(), "", "file with the password of `user`")
    api_key_file: str = key(
        SecretFile(is_token=True), "", "file with an API key: `Authorization: ApiKey …`"
    )
    token_file: str = key(
        SecretFile(is_token=True),
        "",
        "file with a token: `Authorization: Bearer …`, with `splunk-hec` `Splunk …`",
    )

    @property
    def ways(self) -> list[str]:
        names = ("password_file", "api_key_file", "token_file")
        return [name for name in names if getattr(self, name)]

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if len(self.ways) > 1:
            yield f"{where(self.ways[1])}: a request has one authorization; remove {self.ways[0]}"
        if bool(self.user) != bool(self.password_file):
            absent = "password_file" if self.user else "user"
            yield f"{where(absent)}: is missing; user and password_file belong together"

    def read(self, scheme: str) -> Credentials:
        """What the files hold now; UpstreamError says what is wrong.

        Args:
            scheme: Of a token.
        """
        if not self.ways:
            return Credentials({})
        (way,) = self.ways
        secret = _secret(getattr(self, way))
        sent = secret
        if way == "password_file":
            scheme, sent = "Basic", base64.b64encode(self.user.encode() + b":" + secret)
        elif way == "api_key_file":
            scheme = "ApiKey"
        return Credentials({"Authorization": f"{scheme} {sent.decode()}"}, (secret, sent))


def _secret(path: str) -> bytes:
    try:
        return token_from_file(path).reveal()
    except ValueError as error:
        raise UpstreamError(str(error)) from None


@dataclass(frozen=True, slots=True)
class HttpBatches:
    """Keys for the size of requests."""

    batch_records: int = key(Whole(1, 10_000), 500, "most messages in a request")
    batch_bytes: int = key(
        Size(1 * KiB, 64 * MiB), 3 * MiB, "most bytes of messages in a request, uncompressed"
    )
    batch_seconds: float = key(
        Seconds(0, 60), 1.0, "how long a message waits for others to fill its request"
    )
    compress: str = key(
        Choice(("none", *COMPRESSIONS)), "none", "compression of closed files, or of HTTP requests"
    )
    requests_max: int = key(Whole(1, 64), 4, "requests at a time, each over its own connection")
    ordered: bool = key(Flag(), False, "send one request at a time, in the order of the queue")
    failing_seconds: float = key(
        Seconds(0, 86400),
        600.0,
        "time for which the server fails with one message (5xx, no answer), ten times at least, "
        "while it takes others, before the message is quarantined",
    )

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        if self.ordered and "requests_max" in given and self.requests_max > 1:
            yield (
                f"{where('requests_max')}: has no effect with ordered = true, which sends one "
                "request at a time; remove one of them"
            )

    @property
    def batches(self) -> Batches:
        requests = 1 if self.ordered else self.requests_max
        return Batches(
            self.batch_records,
            self.batch_bytes,
            self.batch_seconds,
            requests,
            self.failing_seconds,
        )


@dataclass(frozen=True, slots=True)
class HttpConfiguration(AnsweringConfiguration):
    format: FormatConfiguration | None = key(
        FORMAT_TABLE,
        DOCUMENT,
        "output format, unless `rewrite` ends with a mode",
        default_text="JSON with `@timestamp`, `message`, `host`, `severity`, `facility`, "
        "`syslog-tag` and `source`",
    )
    body: str = key(Choice(tuple(_BODIES)), "bulk", "protocol of requests and answers")
    index: str = key(
        Template(),
        "",
        "index of a message, with macros, such as `logs-$HOST`; for `bulk`",
        default_text="that of the URL's path",
    )
    index_file: str = key(
        SecretFile(is_token=True),
        "",
        "file with the index, where that is a secret as Sematext's token is; for `bulk`",
    )
    operation: str = key(
        Choice(("index", "create")),
        "index",
        "action of `bulk`; data streams need `create`",
    )
    labels: tuple[tuple[str, str], ...] = key(
        _LABELS,
        (("job", "syslogrelay"),),
        "labels of the stream, for `loki`",
        default_text='`{ job = "syslogrelay" }`',
    )
    headers: tuple[tuple[str, str], ...] = key(
        _HEADERS, (), "further headers of all requests", default_text="none"
    )
    credentials: HttpCredentials = group(HttpCredentials)
    sizes: HttpBatches = group(HttpBatches)
    refusals_max: int = BULK_REFUSALS_MAX
    """A server that takes others and refuses one message says the same of it the next time."""

    @property
    def urls(self) -> list[str]:
        """Of all targets, with the path of the protocol where none is given."""
        return [str(url) + ("" if url.path else _BODIES[self.body].path) for url in self.targets]

    @property
    def target(self) -> str:
        """Where requests go, for people."""
        first, *others = map(_shown_url, self.urls)
        return f"{first} and {counted(len(others), 'other')}" if others else first

    def read_credentials(self) -> Credentials:
        """What the files hold now; UpstreamError says what is wrong."""
        scheme = "Splunk" if self.body == "splunk-hec" else "Bearer"
        found = self.credentials.read(scheme)
        if not self.index_file:
            return found
        index = _secret(self.index_file)
        return replace(found, index=index, secrets=(*found.secrets, index))

    @property
    def record_key(self) -> KeyTemplate | None:
        """The index, where it depends on the message."""
        if not self._varies:
            return None
        is_hidden = self.index.startswith(".")  # by the administrator, not by a sender
        finish = _clean_index if is_hidden else _visible_index
        return KeyTemplate(self.index, escape=_clean_value, finish=finish)

    @property
    def constant_index(self) -> str:
        """The index of records without one of their own: macros have no values there."""
        parts = [part if isinstance(part, bytes) else b"_" for part in split_template(self.index)]
        return _clean_index(b"".join(parts)).decode() if self._varies else self.index

    @property
    def _varies(self) -> bool:
        return bool(macros_of(self.index))

    def problems(self, where: Where, given: Collection[str]) -> Iterator[str]:
        yield from AnsweringConfiguration.problems(self, where, given)
        for name, body in _KEYS_OF_BODIES.items():
            if name in given and self.body != body:
                yield f'{where(name)}: has no meaning with body = "{self.body}", only with "{body}"'
        paths = [url.partition("://")[2].partition("/")[2].partition("?")[0] for url in self.urls]
        if self.index and self.index_file:
            yield f"{where('index_file')}: a document has one index; remove index"
        if self.body == "bulk" and "_bulk" in paths and not self.index and not self.index_file:
            yield (
                f'{where("index")}: is missing; write index = "logs", or put it into the URL, as '
                f"in {self.connect.scheme}://{self.connect.host}/logs/_bulk"
            )
        if (
            self.index
            and not self._varies
            and _clean_index(self.index.encode()) != (self.index.encode())
        ):
            yield (
                f"{where('index')}: found {shown(self.index)}; an index is lower case without "
                'spaces and any of \\ / * ? " < > | , # :, and begins with none of - _ +'
            )

    def warnings(self, where: Where) -> Iterator[str]:
        ways = [*self.credentials.ways, *(["index_file"] if self.index_file else [])]
        if self.connect.scheme == "http" and ways:
            yield (f"{where('connect')}: {ways[0]} is sent unencrypted over http://; use https://")
        if any(_shown_url(url) != url.partition("://")[2] for url in self.urls):
            yield (
                f"{where('connect')}: the path holds a token, which status shows; write it into a "
                "file, and name that in index_file"
            )


_KEYS_OF_BODIES = {"index": "bulk", "index_file": "bulk", "operation": "bulk", "labels": "loki"}


@dataclass(frozen=True, slots=True)
class HttpsConfiguration(HttpConfiguration):
    tls: TlsConfiguration = group(TlsConfiguration, without=UPSTREAM_TLS_WITHOUT)


def _shown_url(url: str) -> str:
    """A URL for people: without its scheme, and without tokens."""
    parts = url.partition("://")[2].split("/")
    return "/".join("****" if has_token_form(part.encode()) else part for part in parts)


def _clean_value(value: bytes) -> bytes:
    return _NOT_IN_INDEX.sub(b"_", value.lower())


def _clean_index(name: bytes) -> bytes:
    """An index that Elasticsearch takes, of any bytes."""
    name = _clean_value(name).lstrip(b"-_+")[:_INDEX_BYTES_MAX]
    return b"unnamed" if name.strip(b".") == b"" else name


def _visible_index(name: bytes) -> bytes:
    """The same, and none of the server's own, such as `.security`."""
    return _clean_index(_clean_value(name).lstrip(b"-_+."))


class HttpLink(LocalLink):
    """To a server over HTTP; without a connection while there is nothing to send."""

    def connect(self) -> None:
        LocalLink.connect(self)
        if isinstance(self._session, HttpSession):
            self._session.hurry()

    def cut(self, why: str) -> None:
        if self._session is not None:
            self._session.close()
            self._failed(self._starts, why)


def _make(configuration: HttpConfiguration, parts: DestinationParts) -> Delivery:
    files = Prerequisite("its messages are queued until the files are right")
    reactor, batches = parts.reactor, configuration.sizes.batches
    targets = _new_targets(configuration, parts, files)
    target = configuration.target
    how = f"sending to {target}, delivered when the server says so"
    causes: Counter[str] = Counter()
    has_keys = configuration.record_key is not None

    async def open_session(outlet: Outlet, on_failure: Callable[[str], None]) -> HttpSession:
        return HttpSession(
            SessionParts(
                outlet.drain,
                outlet.state,
                partial(_record, outlet.numbering, has_keys),
                on_failure,
                causes,
                how,
            ),
            _new_uploads(configuration, parts, targets),
            batches,
            now=parts.wall.now,
            clock=reactor,
        )

    return Delivery(
        new_link=lambda outlet: HttpLink(outlet, open_session, how=how, clock=reactor),
        target=target,
        is_confirmed=True,
        prerequisites=(files,),
        details=lambda: [
            *targets.details(),
            *([f"not delivered by a request: {_listed(causes)}"] if causes else []),
        ],
    )


def _new_targets(
    configuration: HttpConfiguration, parts: DestinationParts, files: Prerequisite
) -> Targets:
    """The targets of all sessions; probes connect to them and ask nothing."""
    subject = f"destination {configuration.id}"
    timeouts = Timeouts(configuration.connect_seconds_max, configuration.answer_seconds_max)
    found = new_targets(configuration, parts, files)
    for target, url in zip(found, configuration.urls, strict=True):
        target.shown = _shown_url(url)
    return Targets(
        found,
        configuration.several,
        new_protocol=lambda outlet: ProbeProtocol(
            state=outlet.state,
            clock=parts.reactor,
            secure=configuration.tls is not None,
            timeouts=timeouts,
        ),
        clock=parts.reactor,
        say=lambda text: _log.info("{subject}: {text}", subject=subject, text=text),
    )


def _new_node(
    configuration: HttpConfiguration, parts: DestinationParts, targets: Targets, number: int
) -> Node:
    """One session's use of the target with this number."""
    target = targets.all[number]
    endpoint: Endpoint = target.wrapped  # type: ignore[assignment]
    if target.tls is not None:
        endpoint = wrapClientTLS(target.tls, endpoint)  # type: ignore[arg-type]  # zope
    requests = Requests(
        configuration.urls[number],
        endpoint,
        target=target.name,
        secure=target.tls is not None,
        seconds_max=configuration.answer_seconds_max,
        connections_max=configuration.sizes.batches.requests_max,
        clock=parts.reactor,
    )
    return Node(target, requests, targets)


def _new_uploads(
    configuration: HttpConfiguration, parts: DestinationParts, targets: Targets
) -> Uploads:
    body = _BODIES[configuration.body]
    new_node = partial(_new_node, configuration, parts, targets)
    nodes = Nodes([*map(new_node, range(len(targets.all)))], targets)
    own = {"User-Agent": _USER_AGENT, "Content-Type": body.content_type}
    return Uploads(
        nodes,
        encode=body.encode(configuration),
        read=body.read,
        compress=configuration.sizes.compress,
        credentials=configuration.read_credentials,
        headers={**own, **dict(configuration.headers)},
        run_in_thread=parts.run_in_thread,
        now=parts.wall.now,
    )


def _record(numbering: Numbering | None, has_keys: bool, seq: int, data: bytes) -> bodies.Record:
    """The record `seq` as a request brings it."""
    index, payload = split_key(data) if has_keys else (None, data)
    return bodies.Record(payload, numbering.record_id(seq) if numbering else "", index or b"")


def _listed(causes: Counter[str]) -> str:
    """For status: causes with their counts, the most frequent first."""
    return ", ".join(f"{cause} {count:,}" for cause, count in causes.most_common())


def _probe(configuration: HttpConfiguration, probe: Probe) -> None:
    """Ask without a message: protocols that refuse an empty body look at who asks first."""
    body = configuration.body
    try:
        credentials = configuration.read_credentials()
    except UpstreamError as error:
        probe.fail("request", "token-missing", str(error), "put the secret into that file")
        credentials = Credentials({})
    own = {"User-Agent": _USER_AGENT, "Content-Type": _BODIES[body].content_type}
    headers = {**own, **dict(configuration.headers), **credentials.headers}
    method = "HEAD" if body in ("ndjson", "array") else "POST"
    for url in configuration.targets:
        path = url.path or _BODIES[body].path
        health = _BODIES[body].health_path(path)
        if credentials.index and not url.path:  # only with its name does a server look at it
            path = f"/{quote(credentials.index)}{path}"
        asking = Asking(method, path, headers, tuple(credentials.secrets), health=health)
        probe_upstream(probe, url, configuration.tls, asking, bind=configuration.bind)


HTTP = DestinationKind(
    scheme="http",
    address=_HttpAddress(80),
    configuration=HttpConfiguration,
    delivered="the server has answered that it has it, for `bulk` each message by itself",
    medium="tcp",
    several=True,
    make=_make,
    probe=_probe,
)
HTTPS = replace(
    HTTP,
    scheme="https",
    address=_HttpAddress(443),
    configuration=HttpsConfiguration,
    delivered="the same",
)
