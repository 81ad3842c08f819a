"""The teams of a matchup: given in Showdown's export format, or two of our own."""

from dataclasses import dataclass
from pathlib import Path

from services.arena.battlefields import Battlefield
from shared.battle.protocol import SEATS, Seat
from shared.errors import InvalidTeam
from shared.policies import check_format
from shared.records import MatchupRequest

SAMPLES = Path(__file__).with_name("sample_teams")


@dataclass(frozen=True, slots=True)
class Teams:
    """Packed teams by seat, and what ours are called."""

    packed: dict[Seat, str]
    names: tuple[str, str] | None


async def resolve_teams(request: MatchupRequest, battlefield: Battlefield) -> Teams | None:
    """The teams that both seats play; None for a format that draws its own.

    Raises InvalidTeam, with the simulator's own reasons, when the format forbids one.
    """
    if not check_format(request.format).needs_team:
        return None
    given = {"p1": request.team1, "p2": request.team2}
    sample_names = sorted(path.stem for path in SAMPLES.glob(f"{request.format}-*.txt"))
    packed: dict[Seat, str] = {}
    names: list[str] = []
    for seat, field, sample in zip(SEATS, ("team1", "team2"), sample_names, strict=True):
        team = given[seat]
        try:
            packed[seat] = await battlefield.validate_team(request.format, team or _sample(sample))
        except InvalidTeam as error:
            raise InvalidTeam(f"{field} may not be used in {request.format}:", error.reasons, field=field) from error
        names.append(field if team else sample)
    return Teams(packed, (names[0], names[1]))


def _sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_text()
