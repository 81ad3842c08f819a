"""Matchups as they lie in the store: beside what was asked for (shared/asked.py), their battles and what came of them.

matchups/ID/battles/NNNNN.json.gz   one file a battle, written once and never changed
matchups/ID/sums/NNNNN.json         what SUMMED_TOGETHER battles from NNNNN on sum up to (shared/standings.py)
matchups/ID/reviews/NNNNN.json      a battle looked back at: how likely a win was after each step, and the luck of it
matchups/ID/choices/NNNNN.json.gz   what its decisions cost, where somebody asked for that
matchups/ID/looks/NNNNN.json        what the first NNNNN battles say, where a matchup is played until decided
matchups/ID/failures/NNNNN.txt      why the shard that begins at battle NNNNN failed; the report, after the last
matchups/ID/run.json.gz, report.html
"""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TypeVar

from pydantic import ValidationError

from shared import document
from shared.asked import Asked
from shared.choices import ChoiceReview
from shared.document import broken
from shared.errors import NotFound, Unreachable
from shared.records import BattleRecord, BattleReview, MatchupRequest, Run, parse_run
from shared.verdicts.scores import Played
from shared.verdicts.sequential import SequentialTest

T = TypeVar("T")

MAX_RECORD_BYTES = 256 << 20
"""Of one battle: more than one in which two models say as much as they may, five times a turn, for a thousand turns."""
PIECE_BYTES = 1 << 20
SUMMED_TOGETHER = 256
"""Battles that are summed up together. An even number, so that no pair is cut."""
_ENDING = ".json.gz"
_BATTLE = "battles/{:05d}" + _ENDING
_REVIEW = "reviews/{:05d}.json"
_CHOICES = "choices/{:05d}.json.gz"


class Matchups(Asked[MatchupRequest]):
    """The matchups of a store."""

    folder = "matchups"
    noun = "matchup"
    model = MatchupRequest

    # ── battles ─────────────────────────────────────────────────────────────────────────────────────

    def record(self, id: str, record: BattleRecord) -> bool:
        """Store one battle, atomically. False where it has a record already: that one stands."""
        return self.files.create(self._battle(id, record.index), _packed(record.model_dump_json()))

    def recorded(self, id: str) -> frozenset[int]:
        """Indices of the battles that have a record."""
        return self._packed_files(id, "battles")

    def battles_changed_ns(self, id: str) -> int | None:
        """When a battle was recorded or removed last, in nanoseconds; None where that cannot be told."""
        return self.files.changed_ns(self.path(id, "battles"))

    def battle(self, id: str, index: int) -> BattleRecord:
        """One battle's record. Raises NotFound where there is none, and where it cannot be read: it is set aside."""

        def read(raw: bytes) -> BattleRecord:
            record = BattleRecord.model_validate_json(raw)
            if record.index != index:
                raise ValueError(f"it is the record of battle {record.index}")
            return record

        return self._read_battle(id, index, read)

    def battles(self, id: str, but_for: AbstractSet[int] = frozenset()) -> Iterator[BattleRecord]:
        """All recorded battles, in order of their index, without some."""
        for index in sorted(self.recorded(id) - but_for):
            with suppress(NotFound):
                yield self.battle(id, index)

    def played(self, id: str) -> dict[int, Played]:
        """Index → pair and winner of every recorded battle. Reads no more of a record than that."""

        def read(raw: bytes) -> Played:
            told = document.parse_json(raw)
            return Played(told["pair"], told["winner"])

        found: dict[int, Played] = {}
        for index in self.recorded(id):
            with suppress(NotFound):
                found[index] = self._read_battle(id, index, read)
        return found

    # ── reviews ─────────────────────────────────────────────────────────────────────────────────────

    def record_review(self, id: str, review: BattleReview) -> bool:
        """Store a battle's review. False where it has one already: that one stands, and would be the same."""
        return self.files.create(self._review(id, review.index), review.model_dump_json().encode())

    def reviewed(self, id: str) -> frozenset[int]:
        """Indices of the battles that have a review."""
        return frozenset(self.numbered(id, "reviews"))

    def review(self, id: str, index: int) -> BattleReview | None:
        """A battle's review; None where there is none."""
        return self.read(id, _REVIEW.format(index), BattleReview)

    def reviews(self, id: str) -> dict[int, BattleReview]:
        found = ((index, self.review(id, index)) for index in sorted(self.reviewed(id)))
        return {index: review for index, review in found if review is not None}

    def record_choices(self, id: str, choices: ChoiceReview) -> None:
        self.files.write(self.path(id, _CHOICES.format(choices.index)), _packed(choices.model_dump_json()))

    def weighed(self, id: str) -> frozenset[int]:
        """Indices of the battles of which that is known."""
        return self._packed_files(id, "choices")

    def choices(self, id: str, index: int) -> ChoiceReview | None:
        """The same; None where nobody asked for it, or it cannot be read."""
        with suppress(NotFound, ValueError):
            raw = self.files.read(self.path(id, _CHOICES.format(index)), f"the choices of battle {index} are not there")
            return ChoiceReview.model_validate_json(document.unpacked(raw, MAX_RECORD_BYTES))
        return None

    def lucky(self, id: str, played: Mapping[int, Played]) -> dict[int, Played]:
        """The same battles with the luck of those that were reviewed."""
        found = dict(played)
        for index, review in self.reviews(id).items():
            if index in found:
                found[index] = found[index]._replace(luck=review.luck)
        return found

    def forget_broken(self, id: str) -> None:
        """Battles that broke are played again."""
        for index, played in self.played(id).items():
            if played.winner is None:
                self._forget_sums(id, index)
                self.files.remove(self._battle(id, index))

    # ── sums ────────────────────────────────────────────────────────────────────────────────────────

    def sums(self, id: str, number: int) -> bytes:
        """What was kept of a block of battles. Raises NotFound."""
        return self.files.read(self._sums(id, number), f"nothing is kept of block {number} of matchup {id}")

    def write_sums(self, id: str, number: int, raw: bytes) -> None:
        self.files.write(self._sums(id, number), raw)

    def _forget_sums(self, id: str, index: int) -> None:
        # Before the record goes: what is played in its place may end otherwise.
        self.files.remove(self._sums(id, index // SUMMED_TOGETHER))

    def _sums(self, id: str, number: int) -> str:
        return self.path(id, f"sums/{number * SUMMED_TOGETHER:05d}.json")

    # ── looks ───────────────────────────────────────────────────────────────────────────────────────

    def record_look(self, id: str, test: SequentialTest) -> None:
        """Store what a look found. The same battles always give the same look, so it does not matter who writes it."""
        self.files.write(self.path(id, f"looks/{test.battles:05d}.json"), test.model_dump_json().encode())

    def latest_look(self, id: str) -> SequentialTest | None:
        """The look at the most battles; None before the first."""
        looks = self.numbered(id, "looks")
        found = (self.read(id, looks[battles], SequentialTest) for battles in sorted(looks, reverse=True))
        return next((test for test in found if test is not None), None)

    # ── results ─────────────────────────────────────────────────────────────────────────────────────

    def write_run(self, id: str, pieces: Iterable[bytes]) -> None:
        """Store the run's JSON, which comes gzipped and piece by piece, atomically."""
        self.files.write(self.path(id, "run.json.gz"), iter(pieces))

    def run_pieces(self, id: str, *, gzipped: bool = False) -> Iterator[bytes]:
        """The run's JSON text, piece by piece. Raises NotFound before the report was written, with the first piece."""
        self.request(id)
        packed = self.files.pieces(self.path(id, "run.json.gz"), f"matchup {id} has no run yet")
        return packed if gzipped else unpacked(packed)

    def run(self, id: str) -> Run:
        """The run. Raises NotFound before the report was written."""
        return parse_run(b"".join(self.run_pieces(id)), f"the run of matchup {id}")

    def write_report(self, id: str, html: str) -> None:
        self.files.write(self.path(id, "report.html"), html.encode())

    def report(self, id: str) -> bytes:
        """The report's HTML. Raises NotFound before it was written."""
        self.request(id)
        return self.files.read(self.path(id, "report.html"), f"matchup {id} has no report yet")

    def has_report(self, id: str) -> bool:
        return self.files.exists(self.path(id, "report.html"))

    # ── files ───────────────────────────────────────────────────────────────────────────────────────

    def _battle(self, id: str, index: int) -> str:
        return self.path(id, _BATTLE.format(index))

    def _packed_files(self, id: str, folder: str) -> frozenset[int]:
        names = self.files.files(self.path(id, folder))
        return frozenset(int(name[: -len(_ENDING)]) for name in names if name[0].isdigit() and name.endswith(_ENDING))

    def _review(self, id: str, index: int) -> str:
        return self.path(id, _REVIEW.format(index))

    def _read_battle(self, id: str, index: int, read: Callable[[bytes], T]) -> T:
        """What `read` makes of a record. One that is cut, empty or another's is set aside, and counts as missing."""
        path, absent = self._battle(id, index), f"matchup {id} has no record of battle {index}"
        try:
            return read(document.unpacked(self.files.read(path, absent), MAX_RECORD_BYTES))
        except ValidationError as error:
            why = broken(path, error).message
        except (ValueError, KeyError, TypeError) as error:
            why = f"{path} cannot be read: {error}"
        with suppress(Unreachable):
            self._forget_sums(id, index)
        self.set_aside(id, _BATTLE.format(index), why)
        raise NotFound(absent)


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def unpacked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What was gzipped, in pieces of PIECE_BYTES at most, however well it was packed."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
    for packed in pieces:
        while packed:
            yield unpack.decompress(packed, PIECE_BYTES)
            packed = unpack.unconsumed_tail
    yield unpack.flush()
