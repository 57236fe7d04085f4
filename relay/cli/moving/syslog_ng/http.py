"""Destinations of syslog-ng over HTTP, as `http://` and `https://` of the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from relay.cli.moving.report import Statement
from relay.cli.moving.syslog_ng.drafts import DestinationDraft, Reading, stamps_of, template_text
from relay.cli.moving.syslog_ng.options import Options
from relay.cli.moving.syslog_ng.security import tls_keys
from relay.cli.moving.syslog_ng.templates import constant_or_template, read_template
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.url import is_host

__all__ = ["HTTP_DRIVERS", "http_url"]

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):\s*([ -~]+)")
_OWN_HEADERS = ("content-type", "content-length", "content-encoding", "host", "user-agent")
_SEMATEXT = re.compile(r"logsene-receiver\.(eu\.)?sematext\.com")
ELASTIC_FORMAT: Mapping[str, TomlValue] = {
    "name": "json",
    "scope": ["rfc5424"],
    "select": [{"exclude": "DATE"}, {"key": "ISODATE"}],
    "pair": {"@timestamp": "$ISODATE"},
}
"""The document of elasticsearch-http() where it has no template."""


def http_url(text: str) -> str:
    """A URL as the relay takes it; empty if it is none."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        return ""
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not is_host(host) or parts.username is not None:
        return ""
    shown = f"[{host}]" if ":" in host else host
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if not re.fullmatch(r"(/[!-~]*)?", path):
        return ""
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{path}"


def _http(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    draft = _request(options, reading, statement)
    if draft is None:
        return None
    body = options.take_own("body")
    form = None
    if body is not None:
        form = read_template(template_text(body, reading), stamps_of(options))
        body.taken("is the format of messages")
        for doubt in form.doubts:
            body.approximated(doubt)
        for problem in form.unsupported:
            body.unsupported(problem)
        draft.keys |= form.keys
    prefix, suffix = options.take_own("body_prefix"), options.take_own("body_suffix")
    delimiter = options.take_own("delimiter")
    is_array = prefix is not None and prefix.text.strip() == "["
    draft.keys["body"] = "array" if is_array else "ndjson"
    for each in (prefix, suffix, delimiter):
        if each is not None:
            each.taken(f'is body = "{draft.keys["body"]}"')
    table = draft.keys.get("format")
    if not isinstance(table, dict) or table.get("name") != "json":
        statement.approximated(
            "the relay sends JSON: a text that is none is sent as the member message of an object"
        )
    method = options.take_own("method")
    if method is not None:
        if method.text.upper() == "POST":
            method.taken("the relay posts")
        else:
            method.unsupported("the relay posts")
    statement.taken(f"connect = {draft.keys['connect']}")
    return draft


def _elastic(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    draft = _request(options, reading, statement)
    if draft is None:
        return None
    template = options.take_own("template")
    draft.keys["format"] = dict(ELASTIC_FORMAT)
    if template is not None:
        form = read_template(template_text(template, reading), stamps_of(options))
        template.taken("is the format of documents")
        for problem in (*form.unsupported, *form.doubts):
            template.approximated(problem)
        if form.keys:
            draft.keys.pop("format")
            draft.keys |= form.keys
    _index(options, draft, reading, statement)
    options.pass_over(
        {
            "type": "there are no types since Elasticsearch 7",
            "op_type": "documents are indexed, with an _id that makes a repeat harmless",
            "custom_id": "the relay's _id makes a repeat harmless",
        }
    )
    statement.taken(f"connect = {draft.keys['connect']}, body = bulk")
    return draft


def _index(
    options: Options, draft: DestinationDraft, reading: Reading, statement: Statement
) -> None:
    index = options.take_own("index")
    url = str(draft.keys["connect"])
    host = urlsplit(url).hostname or ""
    if index is None:
        if urlsplit(url).path.strip("/") in ("", "_bulk"):
            draft.keys["index"] = "syslog-ng"
            statement.approximated("no index is given; syslog-ng is written, change it")
        return
    if _SEMATEXT.fullmatch(host):
        draft.keys["index_file"] = reading.secret_file("sematext.token", index.text)
        draft.keys.pop("format", None)
        index.taken("is the app's token, in the file index_file")
        return
    text, problem = constant_or_template(index.text)
    if problem:
        index.unsupported(problem)
    draft.keys["index"] = (text or "syslog-ng").lower() if "$" not in text else text
    index.taken("is index")


def _splunk(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    draft = _request(options, reading, statement)
    if draft is None:
        return None
    url = urlsplit(str(draft.keys["connect"]))
    if url.path in ("", "/"):
        draft.keys["connect"] = f"{url.scheme}://{url.netloc}"
    draft.keys["body"] = "splunk-hec"
    _token(options, draft, reading, "splunk.token")
    for name in ("event", "default_index", "default_source", "default_sourcetype", "index"):
        given = options.take_own(name)
        if given is not None:
            given.unsupported("events have the index and source that the token has at Splunk")
    statement.taken(f"connect = {draft.keys['connect']}, body = splunk-hec")
    return draft


def _logscale(options: Options, reading: Reading, statement: Statement) -> DestinationDraft | None:
    draft = _request(options, reading, statement, default_url="https://cloud.humio.com")
    if draft is None:
        return None
    url = urlsplit(str(draft.keys["connect"]))
    draft.keys["connect"] = f"{url.scheme}://{url.netloc}/api/v1/ingest/hec"
    draft.keys["body"] = "splunk-hec"
    _token(options, draft, reading, "logscale.token")
    statement.approximated("LogScale takes the events of Splunk's collector, which the relay sends")
    return draft


def _token(options: Options, draft: DestinationDraft, reading: Reading, name: str) -> None:
    token = options.take_own("token")
    if token is not None and token.text:
        draft.keys["token_file"] = reading.secret_file(name, token.text)
        token.taken("is in the file token_file")


def _request(
    options: Options, reading: Reading, statement: Statement, *, default_url: str = ""
) -> DestinationDraft | None:
    """Options that all of these drivers have."""
    given = options.take_own("url")
    texts = [word for text in given.texts for word in text.split()] if given is not None else []
    urls = [http_url(text) for text in texts or [default_url]]
    if not all(urls) or any("$" in url for url in urls):
        statement.unsupported(
            "the relay connects to URLs such as https://host:9200/path, without macros and users"
        )
        return None
    if given is not None:
        given.taken("is connect")
    draft = DestinationDraft({"connect": urls[0]})
    if len(urls) > 1:
        draft.keys = {"connect": [*dict.fromkeys(urls)], "policy": "balance"}
    tls = options.take_own("tls")
    if tls is not None:
        keys = tls_keys(tls, reading.report, is_source=False)
        if urls[0].startswith("https:"):
            draft.keys |= keys
    elif (plain := _plain_tls(options)) and urls[0].startswith("https:"):
        draft.keys |= plain
    _credentials(options, draft, reading)
    _batches(options, draft)
    options.flags()
    return draft


def _plain_tls(options: Options) -> dict[str, TomlValue]:
    """TLS options that older versions have beside the others."""
    keys: dict[str, TomlValue] = {}
    for name, key in (
        *(("ca_file", "trusted_ca"), ("cert_file", "certificate"), ("key_file", "private_key")),
    ):
        given = options.take_own(name)
        if given is not None:
            keys[key] = given.text
            given.taken(f"is {key}")
    verify = options.take_own("peer_verify")
    if verify is not None:
        if verify.flag is False:
            keys["peer_verify"] = "none"
        verify.taken("is peer_verify")
    return keys


def _credentials(options: Options, draft: DestinationDraft, reading: Reading) -> None:
    user, password = options.take_own("user"), options.take_own("password")
    if user is not None and password is not None and user.text:
        draft.keys["user"] = user.text
        draft.keys["password_file"] = reading.secret_file("http.password", password.text)
        user.taken("is user")
        password.taken("is in the file password_file")
    headers: dict[str, TomlValue] = {}
    given = options.take_own("headers")
    for text in given.texts if given is not None else ():
        found = _HEADER.fullmatch(text.strip())
        assert given is not None
        if found is None:
            given.unsupported(f"{text!r} is no header")
        elif found[1].lower() == "authorization":
            scheme, _, token = found[2].strip().partition(" ")
            if scheme.lower() == "bearer" and "password_file" not in draft.keys:
                draft.keys["token_file"] = reading.secret_file("http.token", token.strip())
                given.taken("Authorization is in the file token_file")
            elif scheme.lower() == "apikey" and "password_file" not in draft.keys:
                draft.keys["api_key_file"] = reading.secret_file("http.key", token.strip())
                given.taken("Authorization is in the file api_key_file")
            else:
                reading.report.hide(token.strip())
                given.unsupported("Authorization: write user and password_file, or token_file")
        elif found[1].lower() in _OWN_HEADERS:
            given.taken("the relay writes the headers that the body needs")
        else:
            headers[found[1]] = found[2].strip()
            given.taken("is headers")
    if headers:
        draft.keys["headers"] = headers


def _batches(options: Options, draft: DestinationDraft) -> None:
    lines = options.take_own("batch_lines", "flush_lines")
    if lines is not None and lines.whole:
        draft.keys["batch_records"] = min(lines.whole, 10_000)
        lines.taken("is batch_records")
    size = options.take_own("batch_bytes", "flush_bytes")
    if size is not None and size.whole:
        draft.keys["batch_bytes"] = max(1024, min(size.whole, 64 << 20))
        size.taken("is batch_bytes")
    wait = options.take_own("batch_timeout", "flush_timeout")
    if wait is not None and wait.whole is not None:
        draft.keys["batch_seconds"] = min(wait.whole / 1000, 60)
        wait.taken("is batch_seconds")
    workers = options.take_own("workers")
    if workers is not None and workers.whole:
        draft.keys["requests_max"] = min(workers.whole, 64)
        workers.taken("is requests_max")
    timeout = options.take_own("timeout")
    if timeout is not None and timeout.whole:
        draft.keys["answer_seconds_max"] = min(timeout.whole, 3600)
        timeout.taken("is answer_seconds_max")
    compression = options.take_own("content_compression")
    if compression is not None:
        if compression.text.lower() in ("gzip", "identity", "none", ""):
            if compression.text.lower() == "gzip":
                draft.keys["compress"] = "gzip"
            compression.taken("is compress")
        else:
            draft.keys["compress"] = "gzip"
            compression.approximated("compress is gzip: the relay has none, zstd and gzip")
    options.pass_over(
        {
            "worker_partition_key": "messages are sent in the order of the queue",
            "accept_redirects": "the relay follows no redirect, and says so",
            "user_agent": "the relay names itself",
            "content_type": "the body says it",
            "use_system_cert_store": "the relay trusts the system's authorities by default",
            "ssl_version": "the relay speaks TLS 1.2 and later",
        }
    )


_Reader = Callable[[Options, Reading, Statement], DestinationDraft | None]
HTTP_DRIVERS: Mapping[str, _Reader] = {
    "http": _http,
    **dict.fromkeys(("elasticsearch_http", "opensearch", "elasticsearch_datastream"), _elastic),
    **dict.fromkeys(("splunk_hec", "splunk_hec_event"), _splunk),
    "logscale": _logscale,
}
