"""Strangers' bytes are read within bounds, whoever reads them and wherever they come from."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest

from deploy.cli.options import read_policies, read_toml
from services.arena.budget import read_prices
from services.trainer import recipes
from services.trainer.trainings import NewTraining
from shared.document import MAX_TOML_BYTES, parse_json, parse_toml, unpacked
from shared.errors import BrokenRecord, UsageError
from shared.matchups import Matchups
from shared.records import MAX_RUN_BYTES, parse_run, read_run
from shared.settings import Settings
from shared.store import Store

DEEP = {
    "arrays": "a = " + "[" * 20_000,
    "closed arrays": "a = " + "[" * 20_000 + "]" * 20_000,
    "tables": "a = " + "{a=" * 20_000,
    "a dotted key": ".".join("a" * 50_000) + " = 1",
    "a dotted key in a table": "a = {" + ".".join("a" * 50_000) + "=1}",
    "dots with spaces": " . ".join('"a"' for _ in range(5_000)) + " = 1",
    "a table's name": "[" + ".".join("a" * 50_000) + "]",
    "far too much": "# nothing\n" * (MAX_TOML_BYTES // 10 + 1),
}
FILES: dict[str, Callable[[Path], object]] = {
    "policies": read_policies,
    "a suite": lambda path: read_toml(path, "the suite"),
    "endpoints": lambda path: Settings(endpoints_file=path).endpoint("x"),
    "prices": read_prices,
    "a recipe": lambda path: recipes.load(str(path)),
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("read", FILES.values(), ids=FILES)
def test_a_file_of_nothing_but_depth_is_refused_at_once(
    read: Callable[[Path], object], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(text)
    began = process_time()

    with pytest.raises(UsageError, match=r"deep\.toml"):
        read(path)

    assert process_time() - began < 2


@pytest.mark.parametrize("value", ["[" * 20_000, "{" + ".".join("a" * 50_000) + "=1}", "{a=" * 20_000, "[" * 150])
def test_a_change_of_a_recipe_is_no_deeper_than_a_value(value: str) -> None:
    began = process_time()

    with pytest.raises(UsageError, match="nested too deeply"):
        recipes.load("cpu-smollm2", {"max_steps": value})

    assert process_time() - began < 2


@pytest.mark.parametrize("changes", [{"max_steps": "1" * 300}, {".".join("a" * 300): "1"}])
def test_what_is_asked_of_a_training_is_short(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="at most 200 characters"):
        NewTraining.model_validate({"recipe": "cpu-smollm2", "dataset": "d", "name": "n", "set": changes})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_steps", "1000000000"),
        ("warmup_steps", "1000000000"),
        ("accumulation", "1000000"),
        ("max_length", "1000000000"),
        ("lora.alpha", "1" * 40),
        ("weight_decay", "inf"),
        ("max_gradient_norm", "1e999"),
        ("learning_rate", "nan"),
    ],
)
def test_a_recipe_asks_for_no_more_than_a_trainer_can_do(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=key):
        recipes.load("cpu-smollm2", {key: value})


@pytest.mark.parametrize(
    "text",
    [
        'a = "..................................[[[[[[[[[[[[[[[[[[[["',
        "a = '''\n[[[[[[[[[[[[[[[[[[[[ '' ..................'''",
        'a = """\n\\"""[[[[[[[[[[[[[[[[[[[[[[[[[[ """',
        "# [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\na = 1",
        "a = [" + "1.5, " * 100 + "]",
        "a.b.c.d.e = 1\n" + "\n".join(f"a.b.c.d.f{number} = [[1]]" for number in range(50)),
    ],
)
def test_what_only_looks_deep_is_read(text: str) -> None:
    assert parse_toml(text)["a"]


def test_deep_json_is_no_run_file() -> None:
    with pytest.raises(BrokenRecord, match="nested too deeply"):
        parse_run(b"[" * 100_000, "deep")
    with pytest.raises(ValueError, match="500 digits"):
        parse_json('{"turns": ' + "1" * 500 + "}")


def test_what_unpacks_to_gigabytes_is_left_packed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb", compresslevel=9) as bomb:
        for _ in range(80):
            bomb.write(bytes(1 << 20))
    tracemalloc.start()

    with pytest.raises(BrokenRecord, match=r"bomb\.json\.gz: it is larger than"):
        read_run(path)

    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("cut", [5, -5])
def test_what_is_cut_off_says_so(cut: int) -> None:
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpacked(gzip.compress(b"x" * 1000, mtime=0)[:cut], MAX_RUN_BYTES)


def test_a_file_is_no_longer_than_it_may_be() -> None:
    assert unpacked(b"x" * 10, 10) == b"x" * 10
    for raw in (b"x" * 11, gzip.compress(b"x" * 11, mtime=0)):
        with pytest.raises(ValueError, match="larger than the 10 bytes"):
            unpacked(raw, 10)


@pytest.mark.parametrize(
    "raw",
    [gzip.compress(each, mtime=0) for each in (bytes(20 << 20), b"[" * 100_000, b'{"pair": 1')],
    ids=("long", "deep", "cut"),
)
def test_a_record_that_is_made_to_be_too_much_is_set_aside(raw: bytes, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("matchups/m/battles/00000.json.gz", raw)

    assert Matchups(store).played("m") == {}
    assert Matchups(store).recorded("m") == frozenset()
