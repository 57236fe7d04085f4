"""omelasticsearch and omhttp."""

from __future__ import annotations

import re
from collections.abc import Sequence

from relay.cli.moving.imported import ExtraFile
from relay.cli.moving.rsyslog.actions.output import (
    Keys,
    Output,
    form_of_action,
)
from relay.cli.moving.rsyslog.filters import NotSupported
from relay.cli.moving.rsyslog.language.values import Reader
from relay.cli.moving.rsyslog.settings import Settings
from relay.cli.toml_writing import TomlValue


def search(settings: Settings, read: Reader) -> Output:
    """The destination for omelasticsearch.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "StdJSONFmt", wants_lines=False)
    https = read.is_on("usehttps")
    servers = read.texts("server") or ["localhost"]
    port = read.text("serverport", "9200")
    keys = _http_keys(settings, read, servers, port, "https" if https else "http", "")
    index = read.text("searchindex", "system")
    if read.is_on("dynsearchindex"):
        keys["index"], more = settings.path(index)
        form.steps += more.steps
        form.notes += more.notes
    elif re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", index):
        settings.imported.report.hide(index)
        file = ExtraFile(f"{index}\n", is_secret=True)
        keys["index_file"] = settings.imported.add_file("index.token", file)
    else:
        keys["index"] = index.replace("$", "$$")
    if read.text("writeoperation", "index") == "create":
        keys["operation"] = "create"
    if read.has("bulkid") or read.is_on("dynbulkid"):
        read.said.approximated("bulkid: each document gets an _id by its number in the queue")
    read.ignore(
        [
            *("bulkmode", "errorfile", "erroronly", "interleaved", "asyncrepl", "dynbulkid"),
            *("searchtype", "dynsearchtype", "retryfailures", "retryruleset", "indextimeout"),
            *("healthchecktimeout", "rebindinterval", "skipverifyhost", "esversion.major"),
            *("ratelimit.interval", "ratelimit.burst", "timeout", "skippipelineifempty"),
        ],
        "documents that the server refuses are quarantined, others sent again",
    )
    read.refuse(
        ["parent", "dynparent", "pipelinename", "dynpipelinename"],
        "the bulk API's further keys",
    )
    return Output(f"search-{_host_of(servers[0])}", keys, form)


def http(settings: Settings, read: Reader) -> Output:
    """The destination for omhttp.

    Raises:
        NotSupported: The relay cannot do what it says.
    """
    form = form_of_action(settings, read, "StdJSONFmt", wants_lines=False)
    servers = read.texts("server") or ["localhost"]
    port, path = read.text("serverport", "443"), read.text("restpath").lstrip("/")
    scheme = "https" if read.is_on("usehttps", default=True) else "http"
    keys = _http_keys(settings, read, servers, port, scheme, path)
    batch = read.text("batch.format", "newline").lower()
    bodies = {"newline": "ndjson", "jsonarray": "array", "lokirest": "loki"}
    if batch not in bodies:
        raise NotSupported(f"batch.format={batch!r}")
    keys["body"] = bodies[batch]
    if size := read.number("batch.maxsize"):
        keys["batch_records"] = min(max(size, 1), 10_000)
    if not read.is_on("batch"):
        read.said.approximated("messages are sent in batches, a line each")
    if read.is_on("dynrestpath"):
        raise NotSupported("a path that depends on messages")
    if read.has("httpheaders") or read.has("httpheaderkey"):
        read.said.unsupported("headers: write them in the key headers of the destination")
        read.text("httpheadervalue")
    read.ignore(
        [
            *("errorfile", "retry", "retry.ruleset", "retry.addmetadata", "checkpath"),
            *("batch.maxbytes", "healthchecktimeout", "compress.level", "reloadonhup"),
            *("httpretrycodes", "httpignorablecodes", "httpcontenttype", "statsname"),
            *("statsbysenders", "ratelimit.interval", "ratelimit.burst", "token"),
        ],
        "what the server refuses is quarantined, the rest is sent again",
    )
    return Output(f"http-{_host_of(servers[0])}", keys, form)


def _http_keys(
    settings: Settings, read: Reader, servers: Sequence[str], port: str, scheme: str, path: str
) -> Keys:
    keys: Keys = {}
    urls: list[TomlValue] = []
    for server in servers:
        found = re.fullmatch(r"(?:(https?)://)?(\[[^\]]*\]|[^:/]+)(?::([0-9]+))?/?", server)
        if found is None:
            raise NotSupported(f"the server {server[:50]!r}")
        used = found[3] or port
        where = f"{found[1] or scheme}://{found[2]}:{used}"
        urls.append(f"{where}/{path}" if path else where)
    if any(str(url).startswith("https") for url in urls):
        files = {
            "trusted_ca": read.text("tls.cacert"),
            "certificate": read.text("tls.mycert"),
            "private_key": read.text("tls.myprivkey"),
        }
        keys |= {name: file for name, file in files.items() if file}
        if read.is_on("allowunsignedcerts"):
            keys["peer_verify"] = "none"
    else:
        for name in ("tls.cacert", "tls.mycert", "tls.myprivkey", "allowunsignedcerts"):
            read.text(name)
    if user := read.text("uid"):
        keys["user"] = user
    if password := read.text("pwd"):
        settings.imported.report.hide(password)
        file = ExtraFile(f"{password}\n", is_secret=True)
        keys["password_file"] = settings.imported.add_file("password.secret", file)
    if api_key := read.text("apikey"):
        settings.imported.report.hide(api_key)
        file = ExtraFile(f"{api_key}\n", is_secret=True)
        keys["api_key_file"] = settings.imported.add_file("api-key.secret", file)
    if read.is_on("compress"):
        keys["compress"] = "gzip"
    keys["connect"] = urls[0] if len(urls) == 1 else urls
    if len(urls) > 1:
        keys["policy"] = "balance"
    return keys


def _host_of(server: str) -> str:
    return re.sub(r"^https?://|[:/].*$", "", server)
