"""Types of `numbers.pyx`."""

from collections.abc import Sequence

def format_record_numbers(lineage: str, seqs: Sequence[int], prev: int) -> list[bytes]: ...
def judge_numbers(
    numbers: Sequence[bytes | None], have: dict[str, int]
) -> tuple[list[int], dict[str, int], list[str], int, int, int, int]: ...
