"""TLS options of syslog-ng, as keys of the relay."""

from __future__ import annotations

import os
import re

from relay.cli.moving.report import Report
from relay.cli.moving.syslog_ng.options import Option, Options
from relay.cli.toml_writing import TomlValue

__all__ = ["tls_keys"]

_SYSTEM_AUTHORITIES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/ssl/certs/ca-certificates.crt")
_VERIFY = {
    "yes": "required",
    "required_trusted": "required",
    **dict.fromkeys(("no", "optional_untrusted"), "none"),
    "optional_trusted": "optional",
    "required_untrusted": "none",
}
_OLD = {"no_sslv2", "no_sslv3", "no_tlsv1", "no_tlsv11"}
_NEEDS_NONE = {
    "sni": "the relay names the server that it connects to",
    "allow_compress": "the relay never compresses inside of TLS",
    "dhparam_file": "the relay uses elliptic curves",
    "dhparams_file": "the relay uses elliptic curves",
    "ocsp_stapling_verify": "no: the relay checks revocation lists (crl)",
}


def tls_keys(option: Option, report: Report, *, is_source: bool) -> dict[str, TomlValue]:
    """The keys for ``tls(…)``.

    Args:
        is_source: It is the option of a listener.
    """
    options = Options(option.call, report)
    option.taken("see its options")
    keys: dict[str, TomlValue] = {}
    for name, key in (("cert_file", "certificate"), ("key_file", "private_key")):
        given = options.take_own(name)
        if given is not None:
            keys[key] = given.text
            given.taken(f"is {key}")
    _authorities(options, keys)
    _verification(options, keys, is_source=is_source)
    _versions(options, keys)
    options.pass_over(_NEEDS_NONE)
    options.finish()
    return keys


def _authorities(options: Options, keys: dict[str, TomlValue]) -> None:
    file, folder = options.take_own("ca_file"), options.take_own("ca_dir")
    for given in (file, folder):
        if given is None:
            continue
        if given.text.rstrip("/") in _SYSTEM_AUTHORITIES:
            given.taken("the relay trusts the system's authorities by default")
        elif given is file:
            keys["trusted_ca"] = given.text
            given.taken("is trusted_ca")
        else:
            keys["trusted_ca"] = os.path.join(given.text, "ca.pem")
            given.approximated(
                "the relay takes a file and no folder: write the certificates of the folder into "
                f"the file {keys['trusted_ca']}, one after the other"
            )
    crl = options.take_own("crl_dir")
    if crl is not None:
        crl.unsupported("the relay takes a file with all revocation lists: write it, and add crl")
    crl_file = options.take_own("crl_file")
    if crl_file is not None:
        keys["crl"] = crl_file.text
        crl_file.taken("is crl")


def _verification(options: Options, keys: dict[str, TomlValue], *, is_source: bool) -> None:
    verify = options.take_own("peer_verify")
    if verify is not None:
        word = verify.text.replace("-", "_").lower()
        value = _VERIFY.get(word)
        if value is None:
            verify.unsupported(f"there is no peer-verify({verify.text}); the default is used")
        elif value == "optional" and not is_source:
            verify.approximated("an upstream always has a certificate, which is verified")
        else:
            if value != "required":
                keys["peer_verify"] = value
            if word == "required_untrusted":
                verify.approximated("the relay asks for no certificate where it verifies none")
            else:
                verify.taken(f"is peer_verify, {value}")
    if keys.get("peer_verify") == "none":
        keys.pop("trusted_ca", None)
    trusted = options.take_own("trusted_keys")
    if trusted is not None:
        keys["peer_fingerprints"] = [*trusted.texts]
        trusted.approximated(
            "is peer_fingerprints: a certificate listed there need not be signed by an authority"
        )
    names = options.take_own("trusted_dn")
    if names is not None:
        common = [found[1] for text in names.texts if (found := re.search(r"CN=([^,]+)", text))]
        if common and is_source:
            keys["peer_names"] = [*common]
            names.approximated("is peer_names, which looks at names and not at the whole subject")
        else:
            names.unsupported("the relay verifies names of certificates: see peer_names")


def _versions(options: Options, keys: dict[str, TomlValue]) -> None:
    given = options.take_own("ssl_options")
    if given is not None:
        words = {text.replace("-", "_").lower() for text in given.texts}
        if "no_tlsv12" in words:
            keys["tls_version_min"] = "1.3"
        unknown = words - _OLD - {"no_tlsv12"}
        if unknown:
            given.unsupported(f"nothing of the relay is like {', '.join(sorted(unknown))}")
        else:
            given.taken("the relay speaks TLS 1.2 and later only")
    ciphers = options.take_own("cipher_suite")
    if ciphers is not None and ciphers.text:
        keys["tls_ciphers"] = ciphers.text
        ciphers.taken("is tls_ciphers")
