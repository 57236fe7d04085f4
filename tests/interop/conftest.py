"""What the interoperability tests need: the packages, certificates, programs that end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.interop.lab import Lab
from tests.interop.packages import PackagesRoot, unpacked
from tests.processes import running_programs


@pytest.fixture(scope="session")
def packages() -> PackagesRoot:
    """The unpacked packages; without them the test is skipped, and fails where CI=true."""
    found = unpacked()
    if found is None:
        reason = "no rsyslog, syslog-ng and journalctl: run python -m tests.interop.packages"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificate_files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def lab(packages: PackagesRoot, certificates: CertificateFiles, tmp_path: Path) -> Iterator[Lab]:
    """Its programs end with the test; their logs are shown if it failed."""
    with running_programs() as running:
        yield Lab(packages, certificates, running, tmp_path)
