"""What is stored: the request of a matchup, the record of a battle, and the run that sums them up.

A run file keeps the three keys and the fields of the project that asked this question first, so that
its old files still read, and adds what makes a result checkable: seeds, pairs, the outcome of every
decision, software versions, and each battle's input log and public log.
In every record `p1` and `p2` are the policies as given; `p1_seat` says on which seat p1 sat.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from shared.battle.decision import AskRecord, Outcome, Reason
from shared.battle.protocol import Seat
from shared.document import Frozen, Strict, parse_json, read_file
from shared.errors import BrokenRecord, first_fault
from shared.verdicts.intervals import without_luck
from shared.verdicts.scores import Played, Winner
from shared.verdicts.sequential import SequentialTest, UntilDecided

Card = Literal["checked", "assumed"]
"""Whether a model's card names the contract that it is asked by, or its server shows none."""

SCHEMA_VERSION = 1
MAX_BATTLES = 100_000
MAX_CONCURRENCY = 256
MAX_TEAM_CHARACTERS = 20_000
MAX_POLICY_CHARACTERS = 300
MAX_RUN_BYTES = 1 << 30
"""Unpacked: 35,000 battles."""
TeamText = Annotated[str, Field(max_length=MAX_TEAM_CHARACTERS)]


class LuckAsked(Strict):
    """By what the luck of a battle is told. It is fixed before the first one."""

    value: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Hash of the value model."""
    copies: int = Field(ge=1, le=64)
    """Of each position, played with other dice."""
    share: float = Field(gt=0, le=1)
    """Of the luck, what is taken off the outcome."""


class MatchupRequest(Strict):
    """Two policies, N battles, one format, one seed."""

    p1: str = Field(min_length=1, max_length=MAX_POLICY_CHARACTERS)
    p2: str = Field(min_length=1, max_length=MAX_POLICY_CHARACTERS)
    battles: int = Field(default=1, ge=1, le=MAX_BATTLES)
    format: str = Field(default="gen9randombattle", max_length=60)
    seed: int = Field(default=0, ge=0, lt=2**63)
    pairs: bool = True
    """Play battles two by two, with the same seats, teams and dice and the policies exchanged."""
    concurrency: int = Field(default=8, ge=1, le=MAX_CONCURRENCY)
    """Battles at once in one shard."""
    move_delay: float = Field(default=0.0, ge=0.0, le=60.0)
    """Seconds to wait before each order is sent, so that a person can follow."""
    team1: str | None = Field(default=None, max_length=MAX_TEAM_CHARACTERS)
    """The team of seat p1 in Showdown's export format."""
    team2: str | None = Field(default=None, max_length=MAX_TEAM_CHARACTERS)
    battlefield: Literal["simulator", "server"] = "simulator"
    until_decided: UntilDecided | None = None
    """Stop as soon as it is decided who is stronger; `battles` is the maximum then."""
    max_cost_usd: float | None = Field(default=None, gt=0, le=1_000_000)
    """The matchup ends when this is spent, with what it has."""
    max_tokens: int | None = Field(default=None, gt=0, le=10**12)
    """The same for tokens, in and out together."""
    name1: str | None = Field(default=None, min_length=1, max_length=40)
    """What p1 is called in report and verdict, in place of its model's name."""
    name2: str | None = Field(default=None, min_length=1, max_length=40)
    luck: LuckAsked | None = None
    """Null where battles are not reviewed: outcomes are all that counts."""
    teacher: str | None = Field(
        default=None, min_length=1, max_length=MAX_POLICY_CHARACTERS, exclude_if=lambda teacher: teacher is None
    )
    """A policy that searches. It advises at every decision of both sides, and plays none of them."""


class AskedUntilDecided(UntilDecided):
    """When to stop."""

    max_battles: int = Field(default=400, ge=2, le=MAX_BATTLES)
    """Stop there, decided or not."""


class NewMatchup(MatchupRequest):
    """What is asked for, over HTTP and on the command line; what it leaves open is decided when it is accepted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"p1": "heuristic", "p2": "random", "battles": 20}]})

    seed: int | None = Field(default=None, ge=0, lt=2**63)  # type: ignore[assignment]
    """Drawn, and told, when not given."""
    pairs: bool | None = None  # type: ignore[assignment]
    """The same teams and dice twice, with the policies exchanged. By default wherever the simulator plays."""
    teams: tuple[TeamText | None, TeamText | None] | None = None
    """`team1` and `team2`; null for one of our sample teams."""
    until_decided: AskedUntilDecided | None = None
    """Play until it is decided who is stronger, in place of a number of battles."""
    luck: Literal["on", "off"] | None = None  # type: ignore[assignment]
    """Whether battles are reviewed and the luck is taken out. By default wherever that can be done."""

    @model_validator(mode="after")
    def _one_number_of_battles(self) -> "NewMatchup":
        if self.until_decided and "battles" in self.model_fields_set:
            raise ValueError("battles and until_decided exclude each other: max_battles says how many at most")
        return self

    def request(self, seed: int) -> MatchupRequest:
        """What is stored of it, with this seed where it names none."""
        given = self.model_dump(exclude={"teams", "luck"})
        if self.teams:
            given |= {"team1": self.teams[0], "team2": self.teams[1]}
        if self.until_decided:
            given["battles"] = given["until_decided"].pop("max_battles")
        if self.seed is None:
            given["seed"] = seed
        if self.pairs is None:
            given["pairs"] = self.battlefield == "simulator"
        return MatchupRequest.model_validate(given)


def _moment(written: str) -> str:
    """What can be reckoned with: a moment with its time zone, far from both ends of the calendar."""
    moment = datetime.fromisoformat(written)
    if moment.tzinfo is None or not 1900 < moment.year < 3000:
        raise ValueError("a moment of these times, with its time zone, stands here")
    return written


_Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ActionAdvice(Frozen):
    """What was said of one legal action when the decision was met."""

    order: str = Field(max_length=60)
    """As it is sent to Showdown."""
    probability: _Probability
    """How often the adviser would take it; over the actions of a decision they sum to 1."""
    value: _Probability
    """How likely the side wins after it."""


class AnyDecision(Frozen):
    """What is told of a decision wherever it is written. What an old file may lack can be None.

    Docstrings of fields stand in the published schema of run files; what is for us alone is a comment.
    """

    turn: int
    decision_ms: float
    history_msgs: int = 0  # messages of earlier turns that were sent along
    action_type: str
    reasoning: str | None = None
    move_id: str | None = None
    effectiveness: float | None = None  # multiplier of a damaging move's type against the opponent in sight
    policy: Seat | None = None
    """p1 or p2; an old file has only `agent`, which is ambiguous when a policy meets itself."""
    outcome: Outcome | None = None
    reason: Reason | None = None
    action: str | None = None  # the display name of the move, or of the Pokémon sent in
    gimmick: str | None = None
    order: str | None = None  # the text sent to Showdown
    legal_actions: int | None = None
    # Showdown's `[Unavailable choice]`: hidden information forbade what the request had permitted.
    refused_by_simulator: str | None = None
    asked: tuple[AskRecord, ...] = ()
    """Where a model was asked: each attempt, in order."""
    advice: tuple[ActionAdvice, ...] = Field(default=(), exclude_if=lambda advice: not advice)
    """Of the matchup's teacher, or of a policy that searches: on every legal action. Left out where nobody advised."""


class DecisionRecord(AnyDecision, Strict):
    """One decision, as stored with its battle."""

    policy: Seat
    seat: Seat
    order: str
    action_type: Literal["move", "switch", "lead", "pass", "forfeit"]
    action: str
    legal_actions: int
    outcome: Outcome


class Seeds(Strict):
    """The seeds of one battle. They belong to seats, so both battles of a pair share them."""

    dice: str
    p1_team: str
    p2_team: str
    p1_policy: int
    p2_policy: int


class ReviewStep(Strict):
    """From all choices to the next ones: a turn, or what was left of it after a forced switch."""

    turn: int
    chose: tuple[Seat, ...]
    """The policies that chose."""
    value: float
    """How likely p1 was to win after it, from 0 to 1."""
    luck: float
    """That, less its mean over copies of the position before it with the same choices and other dice."""


class BattleReview(Strict):
    """A battle looked back at. Values and luck are p1's, the policy's."""

    index: int
    pair: int | None
    winner: Winner | None
    """As in the battle's record."""
    asked: LuckAsked
    first: float | None = None
    """How likely p1 was to win before the first choice."""
    steps: tuple[ReviewStep, ...] = ()
    refused: str | None = None
    """Why there is none: the battle counts as played then."""

    @property
    def luck(self) -> float:
        """What is taken off p1's score."""
        return self.asked.share * sum(step.luck for step in self.steps)

    @property
    def played(self) -> Played:
        """The battle, and its luck."""
        return Played(self.pair, self.winner, luck=self.luck)


class AnyBattle(Frozen):
    """What is told of a battle wherever it is written. What an old file may lack can be None."""

    winner: Winner | None  # the policy that won, or draw; None for a broken battle
    battle_tag: str | None = None
    index: int | None = None
    pair: int | None = None  # the two battles of a pair share this number; None for an unpaired battle
    p1_seat: Seat | None = None
    broken: str | None = None  # why the battle could not go on, in a sentence
    forfeited: Seat | None = None  # the policy that gave up, having no usable answer and `forfeit` as its substitute
    duration_s: float | None = None
    seeds: Seeds | None = None  # None where the battlefield takes no seeds
    teams: tuple[str, str] | None = None  # names of the sample teams of seats p1 and p2, where they were ours
    worker: str | None = None
    input_log: tuple[str, ...] | None = None
    public_log: tuple[str, ...] | None = None


class BattleRecord(AnyBattle, Strict):
    """One battle, finished or broken."""

    schema_version: int = SCHEMA_VERSION
    index: int
    battle_tag: str
    p1_seat: Seat
    turns: int
    started_at: Annotated[str, AfterValidator(_moment)]
    """UTC, ISO 8601."""
    duration_s: float = Field(ge=0, le=1e9)
    worker: str
    versions: Mapping[str, str] = Field(default_factory=dict)
    """Software → version, of the process that played it."""
    contract: Mapping[str, str] = Field(default_factory=dict)
    """Contract version → hash, of each contract that a policy was asked by."""
    cards: Mapping[Seat, Card] = Field(default_factory=dict)
    """For each policy that asks a model."""
    decisions: tuple[DecisionRecord, ...]
    input_log: tuple[str, ...]
    public_log: tuple[str, ...]


class Unsubstituted(Frozen):
    """The finished battles in which neither policy had a decision substituted."""

    n_games: int
    p1_wins: int
    p2_wins: int
    draws: int
    p1_win_rate: float | None
    p1_win_rate_interval: tuple[float, float] | None


class Asking(Frozen):
    """What it took to ask a policy's model, over all recorded battles. Sums are of what is known."""

    asks: int
    """Questions put to the model."""
    second_asks: int
    """Of them, those that followed an answer that could not be used."""
    retries: int
    """How often the server had to be asked again before it took a question."""
    tokens_in: int | None
    """None where the server told none."""
    tokens_out: int | None
    asks_without_tokens: int
    """Asks of which the server told no tokens, or not both numbers."""
    cost_usd: float | None
    """Of the asks whose price is known; None where no price is known."""
    asks_without_cost: int
    median_first_token_ms: float | None
    median_answer_ms: float | None
    """From the question to the last token, without waiting and without retries."""
    waited_s: float = 0.0
    """For free places and for servers to come back, all asks together."""
    models: tuple[str, ...] = ()
    """What the server called the models that answered."""


class LuckSummary(Frozen):
    """p1's win rate with the luck taken out."""

    reviewed: int
    """Finished battles of which the luck is known; only these count here."""
    p1_win_rate: float
    """May lie a little outside of 0 to 1."""
    p1_win_rate_interval: tuple[float, float]
    """95 %, a pair taken as one observation."""
    given: float
    """What the dice gave p1, in win rate: the same battles as played, less `p1_win_rate`."""
    variance_gain: float | None
    """1.5: without the luck, these battles tell as much as half as many again do as played."""
    asked: LuckAsked


def luck_of(request: MatchupRequest, battles: Iterable[Played]) -> LuckSummary | None:
    """What the battles of which the luck is known say; None where there is none."""
    found = without_luck(battles)
    if request.luck is None or found is None:
        return None
    return LuckSummary(
        reviewed=found.battles,
        p1_win_rate=found.estimate,
        p1_win_rate_interval=found.interval,
        given=found.given,
        variance_gain=found.variance_gain,
        asked=request.luck,
    )


class Summary(Frozen):
    """The figures of a run. A field that an old file lacks is None."""

    p1_agent: str
    p2_agent: str
    n_games: int
    """Finished battles."""
    p1_wins: int
    p2_wins: int
    draws: int
    p1_win_rate: float | None
    avg_game_length: float | None = None
    """Turns."""
    total_duration_s: float | None = None
    p1_avg_decision_ms: float | None = None
    p2_avg_decision_ms: float | None = None
    p1_fallback_rate: float | None = None
    """Share of p1's decisions that were substituted."""
    p2_fallback_rate: float | None = None
    broken: int = 0
    not_played: int = 0
    """Battles asked for that have no record: the matchup was cancelled or a shard failed."""
    p1_win_rate_interval: tuple[float, float] | None = None
    """95 %, the two battles of a pair taken as one observation."""
    variance_removed_by_pairs: float | None = None
    """0.3: 70 of these battles are as good as 100 independent ones. None without pairs."""
    sequential_test: SequentialTest | None = None
    """What decided a matchup that was played until decided, or the last look at it."""
    p1_substitutions: int | None = None
    p2_substitutions: int | None = None
    p1_decisions: int | None = None
    p2_decisions: int | None = None
    p1_forfeits: int | None = None
    """Battles that p1 gave up."""
    p2_forfeits: int | None = None
    p1_substitutions_by_reason: Mapping[Reason, int] | None = None
    p2_substitutions_by_reason: Mapping[Reason, int] | None = None
    """Of them, `inexpressible_in_contract` is the contract's doing and not the model's."""
    unsubstituted: Unsubstituted | None = None
    luck: LuckSummary | None = None
    """None where no battle was reviewed."""
    p1_asking: Asking | None = None
    """None where p1 asks no model."""
    p2_asking: Asking | None = None

    @property
    def played_by_substitutes(self) -> tuple[Seat, ...]:
        """The policies that were asked for decisions and made none of them."""
        rates: Mapping[Seat, float | None] = {"p1": self.p1_fallback_rate, "p2": self.p2_fallback_rate}
        return tuple(seat for seat, rate in rates.items() if rate == 1)


class _BattleRow(Frozen):
    """How a row of the original project begins, in its order."""

    game_id: int | str
    p1_agent: str
    p2_agent: str
    winner: Winner | None
    n_turns: int
    timestamp: str | float | None = None


class RunBattle(AnyBattle, _BattleRow):
    """One row of a run's `battles`."""

    review: BattleReview | None = None
    """None where it was not reviewed."""

    @property
    def number(self) -> int | str:
        """By which pages and commands name it: counted from 0, or what an old file calls it."""
        return self.game_id if self.index is None else self.index


class _StatRow(Frozen):
    """How a row of the original project begins, in its order."""

    battle_tag: str
    turn: int
    agent: str
    decision_ms: float
    used_fallback: bool


class TurnStat(AnyDecision, _StatRow):
    """One row of a run's `turn_stats`: one decision."""


class Run(Frozen):
    """A matchup's whole result: what `alphastral battle` writes and `/matchups/ID/run` serves."""

    summary: Summary
    battles: tuple[RunBattle, ...]
    turn_stats: tuple[TurnStat, ...]
    schema_version: int | None = None
    matchup_id: str | None = None
    request: MatchupRequest | None = None
    contract: Mapping[str, str] | None = None
    """Contract version → hash, for each contract that the policies of this run were asked by."""
    cards: Mapping[Seat, str] | None = None
    """For each policy that asks a model: `checked` where its card names the contract, `assumed` where there is none."""
    versions: Mapping[str, str] | None = None
    """Software → version."""
    created_at: str | None = None
    cancelled: bool = False
    stopped: str | None = None
    """Why the matchup ended before its last battle, where nobody cancelled it: a budget was spent."""
    failures: Annotated[tuple[str, ...], Field(default=())]
    """Why shards failed, a sentence each."""


def read_run(path: Path) -> Run:
    """Read a run file, ours or the original project's, plain or gzipped.

    Raises BrokenRecord, naming the file and the field, when it is not one.
    """
    try:
        raw = read_file(path, MAX_RUN_BYTES)
    except (OSError, ValueError) as error:
        raise BrokenRecord(f"cannot read the run file {path}: {error}") from error
    return parse_run(raw, str(path))


def parse_run(raw: bytes, name: str) -> Run:
    """A run from its JSON text. Raises BrokenRecord, naming `name` and the first field at fault."""
    try:
        document = parse_json(raw)
    except ValueError as error:
        raise BrokenRecord(f"{name} is not a run file: it is no JSON ({error})") from error
    try:
        return _completed(Run.model_validate(document))
    except ValidationError as error:
        where, why = first_fault(error)
        raise BrokenRecord(f"{name} is not a run file: {where or 'the document'}: {why}") from error


def _completed(run: Run) -> Run:
    """An old run with what follows from what it tells: whose each decision was, and how it came about."""
    if all(stat.policy and stat.outcome for stat in run.turn_stats):
        return run
    p1, p2 = run.summary.p1_agent, run.summary.p2_agent
    # The project that asked first numbers its agents in a run's head (`large-24b33e`), but not at their decisions.
    short1, short2 = (name.rpartition("-")[0] for name in (p1, p2))
    policies: dict[str, Seat] = {} if short1 == short2 else {short1: "p1", short2: "p2"}
    policies |= {} if p1 == p2 else {p1: "p1", p2: "p2"}

    def completed(stat: TurnStat) -> TurnStat:
        outcome = stat.outcome or (Outcome.SUBSTITUTED if stat.used_fallback else Outcome.CHOSEN)
        return stat.model_copy(update={"policy": stat.policy or policies.get(stat.agent), "outcome": outcome})

    return run.model_copy(update={"turn_stats": tuple(map(completed, run.turn_stats))})
