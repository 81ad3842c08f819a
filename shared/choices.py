"""What a battle's decisions cost: each with what the other legal choices would have been worth (choices.js).

It is worked out where somebody asks for it, since it is far dearer than the luck of a battle, and is kept beside what
it is about: of a stored matchup in matchups/ID/choices/NNNNN.json.gz, of a run file NAME.json in NAME.choices.jsonl.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from shared.battle.protocol import Seat
from shared.document import Finite
from shared.errors import AlphaStralError
from shared.records import AnyBattle
from shared.verdicts.scores import Winner

DecisionKind = Literal["move", "switch", "tera", "forced switch", "lead"]
"""`tera` is a move with any gimmick; a forced switch follows a faint, or a move such as U-turn."""


class ChoicesAsked(Finite):
    """How the choices of a battle are weighed."""

    value: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Hash of the value model."""
    table: int = Field(default=1, ge=1, le=64)
    """Dice for each pair of choices."""
    fresh: int = Field(default=16, ge=2, le=256)
    """Further dice for the choice made and the best other one."""
    least: float = Field(default=0.03, ge=0, le=1)
    """By how much that one must be better in the table for them to be thrown."""


class OnField(Finite):
    """One side before a decision."""

    name: str
    hp: int
    """Of the active Pokémon, in percent."""
    status: str
    boosts: dict[str, int]
    left: int
    """Pokémon that have not fainted."""


class LegalChoice(Finite):
    """A legal choice, and what it was worth to who had it: chances to win, from 0 to 1, by the table."""

    order: str
    """As the simulator writes it: `move surf terastallize`, `switch 3`."""
    name: str
    """The move, or the Pokémon that would come in."""
    value: float
    """Mean over the opponent's plausible choices: what could be known."""
    hindsight: float
    """Against the one that the opponent made."""

    @property
    def words(self) -> str:
        """`Surf with Tera`, `switch to Gyarados`."""
        word, *rest = self.order.split(" ")
        if word != "move":
            return f"{'lead with' if word == 'team' else 'switch to'} {self.name}"
        gimmick = rest[1] if len(rest) > 1 else ""
        return f"{self.name} with {'Tera' if gimmick == 'terastallize' else gimmick}" if gimmick else self.name


class ReviewedDecision(Finite):
    """One decision with more than one legal choice. Losses are in chances to win, of the policy that decided."""

    policy: Seat
    number: int
    """Which of the policy's choices in the battle, from 0 on; those that the simulator refused do not count."""
    turn: int
    kind: DecisionKind
    own: OnField
    opposing: OnField
    options: tuple[LegalChoice, ...]
    """The one made first."""
    best: int
    """The best other one, of `options`; 0 where none was clearly better."""
    loss: float
    """By how much it would have been better, over the opponent's plausible choices."""
    error: float
    """Standard error of that, of the dice alone."""
    hindsight: float
    """The same against what the opponent chose."""
    hindsight_error: float
    wins: bool
    """Whether it would most likely have won the battle at once: on three quarters of the fresh dice or more."""
    reasoning: str | None = None
    """Why the policy chose so, where it said so."""

    @property
    def cost(self) -> float:
        """What ranks it: the smaller of both losses. It did cost that much, and so much could be known before."""
        return max(0.0, min(self.loss, self.hindsight))


class ChoiceReview(Finite):
    """The decisions of both sides of a battle."""

    index: int
    tag: str
    winner: Winner | None
    asked: ChoicesAsked
    decisions: tuple[ReviewedDecision, ...] = ()
    refused: str | None = None
    """Why there are none."""


def beside(run_file: Path) -> Path:
    """Where the choices of a run file's battles are kept."""
    return run_file.with_name(run_file.name.removesuffix(".gz").removesuffix(".json") + ".choices.jsonl")


def read_choices(run_file: Path, battles: Iterable[AnyBattle]) -> dict[int, ChoiceReview]:
    """Index → choices of those of these battles whose choices are kept beside the file. A torn line is passed over."""
    tags = {battle.battle_tag: battle.index for battle in battles}
    found = {}
    path = beside(run_file)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            review = ChoiceReview.model_validate_json(line)
        except ValidationError:
            continue
        if tags.get(review.tag) == review.index:
            found[review.index] = review
    return found


def keep_choices(run_file: Path, review: ChoiceReview) -> None:
    """Keep those of one more battle, or others of the same. Raises AlphaStralError where that is not possible."""
    try:
        with beside(run_file).open("a", encoding="utf-8") as file:
            file.write(review.model_dump_json() + "\n")
    except OSError as error:
        raise AlphaStralError(f"cannot write {beside(run_file)}: {error.strerror}") from error
