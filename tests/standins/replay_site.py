"""A stand-in of the replay site: the documented search and its replays, as slow, busy and broken as a test wants it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.standins.http import Received, Reset, Send, Server

ROWS = 51
Trouble = Callable[[str, int], Send | float | Exception | None]
"""Path and how often it was asked for → an answer instead, seconds to wait, or an error to raise."""


@dataclass(slots=True)
class Site:
    """What it holds and what it was asked."""

    documents: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Id → the replay's JSON."""
    trouble: Trouble = lambda path, times: None
    asked: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    """Replays that were sent whole."""
    agents: set[str] = field(default_factory=set)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    """The documents, newest first."""
    at_once: int = 0
    most_at_once: int = 0
    misuse: list[str] = field(default_factory=list)

    def server(self) -> Server:
        return Server(self.respond)

    async def respond(self, request: Received) -> Send:
        self.agents.add(request.headers.get("user-agent", ""))
        self.asked[request.path] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            trouble = self.trouble(request.path, self.asked[request.path])
            if isinstance(trouble, Send):
                return trouble
            if isinstance(trouble, Exception):
                raise trouble
            await asyncio.sleep(trouble or 0.001)
            parts = urlsplit(request.path)
            if parts.path == "/search.json":
                return self._search({name: values[0] for name, values in parse_qs(parts.query).items()})
            return self._replay(parts.path)
        finally:
            self.at_once -= 1

    def _replay(self, path: str) -> Send:
        document = self.documents.get(path.removeprefix("/").removesuffix(".json"))
        if document is None:
            return Send(b"", status=404)
        self.served[path] += 1
        return Send(dict(document))

    def _search(self, query: Mapping[str, str]) -> Send:
        page, before = int(query.get("page", 1)), query.get("before")
        if (before and "page" in query) or not 1 <= page <= 100:
            self.misuse.append(str(query))
        if len(self.rows) != len(self.documents):
            self.rows = sorted(self.documents.values(), key=lambda row: (-row["uploadtime"], row["id"]))
        rows = self.rows
        rows = [row for row in rows if row["formatid"] == query.get("format", row["formatid"])]
        if before:
            rows = [row for row in rows if row["uploadtime"] < int(before)]
        if "user" in query:
            rows = [row for row in rows if query["user"] in row["players"]]
        start = (page - 1) * (ROWS - 1)
        keys = ("uploadtime", "id", "format", "players", "rating")
        found = [{key: row[key] for key in keys} | {"private": 0, "password": None} for row in rows]
        return Send(found[start : start + ROWS])


def document(
    number: int, *, rating: int | None = 1500, uploaded: int | None = None, log: str = "|start"
) -> dict[str, Any]:
    """A replay that is little more than its name."""
    return {
        "id": f"gen9randombattle-{number}",
        "format": "[Gen 9] Random Battle",
        "formatid": "gen9randombattle",
        "players": ["Red", f"Blue {number % 5}"],
        "log": log,
        "uploadtime": 1_700_000_000 + number if uploaded is None else uploaded,
        "rating": rating,
    }


__all__ = ["ROWS", "Reset", "Site", "document"]
