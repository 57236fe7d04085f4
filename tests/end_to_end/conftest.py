"""What the end-to-end tests need: programs that end with the test, and certificates."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.processes import Programs, running_programs


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Programs added here end with the test; their logs are shown if it failed."""
    with running_programs() as running:
        yield running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificate_files(tmp_path_factory.mktemp("certificates"))
