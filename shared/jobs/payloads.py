"""What a job carries: frozen models of plain JSON, one for each kind of job."""

from pydantic import BaseModel, ConfigDict, Field

_MATCHUP_ID = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")


class Payload(BaseModel):
    """Base of all payloads: nothing may be added, nothing may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlayShard(Payload):
    """Play battles `start` … `stop` - 1 of a matchup, those that have no record yet."""

    matchup_id: str = _MATCHUP_ID
    start: int = Field(ge=0)
    stop: int = Field(gt=0)
    seconds_per_battle: float = Field(gt=0, le=1e6)
    """How long one battle may take, were they played one after the other."""


class LookAtMatchup(Payload):
    """Look whether a matchup is decided, and enqueue what comes next: more shards, or its report."""

    matchup_id: str = _MATCHUP_ID
    revision: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    """What the store held when this was asked for."""


class WriteReport(Payload):
    """Write a matchup's run and report from what the store holds."""

    matchup_id: str = _MATCHUP_ID
    revision: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    """What the store held when this was asked for, so that a later state is another job and none is lost."""


class LookAtTournament(Payload):
    """Look at a tournament's matchups, and enqueue what comes next: more matchups, and its leaderboard."""

    tournament_id: str = _MATCHUP_ID
    revision: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    """What the store held when this was asked for."""


class WriteLeaderboard(Payload):
    """Write a tournament's table and page from the results that the store holds."""

    tournament_id: str = _MATCHUP_ID
    revision: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    """Of which results."""


class ScrapePages(Payload):
    """Fetch the replays of one range of a scrape's pages, those that are not stored yet."""

    scrape_id: str = _MATCHUP_ID
    number: int = Field(ge=0, lt=100_000)


class BuildDataset(Payload):
    """Build a dataset from what the store holds."""

    name: str = _MATCHUP_ID


class TrainModel(Payload):
    """Do a training, from its last checkpoint on."""

    training_id: str = _MATCHUP_ID
