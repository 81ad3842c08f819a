"""A tournament: many policies, a budget of battles, and which of them meet next.

What is played next is a function of the suite and of the results so far, taken in order. So a tournament that was
interrupted goes on as if nothing had happened.
"""

import tomllib
from collections.abc import Sequence
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.arena.asked import check_request
from shared.errors import UsageError
from shared.records import MAX_BATTLES, MAX_CONCURRENCY, MatchupRequest
from shared.verdicts.design import most_worth
from shared.verdicts.ratings import Meeting

MAX_POLICIES = 64

PolicyName = Annotated[str, Field(min_length=1, max_length=300)]


class Budget(BaseModel):
    """What a tournament may cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    battles: int = Field(ge=2, le=MAX_BATTLES)
    money: None = None
    """No policy has a price yet, so there is nothing to hold a budget of money against."""


class Suite(BaseModel):
    """Who plays, what, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policies: tuple[PolicyName, ...] = Field(min_length=2, max_length=MAX_POLICIES)
    anchors: tuple[PolicyName, ...] = ()
    """Where some are named, the others meet only these; else everybody meets everybody."""
    format: str = Field(default="gen9randombattle", max_length=60)
    seed: int = Field(default=0, ge=0, lt=2**63)
    battles: int = Field(default=20, ge=2, le=1_000, multiple_of=2)
    """Battles of one matchup, in pairs. Two policies may meet in several."""
    concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    budget: Budget

    @field_validator("policies", "anchors")
    @classmethod
    def _each_once(cls, policies: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(policies)) < len(policies):
            raise ValueError("a policy is named twice")
        return policies

    @model_validator(mode="after")
    def _anchors_play(self) -> "Suite":
        if not set(self.anchors) <= set(self.policies):
            raise ValueError("every anchor must be among the policies")
        return self

    @property
    def pairings(self) -> tuple[tuple[str, str], ...]:
        """Who may meet, in the order of their names, so that the order in the file decides nothing."""
        every = combinations(sorted(self.policies), 2)
        return tuple(pair for pair in every if not self.anchors or set(pair) & set(self.anchors))

    @property
    def id(self) -> str:
        """The same suite has the same id; another budget does not make it another, so it can be raised later."""
        told = self.model_dump_json(exclude={"budget", "concurrency", "policies", "anchors"})
        return sha256(f"{told}{sorted(self.policies)}{sorted(self.anchors)}".encode()).hexdigest()[:10]

    @property
    def matchups(self) -> int:
        """How many matchups the budget allows."""
        return self.budget.battles // self.battles


def read_suite(path: Path) -> Suite:
    """A suite from its TOML file. Raises UsageError, naming the field, when it is not one or cannot be played."""
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the suite {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML file: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the suite"
        raise UsageError(f"{path}: {where}: {first['msg']}") from error
    if suite.matchups == 0:
        raise UsageError(
            f"{path}: a budget of {suite.budget.battles} battles is not enough for one matchup of {suite.battles}"
        )
    for p1, p2 in suite.pairings:
        check_request(_request(suite, 0, p1, p2))
    return suite


def next_matchup(suite: Suite, results: Sequence[Meeting]) -> MatchupRequest | None:
    """The matchup to play after these, one result a matchup in order; None when the budget is used up."""
    number = len(results)
    if number >= suite.matchups:
        return None
    return _request(suite, number, *most_worth(suite.pairings, results, battles=suite.battles))


def _request(suite: Suite, number: int, p1: str, p2: str) -> MatchupRequest:
    return MatchupRequest(
        p1=p1,
        p2=p2,
        battles=suite.battles,
        format=suite.format,
        seed=int(sha256(f"alphastral/tournament/{suite.seed}/{number}".encode()).hexdigest()[:8], 16),
        concurrency=suite.concurrency,
    )
