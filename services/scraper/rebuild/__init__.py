"""What each side knew and did, rebuilt from a battle's public log alone.

The log is read twice. First as a whole: what was chosen (`choices`), and what each side knew of its own team before it
showed (`own_team`). Then from each side's seat, line by line: a tracker hears what that side heard, and is sent the
request that it must have been sent (`own_request`), so that states are drawn by the same code as in a live battle. At a
request, a side knows the lines before it and its own team; nothing that comes later about its opponent.
"""

from collections import Counter
from collections.abc import Sequence

from services.scraper.rebuild.choices import LoggedChoice, SentIn, Unknown, UsedMove, read_choices
from services.scraper.rebuild.own_request import OwnRequest
from services.scraper.rebuild.own_team import OwnTeams, learn
from services.scraper.rebuild.public_log import (
    GENERATION,
    Header,
    battle_lines,
    in_percent,
)
from services.scraper.replay import BattleRead, MadeDecision, Unfit, UnfitBattle, action_kind
from shared.battle.action import Action, Move, Switch
from shared.battle.pokedex import Pokedex, pokedex, to_id
from shared.battle.protocol import SEATS, Line, Seat, name_of, seat_of
from shared.battle.state import BattleState
from shared.battle.tracker import Tracker


def rebuild(log: Sequence[str]) -> BattleRead:
    """Both sides' decisions, from a public log. Raises UnfitBattle for a log that is dropped as a whole.

    HP may be exact or in percent. Lines that are no part of the battle (chat, clocks, pages) are left aside.
    """
    lines = battle_lines(log)
    header = Header.read(lines)
    try:
        return _read(lines, header)
    except (LookupError, ValueError) as error:
        # Lines that each look right and together can't be: names from nowhere, numbers that are none.
        raise UnfitBattle(Unfit.MALFORMED) from error


def _read(lines: Sequence[Line], header: Header) -> BattleRead:
    known = learn(lines)
    unknown: Counter[str] = Counter()
    made: list[tuple[int, MadeDecision]] = []
    choices = read_choices(lines)
    as_seen = [in_percent(line) for line in lines]
    for seat in SEATS:
        rebuilder = _Rebuilder(seat, lines, as_seen, known, header)
        for choice in sorted((each for each in choices if each.seat == seat), key=lambda each: each.at):
            result = rebuilder.decision(choice)
            if isinstance(result, MadeDecision):
                made.append((choice.at, result))
            else:
                unknown[result] += 1
    made.sort(key=lambda each: (each[0], each[1].seat))
    return BattleRead(tuple(each for _, each in made), unknown, header.names, header.winner)


class _Rebuilder:
    """Follows the battle from one seat. Choices must come in the order of the log."""

    def __init__(
        self, seat: Seat, lines: Sequence[Line], as_seen: Sequence[Line], known: OwnTeams, header: Header
    ) -> None:
        self._seat = seat
        self._dex: Pokedex = pokedex(GENERATION)
        self._lines, self._as_seen, self._known = lines, as_seen, known
        self._tracker = Tracker(GENERATION, seat, header.names)
        self._own_request = OwnRequest(seat, known, self._dex, header.preview[seat], header.size(seat))
        self._heard = 0

    def decision(self, choice: LoggedChoice) -> MadeDecision | Unknown:
        """What was known and done at that choice, or why that is not known."""
        self._hear(choice.at)
        shown = choice.shown
        if shown is Unknown.FORCED or shown is Unknown.ENDED:
            return shown
        if self._known.is_doubtful(choice.at, self._seat) or (
            isinstance(shown, SentIn) and self._known.may_be_another(shown.line)
        ):
            return Unknown.DISGUISED
        if isinstance(shown, Unknown) and not self._own_request.moves_are_sure(choice.at):
            return shown
        request = self._own_request.request(choice.wanted, choice.at)
        self._tracker.request(request)
        state = self._tracker.state()
        action = self._action(choice, state)
        if isinstance(action, Unknown):
            return action
        complete = self._is_complete(choice)
        if len(state.legal) == 1 and complete:
            return Unknown.ONLY_ACTION
        return MadeDecision(
            choice.turn, self._seat, state, action, action_kind(action, state), block=choice.block, complete=complete
        )

    def _hear(self, until: int) -> None:
        lines = []
        for index in range(self._heard, until):
            line = self._lines[index]
            own = len(line) > 2 and seat_of(line[2]) == self._seat
            lines.append("|".join(line if own else self._as_seen[index]))
            self._own_request.see(index, self._known.lines[index])
        self._tracker.hear(lines)
        self._heard = max(self._heard, until)

    def _action(self, choice: LoggedChoice, state: BattleState) -> Action | Unknown:
        gimmick = "tera" if choice.tera else None
        moves = [each for each in state.legal if isinstance(each, Move) and each.gimmick == gimmick]
        found: Sequence[Action]
        match choice.shown:
            case UsedMove(name):
                found = [each for each in moves if each.id == to_id(name)]
            case SentIn(line):
                slot = self._own_request.slot_of(name_of(self._known.lines[line][2]))
                found = [each for each in state.legal if isinstance(each, Switch) and each.slot == slot]
            case Unknown() as why:
                # It chose a move, since it stayed in; which one is plain where there was only one to choose.
                if sum(isinstance(each, Move) and not each.gimmick for each in state.legal) != 1:
                    return why
                found = moves
        return found[0] if found else Unknown.CONTRADICTED

    def _is_complete(self, choice: LoggedChoice) -> bool:
        if choice.wanted != "move":
            return self._own_request.team_is_sure()
        switches = self._own_request.team_is_sure() or self._own_request.trapped(choice.at)
        return switches and self._own_request.moves_are_sure(choice.at)
