"""The commands about models: list policies, try one, bench a suite of them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from deploy.cli.options import LogLevel, MaxCost, MaxTokens, PolicyFile
from deploy.cli.show import err, out
from deploy.cli.suites import read_bench, read_policies
from services.arena.checks import pinned
from shared.jobs.limits import LocalLimiter
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging


def try_policy(
    policy: Annotated[str, typer.Argument(help="A policy that asks a model.")],
    state: Annotated[
        Path | None, typer.Option(help="A state as JSON; else one of ours, a turn with moves and switches.")
    ] = None,
    policies: PolicyFile = None,
) -> None:
    """Ask a model one question: prompt, constraint, raw answer, action, tokens and time."""
    from deploy.cli.trying import try_once
    from deploy.local_models import local_models

    configure_logging("WARNING")
    named = read_policies(policies) if policies else {}
    asked = named.get(policy, policy)
    with local_models((asked,), lambda sentence: err.print(escape(sentence))) as reach:
        chosen = asyncio.run(try_once(asked, state, Settings(), out.print, reach))
    if not chosen:
        raise typer.Exit(1)


def bench(
    suite: Annotated[Path, typer.Argument(help="A suite: a list of matchups, such as suites/published.toml.")],
    max_cost: MaxCost = None,
    max_tokens: MaxTokens = None,
    store: Annotated[Path, typer.Option(help="Where battles are kept, so that a bench can be resumed.")] = Path(
        "var/bench"
    ),
    retry_broken: Annotated[bool, typer.Option(help="Play battles again that broke.")] = False,
    log_level: LogLevel = None,
) -> None:
    """Play a suite's matchups, those battles that are not played yet, and print its table."""
    from deploy.cli.bench import play_suite
    from deploy.local_models import local_models
    from services.arena.policies.language_model import connector

    configure_logging(log_level or "WARNING")
    settings = Settings()
    asked = read_bench(suite, lambda request: pinned(request, Registry(Store(settings.store)), settings))
    policies = [policy for row in asked.rows for policy in (row.request.p1, row.request.p2)]
    with local_models(policies, lambda sentence: err.print(escape(sentence))) as reach:
        playing = play_suite(
            asked,
            store,
            settings,
            max_cost=max_cost,
            max_tokens=max_tokens,
            retry_broken=retry_broken,
            connect=reach(connector(settings, LocalLimiter())),
        )
        played = asyncio.run(playing)
    if not played:
        raise typer.Exit(1)
