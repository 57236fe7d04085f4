"""The tests of packages need minutes, root and the packages themselves: `make test-packages`."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "PACKAGE_TESTS" in os.environ else ["test_*.py"]
