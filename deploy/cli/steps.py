"""Steps of a command that does work of several kinds over a store of its own, and goes on where it was interrupted."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from deploy.cli.play import drain
from deploy.serving import served
from services.arena.matchups import MatchupWork
from shared.errors import AlphaStralError
from shared.jobs.inline import Inline
from shared.records import NewMatchup
from shared.settings import Settings, child_environment
from shared.store import Store
from shared.work import State, WorkKind, ask

B = TypeVar("B", bound=BaseModel)


class Steps:
    """Each is done once, over the store DIR/store, and what failed before gets another try."""

    def __init__(self, folder: Path, settings: Settings, *, key: str, serving: Sequence[str] = ()) -> None:
        """`key` begins the names of what is asked for; `serving` are options of the built-in server."""
        self.folder, self.key, self.serving = folder, key, serving
        own = {"store": str((folder / "store").absolute()), "redis_url": None, "endpoints_file": None}
        self.settings = settings.model_copy(update=own)
        self.store = Store(self.settings.store)
        self.matchups = MatchupWork(self.store, self.settings)

    def asked(self, kind: WorkKind[B, Any], asked: B, name: str | None) -> str:
        """Ask for work, once; its id."""
        key = name and f"{self.key}-{name}"
        return ask(kind, asked, Inline(self.store, self.settings), key=key)

    def finished(
        self,
        kind: WorkKind[B, Any],
        asked: B,
        name: str | None,
        label: str = "",
        *,
        begin: Callable[[str], object] = lambda id: None,
        also: Callable[[Any], object] = lambda told: None,
    ) -> str:
        """Ask for work and do its jobs, after what `begin` does of them; its id.

        Raises AlphaStralError where it does not finish, and KeyboardInterrupt where Ctrl-C ended it.
        """
        id = self.asked(kind, asked, name)
        kind.asked.forget(id)
        begin(id)
        interrupted = drain(self.store, self.settings, kind.jobs(id), lambda *_: label, also=also)
        if (state := kind.standing(id).state) is State.FINISHED:
            return id
        if interrupted:
            raise KeyboardInterrupt
        raise AlphaStralError(f"{kind.asked.noun} {id} has {state}: {'; '.join(kind.asked.failures(id).values())}")

    def fought(self, asked: Mapping[str, NewMatchup], models: Sequence[str]) -> dict[str, str]:
        """Question → matchup, each played, while one built-in server has these models."""
        environment = child_environment(ALPHASTRAL_STORE=self.settings.store)
        with served(self.settings.served_folder, models, *self.serving, environment=environment):
            return {
                question: self.finished(self.matchups, each, f"{question}-{each.p1}", question)
                for question, each in asked.items()
            }
