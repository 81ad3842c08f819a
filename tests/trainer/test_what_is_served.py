"""What is trained on is, token by token, what a live battle asks a server."""

import asyncio
from pathlib import Path

from services.arena.play import play
from services.arena.policies.language_model import connector
from services.scraper.datasets import build
from services.scraper.rows import Reader, Wanted
from services.scraper.sources import find_sources
from services.trainer.data import IGNORED, read_splits, tokens
from shared.jobs.limits import LocalLimiter
from shared.language.chat import prompt_ids
from shared.matchups import Matchups
from shared.records import MatchupRequest
from shared.settings import Settings
from shared.store import Store
from tests.language.tiny import tiny_tokenizer
from tests.standins.models import TGI, StandIn


async def test_a_live_decisions_question_is_the_trainers_input_for_the_same_state(tmp_path: Path) -> None:
    store, model, tokenizer = Store(str(tmp_path / "store")), StandIn(TGI), tiny_tokenizer()
    async with model.server:
        request = MatchupRequest(
            p1=f"tgi:own@{model.server.url}", p2="max-damage", battles=2, seed=3, pairs=False, concurrency=1
        )
        Matchups(store).create("m", request)
        await play(
            request,
            range(2),
            matchup_id="m",
            worker="test",
            on_record=lambda record: Matchups(store).record("m", record),
            connect=connector(Settings(_env_file=None), LocalLimiter()),
        )
    live = {tuple(prompt_ids(tokenizer, asked.body["messages"])) for asked in model.asked}
    # It runs battles in a loop of its own.
    await asyncio.to_thread(
        build,
        find_sources(["store:matchups/m"], store),
        Reader(Wanted(contract="v2", min_rating=None, winner_only=False, side="both"), (), None),
        tmp_path / "data",
        val_fraction=0.5,
        command="test",
    )

    splits = read_splits(tmp_path / "data", "v2")
    of_the_model = [row for row in (*splits.train, *splits.validation) if row.source.startswith("run:tgi")]
    made = tokens(of_the_model, tokenizer, loss="completion", max_length=5000)
    trained = {
        tuple(token for token, label in zip(ids, labels, strict=True) if label == IGNORED)
        for ids, labels in zip(made.input_ids, made.labels, strict=True)
    }
    assert len(trained) > 10
    assert trained <= live
