"""Print the tables of docs/scaling.md: `python -m tests.scale`, or some of them by name."""

from __future__ import annotations

import argparse

from tests.scale.tables import TABLES


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)} (all)")
    given = parser.parse_args()
    for name in given.tables or TABLES:
        print(f"{name}:\n\n{TABLES[name]()}\n", flush=True)


if __name__ == "__main__":
    main()
