"""Which battles are kept back for validation: whole groups of those that belong together, the same every time."""

import hashlib
from collections import Counter
from collections.abc import Sequence


def validation_groups(groups: Sequence[str], fraction: float) -> frozenset[str]:
    """The groups to keep back, so that about `fraction` of the battles are; `groups` names each battle's own.

    Groups are taken in an order that their names alone decide, and one that would be too many is passed over. With two
    groups or more and a fraction above 0, at least one is kept back and at least one is not.
    """
    sizes = Counter(groups)
    if fraction <= 0 or len(sizes) < 2:
        return frozenset()
    wanted = max(1, round(fraction * len(groups)))
    taken: set[str] = set()
    battles = 0
    for group in sorted(sizes, key=_rank):
        if battles + sizes[group] <= wanted and len(taken) < len(sizes) - 1:
            taken.add(group)
            battles += sizes[group]
    return frozenset(taken or {min(sizes, key=lambda group: (sizes[group], _rank(group)))})


def _rank(group: str) -> bytes:
    return hashlib.blake2b(f"alphastral/split/{group}".encode(errors="surrogatepass")).digest()
