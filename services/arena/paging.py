"""Lists that are shown page by page, newest first: the order of what lies in the store, and where a page begins."""

from collections.abc import Callable, Iterable
from datetime import datetime

from shared.errors import NotFound


class Newest:
    """Remembers when things were made, which never changes, and cuts pages by it."""

    def __init__(self, created_at: Callable[[str], datetime]) -> None:
        """`created_at` raises NotFound for what has no request."""
        self._look_up = created_at
        self._created: dict[str, datetime] = {}

    def created_at(self, name: str) -> datetime:
        """When it was asked for. Raises NotFound."""
        if name not in self._created:
            self._created[name] = self._look_up(name)
        return self._created[name]

    def page(self, names: Iterable[str], limit: int, cursor: str | None) -> tuple[list[str], str | None]:
        """At most `limit` names, and the next page's cursor; None on the last."""
        # A cursor is the place of the last one shown, so that new ones shift nothing.
        places = sorted(filter(None, map(self._place, names)), reverse=True)
        after = [place for place in places if cursor is None or place < cursor]
        shown = [place.partition("_")[2] for place in after[:limit]]
        return shown, after[limit - 1] if len(after) > limit else None

    def _place(self, name: str) -> str | None:
        try:
            return f"{self.created_at(name):%Y%m%dT%H%M%S%f}_{name}"
        except NotFound:
            return None  # A folder that a process left behind that died before it wrote the request.
