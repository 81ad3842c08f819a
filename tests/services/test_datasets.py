"""Datasets: what is kept together, what is left out and counted, and what a look at one finds."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scraper.check import check, offers
from services.scraper.datasets import Datasets, build, sha256_of, validation_groups
from services.scraper.replay import Replay, has_custom_rules
from services.scraper.rows import Reader, Wanted
from services.scraper.sources import find_sources
from services.scraper.tasks import build_dataset
from services.scraper.views import DatasetRequest, NewDataset
from shared.battle.protocol import SEATS, seen_by
from shared.datasets import DatasetCard, Row
from shared.errors import Conflict, UsageError
from shared.jobs import Context, HandedBack
from shared.jobs.routes import BuildDataset, Payload
from shared.policies import FORMATS
from shared.settings import Settings
from shared.simulator.simulator import SeatSetup, Simulator
from shared.store import Store
from shared.work import ask, cancel
from tests.services.simulated import replays


def write(folder: Path, replay: Replay, **changes: Any) -> None:
    document = {
        "id": replay.id,
        "formatid": replay.format,
        "log": "\n".join(replay.log),
        "inputlog": "\n".join(replay.inputlog or ()) or None,
        "rating": replay.rating,
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{replay.id}.json").write_text(json.dumps(document | changes), encoding="utf-8")


@pytest.fixture(scope="module")
def played() -> Sequence[Replay]:
    return asyncio.run(replays(range(40, 46)))


@pytest.fixture(scope="module")
def folder(played: Sequence[Replay], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six replays of four pairs of players: two exact, three only rebuilt, one without a rating, and much else."""
    folder = tmp_path_factory.mktemp("battles") / "replays"
    for number, replay in enumerate(played):
        log = tuple(line.replace("Blue", f"Blue{number % 4}") for line in replay.log)
        rated = replace(replay, log=log, rating=None if number == 5 else 1400 + 50 * number)
        write(folder, rated if number < 4 else replace(rated, log=replay.log))
    write(folder, replace(played[0], id="copy", log=(*played[0].log, "|c|☆Red|gg")))
    write(folder, replace(played[0], id="doubles", format="gen9doublesou"))
    for name, changes in _by_custom_rules(played[0]).items():
        write(folder, replace(played[0], id=name), **changes)
    (folder / "broken.json").write_text('{"log": "')
    (folder / "notes.txt").write_text("not looked at")
    return folder


def _by_custom_rules(replay: Replay) -> dict[str, dict[str, Any]]:
    """A document's fields, for each way in which a battle by rules of its players' own shows it."""
    assert replay.inputlog is not None
    start = replay.log.index("|start")

    def with_line(line: str, after: int = start) -> dict[str, Any]:
        return {"log": "\n".join((*replay.log[:after], line, *replay.log[after:]))}

    box = '|raw|<div class="infobox"><details open><summary><strong>{}:</strong></summary> {}</details>'
    chosen = [line.replace("randombattle", "randombattle@@@scalemonsmod") for line in replay.inputlog]
    return {
        "input-log": {"inputlog": "\n".join(chosen)},
        "format-id": {"formatid": "gen9randombattle@@@scalemons mod"},
        "format-name": {"format": "[Gen 9] Random Battle@@@Scalemons Mod"},
        "gen9randombattle@@@inversemod-1": {},
        "tier": {"log": "\n".join(replay.log).replace("[Gen 9] Random Battle", "[Gen 9] Random Battle@@@Inverse Mod")},
        "rule": with_line("|rule|Scalemons Mod: Every Pokemon's stats are scaled to give them a BST of 600"),
        "rule-of-another-format": with_line("|rule|Sleep Moves Clause: Sleep-inducing moves are banned"),
        "rule-alone": with_line("|rule|Inverse Mod"),
        "removed": with_line(box.format("1 custom rule", "!Sleep Clause Mod"), start + 1),
        "banned": with_line(box.format("2 custom rules", "-Zacian, +Item: Soul Dew"), start + 1),
    }


def built(sources: Sequence[Path], out: Path, wanted: Wanted | None = None, val_fraction: float = 0.3) -> DatasetCard:
    found = find_sources([str(source) for source in sources], Store(str(out.parent / "store")))
    return build(found, Reader(wanted or Wanted()), out, val_fraction=val_fraction, command="test", processes=1)


def rows(dataset: Path, split: str) -> list[Row]:
    return [Row.model_validate_json(line) for line in (dataset / f"{split}.jsonl").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def dataset(folder: Path) -> tuple[DatasetCard, Path]:
    out = folder.parent / "dataset"
    return built([folder], out), out


def test_every_battle_is_exact_rebuilt_or_left_out_with_a_reason(dataset: tuple[DatasetCard, Path]) -> None:
    card, out = dataset
    exact = {row.battle: row.exact for split in ("train", "validation") for row in rows(out, split)}

    # The names were changed in four logs, so these are not what their input logs say.
    assert card.rebuilt_because == {"another log when run again": 4}
    assert sorted(exact.values()) == [False] * 4 + [True] * 2 + ([True] if "copy" in exact else [])
    assert card.dropped.replays["another format"] == 1
    assert card.dropped.replays["broken or cut-off JSON"] == 1
    left = [json.loads(line)["replay"] for line in (out / "dropped.jsonl").read_text().splitlines()]
    assert {"broken", "doubles"} <= set(left)


def test_a_battle_by_rules_of_its_players_own_is_left_out(
    dataset: tuple[DatasetCard, Path], played: Sequence[Replay]
) -> None:
    left = {line["replay"]: line["reason"] for line in map(json.loads, (dataset[1] / "dropped.jsonl").open())}

    assert {name for name, reason in left.items() if reason == "custom rules"} == set(_by_custom_rules(played[0]))


async def test_every_rule_that_a_format_names_in_the_simulator_is_its_own() -> None:
    team = (Path(__file__).parents[2] / "services/arena/sample_teams/gen9ou-balance.txt").read_text()
    async with Simulator() as simulator:
        packed = await simulator.validate_team("gen9ou", team)
        for format_ in FORMATS.values():
            seats = {seat: SeatSetup(seat, team=packed if format_.needs_team else None) for seat in SEATS}
            battle = await simulator.open(format_.id, f"sodium,{1:032x}", seats)
            log = tuple(seen_by(None, (await battle.step()).lines))
            battle.close()

            assert not has_custom_rules(Replay("r", format_.id, log)), format_.id
            assert has_custom_rules(Replay("r", format_.id, (*log, "|rule|Scalemons Mod: Every Pokemon's stats …")))


def test_rematches_stay_on_one_side(folder: Path, played: Sequence[Replay], tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "a", replace(played[number], id=f"b{number}", log=_called(played[number], number % 3)))

    built([tmp_path / "a"], tmp_path / "out", val_fraction=0.4)

    sides = {split: {int(row.battle[1:]) % 3 for row in rows(tmp_path / "out", split)} for split in SPLITS}
    assert sides["train"]
    assert sides["validation"]
    assert sides["train"].isdisjoint(sides["validation"])


SPLITS = ("train", "validation")


def _called(replay: Replay, number: int) -> tuple[str, ...]:
    return tuple(line.replace("Blue", f"Blue {number}").replace("Red", f"Red {number}") for line in replay.log)


def test_a_battle_found_twice_counts_once(played: Sequence[Replay], tmp_path: Path) -> None:
    write(tmp_path / "a", played[0])
    write(tmp_path / "a", replace(played[0], id="copy", log=(*played[0].log, "|c|☆Red|gg")))
    write(tmp_path / "b", played[0])

    card = built([tmp_path / "a", tmp_path / "b"], tmp_path / "out")

    assert card.dropped.replays == {"the same battle came before": 2}


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (Wanted(side="p2"), lambda row: row.side == "p2"),
        (Wanted(contract="v1"), lambda row: row.contract == "v1" and row.kind == "move"),
        (Wanted(min_rating=1500), lambda row: row.rating is not None and row.rating >= 1500),
    ],
)
def test_only_what_is_wanted_becomes_rows(
    folder: Path, tmp_path: Path, wanted: Wanted, holds: Callable[[Row], bool]
) -> None:
    card = built([folder], tmp_path / "out", wanted)

    found = [row for split in SPLITS for row in rows(tmp_path / "out", split)]
    assert found
    assert all(map(holds, found))
    left_out = {**card.dropped.replays, **card.dropped.decisions}
    assert {"of the other side", "voluntary switch that v1 cannot express", "rated lower"}.intersection(left_out)


def test_the_winners_decisions_are_those_of_the_seat_that_won(played: Sequence[Replay], tmp_path: Path) -> None:
    write(tmp_path / "a", played[1])
    winner = next(line[5:] for line in played[1].log if line.startswith("|win|"))

    built([tmp_path / "a"], tmp_path / "out", Wanted(winner_only=True))

    assert {row.side for row in rows(tmp_path / "out", "train")} == {"p1" if winner == "Red" else "p2"}


def test_a_dataset_without_a_row_is_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no row comes of these battles: .*rated lower"):
        built([folder], tmp_path / "out", Wanted(min_rating=9000))

    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] in ([], ["store"])


def test_an_earlier_dataset_is_replaced_whole(folder: Path, tmp_path: Path) -> None:
    built([folder], tmp_path / "out", Wanted(side="p1"))
    built([folder], tmp_path / "out", Wanted(side="p2"))

    assert {row.side for row in rows(tmp_path / "out", "train")} == {"p2"}
    assert check(tmp_path / "out").findings == {}


def test_datasets_loads_it_whatever_is_null_where(folder: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    built([folder], tmp_path / "out")

    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))

    for split in SPLITS:
        kept = rows(tmp_path / "out", split)
        assert loaded[split]["prompt"][:] == [row.prompt for row in kept]
        assert [tuple(legal) for legal in loaded[split]["legal"]] == [row.legal for row in kept]
        assert loaded[split]["rating"][:] == [row.rating for row in kept]


# ── the split ───────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.sampled_from("abcdefghij"), max_size=60), st.floats(0, 0.9))
def test_a_split_keeps_groups_whole_and_leaves_something_to_train_on(groups: list[str], fraction: float) -> None:
    back = validation_groups(groups, fraction)

    assert back <= set(groups)
    assert back == validation_groups(list(reversed(groups)), fraction)
    if len(set(groups)) >= 2 and fraction > 0:
        assert back
        assert back != set(groups)


def test_a_split_of_many_small_groups_is_as_large_as_asked_for() -> None:
    groups = [str(number // 2) for number in range(2000)]

    assert len(validation_groups(groups, 0.05)) * 2 == 100


# ── in the store ────────────────────────────────────────────────────────────────────────────────────


class Queue:
    """Takes jobs and does none."""

    def __init__(self) -> None:
        self.jobs: list[Payload] = []

    def ping(self) -> None:
        pass

    def enqueue(self, payload: Payload) -> bool:
        self.jobs.append(payload)
        return True


ASKED = NewDataset(name="small", sources=("store:replays",))


def test_a_dataset_is_named_by_who_asks_and_its_name_stands_for_one_request(tmp_path: Path) -> None:
    datasets, queue = Datasets(Store(str(tmp_path))), Queue()

    assert ask(datasets, ASKED, queue) == ask(datasets, ASKED, queue) == "small"
    assert queue.jobs[0] == BuildDataset(name="small")
    with pytest.raises(Conflict, match="another body"):
        ask(datasets, ASKED.model_copy(update={"contract": "v1"}), queue)
    (tmp_path / "datasets" / "copied").mkdir(parents=True)
    with pytest.raises(Conflict, match="stored already"):
        ask(datasets, ASKED.model_copy(update={"name": "copied"}), queue)


def test_a_dataset_that_failed_is_open_again_when_that_is_wished(tmp_path: Path) -> None:
    datasets = Datasets(Store(str(tmp_path)))
    datasets.create("small", DatasetRequest.model_validate(ASKED.model_dump()))
    # As failures were called before all kinds of work had one name for them.
    (tmp_path / "builds" / "small" / "failed.txt").write_text("no battle")
    assert (datasets.standing("small").state, datasets.standing("small").failure) == ("failed", "no battle")
    assert datasets.jobs("small") == []

    datasets.forget("small")

    assert datasets.standing("small").state == "running"
    assert datasets.jobs("small") == [BuildDataset(name="small")]


def test_a_cancelled_dataset_is_not_built(tmp_path: Path) -> None:
    datasets, queue = Datasets(Store(str(tmp_path))), Queue()
    ask(datasets, ASKED, queue)

    cancel(datasets, "small", queue)

    assert datasets.standing("small").state == "cancelled"
    assert len(queue.jobs) == 1
    build_dataset(BuildDataset(name="small"), Context(Settings(), datasets.files, queue.enqueue, lambda: False, "w"))
    assert datasets.standing("small").failure is None


def test_building_ends_where_its_callback_says_so(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, counts: object) -> None:
        raise HandedBack

    with pytest.raises(HandedBack):
        build(
            find_sources([str(folder)], Store(str(tmp_path / "store"))),
            Reader(Wanted()),
            tmp_path / "out",
            val_fraction=0.1,
            command="test",
            advance=stop,
        )

    assert not list(tmp_path.glob("*out*"))


def test_a_building_that_was_interrupted_reads_only_what_is_missing(
    folder: Path, dataset: tuple[DatasetCard, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A source is handed over at a time, and read in this process.
    monkeypatch.setattr("services.scraper.datasets._TOGETHER_BYTES", 1)
    monkeypatch.setattr("services.scraper.datasets._FEW_BYTES", 1 << 30)
    read: list[str] = []

    class Counted(Reader):
        async def _read(self, sources: Any) -> Any:
            read.extend(str(source.where[0]) for source in sources)
            return await Reader._read(self, sources)

    monkeypatch.setattr("services.scraper.tasks.Reader", Counted)
    store, asked = (
        Store(str(tmp_path / "work")),
        DatasetRequest(name="here", sources=(str(folder),), val_fraction=0.3, out=tmp_path / "out", command="test"),
    )
    ask(Datasets(store), asked, Queue())
    settings = Settings(store=str(tmp_path / "store"), _env_file=None)
    context = Context(settings, store, lambda payload: True, lambda: len(read) >= 3, "w", in_person=True)
    with pytest.raises(HandedBack):
        build_dataset(BuildDataset(name="here"), context)
    before = len(read)
    build_dataset(BuildDataset(name="here"), replace(context, stopping=lambda: False))

    assert before == 3 and len(read) == len(set(read)) == len(list(folder.glob("*.json")))
    for name in ("train.jsonl", "validation.jsonl", "dropped.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (dataset[1] / name).read_bytes()
    assert not (tmp_path / "work" / "builds" / "here" / "read").exists()


# ── a look at it ────────────────────────────────────────────────────────────────────────────────────


def _repeat(dataset: Path) -> None:
    lines = (dataset / "train.jsonl").read_text("utf-8").splitlines(keepends=True)
    (dataset / "train.jsonl").write_text("".join([*lines, lines[3]]), "utf-8")


def _change(field: str, value: Any) -> Callable[[Path], None]:
    def change(dataset: Path) -> None:
        first, *rest = (dataset / "train.jsonl").read_text("utf-8").splitlines()
        changed = json.dumps({**json.loads(first), field: value})
        (dataset / "train.jsonl").write_text("\n".join([changed, *rest]) + "\n", "utf-8")

    return change


def _leak(dataset: Path) -> None:
    row = (dataset / "validation.jsonl").read_text("utf-8").splitlines()[0]
    with (dataset / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({**json.loads(row), "completion": json.loads(row)["legal"][-1]}) + "\n")


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (_repeat, "a row is there twice"),
        (_leak, "a prompt stands in both splits"),
        (_leak, "a battle stands in both splits"),
        (_change("prompt", "x" * 2000), "a prompt is longer than 1,500 characters"),
        (_change("contract", "v1"), "a row is of another contract than the card"),
        (_change("completion", "move Nothing"), "a label is not among the legal actions"),
        (_change("prompt", "Gen 9\nChoose:\nmove Nothing"), "a label is not among the actions that its prompt offers"),
        (_change("turn", "one"), "a line is no row"),
        (lambda dataset: (dataset / "validation.jsonl").unlink(), "a file is missing"),
        (lambda dataset: _edit(dataset, contract_hash="0" * 64), "the contract was another when this was built"),
        (lambda dataset: _edit(dataset, pokedex_hash="0" * 64), "the pokedex was another when this was built"),
    ],
)
def test_what_is_wrong_is_found(
    dataset: tuple[DatasetCard, Path], tmp_path: Path, damage: Callable[[Path], None], finding: str
) -> None:
    copy = Path(shutil.copytree(dataset[1], tmp_path / "copy"))
    assert check(copy, quick=True).findings == {}

    damage(copy)

    assert check(copy, quick=True).findings[finding].examples


def test_a_planted_leak_is_found(dataset: tuple[DatasetCard, Path], tmp_path: Path) -> None:
    card, folder = dataset
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    told = rows(copy, "train")
    # What the opponent has in reserve, as it tells itself: in a line of the prompt that tells of the opponent.
    ours = next(row for row in told if "switch" in row.completion)
    theirs = next(row for row in told if row.battle == ours.battle and row.side != ours.side)
    hidden = next(name for name in theirs.legal if name.startswith("switch ")).removeprefix("switch ")
    leaked = ours.model_copy(update={"prompt": ours.prompt.replace("\n", f"\n{hidden} is in reserve\n", 1)})
    mislabelled = told[0].model_copy(update={"completion": next(a for a in told[0].legal if a != told[0].completion)})
    planted = [leaked if row == ours else mislabelled if row == told[0] else row for row in told]
    (copy / "train.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in planted), "utf-8")
    _edit(copy, files={**card.files, "train": sha256_of(copy / "train.jsonl")})

    found, untouched = check(copy), check(folder)

    assert set(found.findings) == {"a row does not tell what its side was shown", "a row does not tell what was played"}
    assert (
        found.findings["a row does not tell what its side was shown"]
        .examples[0]
        .endswith(f"({ours.battle}, turn {ours.turn}, {ours.side})")
    )
    assert found.compared == sum(card.rows.values()) == untouched.compared
    assert untouched.findings == {}


def _edit(dataset: Path, **changes: Any) -> None:
    card = json.loads((dataset / "card.json").read_text())
    (dataset / "card.json").write_text(json.dumps({**card, **changes}))


def test_where_there_is_no_dataset_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no dataset"):
        check(tmp_path)


@pytest.mark.parametrize(
    ("completion", "offered"),
    [
        ("move Protect", True),
        ("move Protect tera", True),
        ("move Surf", True),
        ("move Surf tera", False),
        ("switch Dialga", True),
        ("switch Dial", False),
        ("move Earthquake", False),
    ],
)
def test_a_prompt_offers_what_its_lines_name(completion: str, offered: bool) -> None:
    prompt = "Gen 9 turn 1\nYou: X: Earthquake\nChoose:\nnormal move Protect +tera\nmove Surf\nfull: switch Dialga"

    assert offers(prompt, completion) is offered


@pytest.mark.parametrize(
    ("completion", "offered"), [("move Surf tera", True), ("move Surf", True), ("move Dive", False)]
)
def test_a_prompt_of_v3_offers_what_its_lines_end_with(completion: str, offered: bool) -> None:
    prompt = "Gen 9 turn 1\nChoose:\nwater hits 40 first: move Surf\ntera water hits 60 first: move Surf tera"

    assert offers(prompt, completion) is offered
