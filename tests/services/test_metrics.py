"""What the arena counts for Prometheus, and how the API tells it."""

import asyncio
from pathlib import Path

from deploy.api import exposition
from shared.battle.decision import AskRecord, Outcome
from shared.jobs.live import counts_of, staged
from shared.jobs.queue import Queues, connect
from shared.settings import Settings
from tests.services.made import battle, move


def test_counts_add_up_over_workers_and_are_told_in_prometheus_words(redis_url: str, tmp_path: Path) -> None:
    asked = (AskRecord(prompt="p", answer="a", tokens_in=300, tokens_out=8, cost_usd=0.5, last_token_ms=250.0),)
    made = move("p1", 1).model_copy(update={"asked": asked})
    record = battle(0, decisions=[made, move("p2", 1, outcome=Outcome.SUBSTITUTED)])

    async def work() -> None:
        async with staged("one", "m", Settings(redis_url=redis_url, store=str(tmp_path))) as stage:
            stage.counts += counts_of(record)
            stage.counts += counts_of(battle(1, None))

    asyncio.run(work())
    asyncio.run(work())
    with connect(redis_url) as connection:
        lines = exposition(Queues(connection)).decode().splitlines()
    assert 'alphastral_battles_total{kind="finished"} 2.0' in lines
    assert 'alphastral_battles_total{kind="broken"} 2.0' in lines
    assert 'alphastral_decisions_total{kind="substituted"} 2.0' in lines
    assert 'alphastral_tokens_total{kind="in"} 600.0' in lines
    assert 'alphastral_cost_usd_total{kind=""} 1.0' in lines
    assert "alphastral_answer_seconds_count 2.0" in lines and "alphastral_answer_seconds_sum 0.5" in lines
    assert 'alphastral_queue_jobs{queue="arena"} 0.0' in lines
