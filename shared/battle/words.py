"""Showdown's battle log in plain English, a sentence a line, for people who watch or open a battle.

What each line means is told in SIM-PROTOCOL.md of the pokemon-showdown repository. A kind of line that is not known
here is shown as it stands, so that nothing of a battle is hidden.
"""

from collections.abc import Mapping, Sequence

from shared.battle.protocol import Seat, hp_percent, read_details, seat_of
from shared.text import one_line, shown

_MAX_CHARACTERS = 300

# Besides these, kinds without a dash are bookkeeping and chat.
_MAJOR = frozenset(("move", "switch", "drag", "replace", "cant", "faint", "message", "win", "tie"))
_SILENT = frozenset(("-anim", "-waiting", "-combine", "-notarget", "-candynamax", "-center"))
_SENTENCES: Mapping[str, str] = {
    "move": "{who} used {what}{by}.",
    "replace": "It was {species} in disguise.",
    "faint": "{who} fainted.",
    "-curestatus": "{who} was cured of its {status}{by}.",
    "-cureteam": "{owner}'s team was cured{by}.",
    "-setboost": "{who}'s {stat} is at {third} stages now{by}.",
    "-clearboost": "{who}'s stat changes are gone{by}.",
    "-clearallboost": "All stat changes are gone{by}.",
    "-clearpositiveboost": "{who}'s raised stats are as before{by}.",
    "-clearnegativeboost": "{who}'s lowered stats are as before{by}.",
    "-invertboost": "{who}'s stat changes were turned upside down{by}.",
    "-swapboost": "{who} swapped stat changes with {target}{by}.",
    "-copyboost": "{who} copied the stat changes of {target}{by}.",
    "-fieldstart": "{first} began{by}.",
    "-fieldend": "{first} ended{by}.",
    "-sidestart": "{owner}'s side is under {effect} now{by}.",
    "-sideend": "{owner}'s side is no longer under {effect}{by}.",
    "-swapsideconditions": "The effects on both sides changed places.",
    "-end": "{effect} ended on {who}{by}.",
    "-activate": "{effect}: {who}{by}.",
    "-singleturn": "{who} is under {effect} for this turn{by}.",
    "-singlemove": "{who} is under {effect} until its next move{by}.",
    "-crit": "A critical hit on {who}!",
    "-supereffective": "It is super effective on {who}.",
    "-resisted": "It is not very effective on {who}.",
    "-immune": "It does not affect {who}{by}.",
    "-fail": "It failed on {who}{by}.",
    "-block": "{who} was protected by {effect}.",
    "-hitcount": "It hit {what} times.",
    "-prepare": "{who} prepares {what}.",
    "-mustrecharge": "{who} must recharge.",
    "-item": "{who} has its {what}{by}.",
    "-enditem": "{who} no longer has its {what}{by}.",
    "-ability": "{who}'s ability is {what}{by}.",
    "-endability": "{who}'s ability is suppressed{by}.",
    "-transform": "{who} transformed into {target}{by}.",
    "-formechange": "{who} changed into {species}{by}.",
    "-terastallize": "{who} terastallized into the {what} type.",
    "-mega": "{who} mega evolved.",
    "-primal": "{who} went back to its primal form.",
    "-burst": "{who} became {what}.",
    "-zpower": "{who} uses its Z-Power.",
    "-zbroken": "{who} could not quite protect itself.",
    "-ohko": "A one-hit knockout!",
    "-nothing": "Nothing happened.",
    "-hint": "{first}",
    "-message": "{first}",
    "message": "{first}",
    "win": "{winner} won.",
    "tie": "The battle ended in a draw.",
}
_STATS = {"atk": "Attack", "def": "Defense", "spa": "Special Attack", "spd": "Special Defense", "spe": "Speed"}
_BECAME = dict(
    brn="was burned",
    frz="was frozen",
    par="was paralyzed",
    psn="was poisoned",
    slp="fell asleep",
    tox="was badly poisoned",
)
_STATUS = dict(brn="burn", frz="freeze", par="paralysis", psn="poison", tox="poison", slp="sleep")
_CANT = dict(
    slp="is asleep",
    frz="is frozen",
    par="is fully paralyzed",
    flinch="flinched",
    recharge="must recharge",
    nopp="has no PP left",
    Attract="is in love",
    Truant="loafs around",
)
_WEATHER = dict(
    RainDance="rain",
    PrimordialSea="heavy rain",
    SunnyDay="harsh sunlight",
    DesolateLand="extremely harsh sunlight",
    Sandstorm="a sandstorm",
    DeltaStream="strong winds",
    Hail="hail",
    Snow="snow",
    Snowscape="snow",
)


class Words:
    """Tells one battle's log, line by line. `names` are what the players of both seats are to be called."""

    def __init__(self, names: Mapping[Seat, str]) -> None:
        self._names = names
        self._hp_percent: dict[str, int] = {}
        self._players: dict[str, Seat] = {}
        self.winner: Seat | None = None

    def say(self, fields: Sequence[str]) -> str | None:
        """The sentence of a line, split at `|`; None for one that tells a spectator nothing."""
        kind, *rest = fields[1:] or [""]
        self._meet(kind, rest)
        if "[silent]" in rest or kind in _SILENT or (kind[:1] != "-" and kind not in _MAJOR):
            self._remember(kind, rest)
            return None
        try:
            sentence = self._sentence(kind, rest)
        except (IndexError, ValueError):  # Shorter than its kind is, or no number where there should be one.
            sentence = _as_it_stands(kind, rest)
        return shown(one_line(sentence, _MAX_CHARACTERS)).replace(" %", "\u00a0%") if sentence else None

    def _sentence(self, kind: str, rest: Sequence[str]) -> str | None:
        subject, what = (*rest, "", "")[:2]
        who, by = _called(subject), _because(rest)
        third = f" {rest[2]}" if len(rest) > 2 and rest[2] and not rest[2].startswith("[") else ""
        match kind:
            case "switch" | "drag":
                return self._entry(kind, who, rest)
            case "-damage" | "-heal" | "-sethp":
                return self._hp(kind, who, by, rest)
            case "-boost" | "-unboost":
                return f"{who}'s {_STATS.get(what, what)} {_change(int(third), up=kind == '-boost')}{by}."
            case "-weather":
                return None if "[upkeep]" in rest else _weather(subject, by)
            case "cant":
                return f"{who} {_CANT.get(what) or f'is held back by {_effect(what)}'} and cannot move."
            case "-status":
                return f"{who} {_BECAME.get(what, f'has {what}')}{by}."
            case "-start":
                return f"{_effect(what)}{third} began on {who}{by}."
            case "-miss":
                return f"{who} missed{' ' + _called(what) if seat_of(what) else ''}."
        template = _SENTENCES.get(kind)
        if template is None:
            return _as_it_stands(kind, rest)
        return template.format(
            who=who,
            what=what,
            by=by,
            first=_effect(subject),
            effect=_effect(what),
            target=_called(what),
            owner=self._owner(subject),
            winner=self._names[self.winner] if self.winner else subject,
            species=what.partition(",")[0],
            stat=_STATS.get(what, what),
            status=_STATUS.get(what, what),
            third=third.strip(),
        )

    def _entry(self, kind: str, who: str, rest: Sequence[str]) -> str:
        self._remember(kind, rest)
        species = read_details(rest[1])[0]
        name = who if species == who else f"{who} ({species})"
        return f"{name} was dragged out." if kind == "drag" else f"{self._owner(rest[0])} sent out {name}."

    def _hp(self, kind: str, who: str, by: str, rest: Sequence[str]) -> str:
        before = self._hp_percent.get(rest[0], 100)
        after = self._remember(kind, rest)
        if after == before:
            return f"{who} stays at {after} %{by}."
        change = f"{'lost' if after < before else 'gained'} {abs(after - before)} %"
        return f"{who} {change}{by}: {after} % left." if after else f"{who} {change}{by}."

    def _meet(self, kind: str, rest: Sequence[str]) -> None:
        if kind == "player" and len(rest) > 1 and (seat := seat_of(rest[0])):
            self._players[rest[1]] = seat
        elif kind == "win" and rest:
            self.winner = self._players.get(rest[0])

    def _remember(self, kind: str, rest: Sequence[str]) -> int:
        """The HP in percent that a line tells, kept for the next one."""
        at = {"switch": 2, "drag": 2, "-damage": 1, "-heal": 1, "-sethp": 1}.get(kind)
        if at is not None and len(rest) > at:
            self._hp_percent[rest[0]] = hp_percent(rest[at])
        return self._hp_percent.get(rest[0], 100) if rest else 100

    def _owner(self, ident: str) -> str:
        seat = seat_of(ident)
        return self._names[seat] if seat else ident


def on_field(name: str, hp_percent: int, status: str, boosts: Mapping[str, int]) -> str:
    """`Gyarados (43 %, burned, +1 Attack)`."""
    named = [f"{hp_percent}\u00a0%" if hp_percent else "fainted"]
    if status and hp_percent:
        named.append(_BECAME.get(status, status).removeprefix("was ").replace("fell asleep", "asleep"))
    named += [f"{stages:+d} {_STATS.get(stat, stat)}" for stat, stages in boosts.items()]
    return f"{name} ({', '.join(named)})"


def _called(ident: str) -> str:
    """`p1a: Sparky` → `Sparky`."""
    return ident.partition(": ")[2] or ident if seat_of(ident) else ident


def _effect(what: str) -> str:
    """`move: Stealth Rock` → `Stealth Rock`."""
    return what.partition(": ")[2] or what


def _change(stages: int, *, up: bool) -> str:
    if not stages:
        return f"cannot go {'higher' if up else 'lower'}"
    return f"{'rose' if up else 'fell'} by {stages}"


def _weather(weather: str, by: str) -> str:
    return "The weather is clear again." if weather == "none" else f"There is {_WEATHER.get(weather, weather)} now{by}."


def _because(rest: Sequence[str]) -> str:
    source = next((part[7:] for part in rest if part.startswith("[from] ")), None)
    if source is None:
        return ""
    of = next((part[5:] for part in rest if part.startswith("[of] ")), "")
    named = _STATUS.get(source, _effect(source))
    return f" by {_called(of)}'s {named}" if seat_of(of) else f" by {named}"


def _as_it_stands(kind: str, rest: Sequence[str]) -> str:
    return " ".join(part for part in (kind, *rest) if part).lstrip("-")
