"""What a user sees stays: the pages, commands, options, routes and files that a small store gives, as they were.

The store in `frozen/` holds a matchup in pairs, one until decided, a tournament, a scrape, a dataset, a training and a
model; `frozen/expected` holds what is said of them. To change one of these on purpose, write all anew by

    FROZEN=write .venv/bin/pytest tests/flows/test_frozen.py

and read the difference. Not frozen: the shape of the API's lists, where a failure is written, the order of options,
the option `stream` of policies, and anything that a clock or a dice roll decides.
"""

import gzip
import json
import os
import re
import shutil
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.testclient import TestClient

from deploy.api import build
from deploy.cli import app, main
from shared.settings import Settings
from tests.flows.test_scraper_flow import up
from tests.standins.replay_site import Site, document

FROZEN = Path(__file__).with_name("frozen")
EXPECTED = FROZEN / "expected"
PAIRS, UNTIL_DECIDED = "20261128-080000-aaaaaa", "20261128-080100-bbbbbb"
TOURNAMENT, SCRAPE, TRAINING = "20261128-080200-cccccc", "20261128-080300-dddddd", "20261128-080400-eeeeee"
VERSIONS = ("20261122-120000-e837aa", "20261122-120001-147261")

CHANCE = (
    (r"(?<!\d)20(?!261128-080|261122-12)\d{6}-\d{6}-[0-9a-f]{6}\b", "ID"),
    (r"Speed: [^\n]*", "Speed: N battles a second."),
    (r"\b[\d.,]+\s(µs|ms|s)\b", "TIME"),
    (r"probably left: [^\n]*", "probably left: …"),
)
"""What differs from run to run."""
TIMES = {"timestamp", "created_at", "duration_s", "total_duration_s", "decision_ms", "p1_avg_decision_ms"}
TIMES |= {"p2_avg_decision_ms", "mean_ms", "worker", "versions", "battle_tag", "matchup_id", "latency_ms", "game_id"}
"""Fields of JSON that do."""
LATER = {"name1", "name2", "luck", "review", "without_luck", "teacher"}
"""Fields that the store, which is older, lacks."""


@dataclass(frozen=True)
class Place:
    """A copy of the store, and a folder to work in."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def run_file(self, matchup_id: str) -> str:
        return f"store/matchups/{matchup_id}/run.json.gz"

    def run(self, *arguments: object) -> str:
        """What a command says, where, and with which exit code."""
        out, err = StringIO(), StringIO()
        before, sys.argv = sys.argv, ["alphastral", *map(str, arguments)]
        code: object = 0
        try:
            with chdir(self.folder), redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.argv = before
        said = f"$ {' '.join(['alphastral', *map(str, arguments)])}\n{out.getvalue()}"
        said += "".join(f"! {line}\n" for line in err.getvalue().splitlines())
        return self.calm(f"{said}exit {code or 0}\n")

    def calm(self, text: str) -> str:
        """Without what differs from run to run."""
        text = text.replace(str(self.folder), "FOLDER")
        for pattern, instead in CHANCE:
            text = re.sub(pattern, instead, text)
        return "\n".join(re.sub(r" {2,}", "  ", line).rstrip() for line in text.split("\n"))

    def page(self, name: str) -> str:
        """A page without its scripts and its style, a tag a line."""
        html = (self.folder / name).read_text(encoding="utf-8")
        html = re.sub(r"<(script|style)(?! id=\"figures\")([^>]*)>.*?</\1>", r"<\1\2>…</\1>", html, flags=re.DOTALL)
        html = re.sub(r"sha256-[\w+/]+=*", "sha256-…", html)
        return re.sub(r"\s*\n\s*", "\n", re.sub(r"(?<!\n)<(?=[a-z!])", "\n<", html)).strip() + "\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(FROZEN / "store", tmp_path / "store")
    for path in FROZEN.glob("*.*"):
        shutil.copy(path, tmp_path)
    monkeypatch.setenv("ALPHASTRAL_STORE", "store")
    monkeypatch.setenv("COLUMNS", "200")
    return Place(tmp_path)


def compare(name: str, found: str) -> None:
    """What was found with what is expected; with FROZEN=write, expect it from now on."""
    path = EXPECTED / name
    if os.environ.get("FROZEN") == "write":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def read_json(path: Path) -> Any:
    raw = path.read_bytes()
    return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)


def calm(document: Any) -> Any:
    """JSON without what differs from run to run."""
    if isinstance(document, dict):
        return {key: calm(value) for key, value in document.items() if key not in TIMES | LATER}
    if isinstance(document, list):
        return [calm(value) for value in document if not str(value).startswith("|t:|")]
    return document


# ── what is written of what was played ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "run_file"),
    [
        ("pairs", f"store/matchups/{PAIRS}/run.json.gz"),
        ("until-decided", f"store/matchups/{UNTIL_DECIDED}/run.json.gz"),
        ("model", "model.json.gz"),
        ("old", str(Path(__file__).parents[1] / "services" / "old_run.json")),
    ],
)
def test_the_report_of_a_run(place: Place, name: str, run_file: str) -> None:
    assert place.run("report", run_file, "--output", "page.html").endswith("page.html\nexit 0\n")
    compare(f"report-{name}.html", place.page("page.html"))


def test_ratings_and_their_leaderboard(place: Place) -> None:
    compare("ratings.txt", place.run("ratings", "store", "-o", "page.html"))
    compare("ratings.html", place.page("page.html"))


def test_what_verify_says_of_runs(place: Place) -> None:
    changed = read_json(place.store / "matchups" / PAIRS / "run.json.gz")
    changed["battles"][1]["n_turns"] += 1
    (place.folder / "changed.json").write_text(json.dumps(changed))
    files = [place.run_file(PAIRS), place.run_file(UNTIL_DECIDED), "model.json.gz", "changed.json"]
    compare("verify.txt", "\n".join(place.run("verify", file) for file in files))


def test_what_skew_says_of_a_run(place: Place) -> None:
    # Kinds that were counted as often stand in any order.
    compare("skew.txt", "\n".join(sorted(place.run("skew", place.run_file(PAIRS)).splitlines())) + "\n")


# ── commands that play ──────────────────────────────────────────────────────────────────────────────


def test_a_battle_is_what_was_stored_of_the_same_request(place: Place) -> None:
    asked = ("--p1", "heuristic", "--p2", "random", "--n", 4, "--seed", 7, "--concurrency", 1)
    compare("battle.txt", place.run("battle", *asked, "--output", "out/run.json"))
    stored = read_json(place.store / "matchups" / PAIRS / "run.json.gz")
    assert calm(read_json(place.folder / "out" / "run.json")) == calm(stored)
    assert (place.folder / "out" / "run.html").exists()


def test_a_battle_until_decided_is_what_was_stored_of_the_same_request(place: Place) -> None:
    until = ("--until-decided", "--margin", 0.4, "--error", 0.2, "--max-battles", 40)
    said = place.run("battle", "--p1", "heuristic", "--p2", "random", *until, "--seed", 8, "--concurrency", 1)
    compare("battle-until-decided.txt", said)
    (run,) = (place.folder / "runs").iterdir()
    (page,) = (place.folder / "reports").iterdir()
    found, stored = calm(read_json(run)), calm(read_json(place.store / "matchups" / UNTIL_DECIDED / "run.json.gz"))
    assert page.stem == run.stem
    del found["request"]["concurrency"], stored["request"]["concurrency"]
    assert found == stored


def test_a_bench_and_the_same_bench_again(place: Place) -> None:
    compare("bench.txt", place.run("bench", "bench.toml") + "\n" + place.run("bench", "bench.toml"))
    kept = sorted(path.name for path in (place.folder / "var/bench/matchups").iterdir())
    compare("bench-files.json", json.dumps(kept, indent=1) + "\n")


def test_a_tournament_the_same_again_and_another_in_its_folder(place: Place) -> None:
    said = [place.run("tournament", "tournament.toml", "--output", "t") for _ in range(2)]
    other = (place.folder / "tournament.toml").read_text().replace("seed = 3", "seed = 4")
    (place.folder / "other.toml").write_text(other)
    compare("tournament.txt", "\n".join([*said, place.run("tournament", "other.toml", "--output", "t")]))
    compare("tournament.html", place.calm(place.page("t/leaderboard.html")))


def test_selfplay_and_the_same_again(place: Place) -> None:
    asked = ("selfplay", "--p2", "random", "--n", 3, "--seed", 2, "--concurrency", 1, "--out", "played")
    compare("selfplay.txt", place.run(*asked) + "\n" + place.run(*asked))
    run = calm(read_json(place.folder / "played" / "00000.json.gz"))
    compare("selfplay.json", json.dumps([run["request"], run["summary"]], indent=1) + "\n")
    compare("selfplay.request", (place.folder / "played" / "selfplay.request").read_text())


def test_a_scrape_and_the_same_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site({(made := document(number))["id"]: made for number in range(3)})
    with up(site) as url:
        monkeypatch.setenv("ALPHASTRAL_REPLAY_SITE_URL", url)
        monkeypatch.setenv("ALPHASTRAL_REPLAY_SITE_REQUESTS_PER_SECOND", "100")
        compare("scrape.txt", "\n".join(place.run("scrape", "--max-replays", 2) for _ in range(2)))
    stored = place.store / "replays" / "gen9randombattle"
    assert sorted(path.name for path in stored.glob("*-[0-9].json.gz")) == [
        f"gen9randombattle-{number}.json.gz" for number in (1, 2)
    ]


# ── datasets, models, policies ──────────────────────────────────────────────────────────────────────


def test_a_dataset_is_built_as_it_was_and_checked(place: Place) -> None:
    wanted = ("--winner-only", "--val-fraction", 0.25, "--out", "built")
    said = [place.run("dataset", "build", f"store:matchups/{PAIRS}", *wanted), place.run("dataset", "check", "built")]
    stored = place.store / "datasets" / "small"
    for name in ("train.jsonl", "validation.jsonl", "dropped.jsonl"):
        assert (place.folder / "built" / name).read_text() == (stored / name).read_text()
    changes = {"created_at", "command"}
    cards = [read_json(folder / "card.json") for folder in (place.folder / "built", stored)]
    built, before = ({key: value for key, value in card.items() if key not in changes} for card in cards)
    assert built == before
    train, validation = stored / "train.jsonl", stored / "validation.jsonl"
    validation.write_text(validation.read_text() + train.read_text().splitlines()[0] + "\n")
    said.append(place.run("dataset", "check", stored))
    said.append(place.run("dataset", "build", "store:replays", "--out", "replays", "--contract", "v1"))
    compare("dataset.txt", "\n".join(said))


def test_models(place: Place) -> None:
    old, new = VERSIONS
    calls = [
        (),
        ("show", "tiny"),
        ("show", f"tiny@{old}"),
        ("promote", f"tiny@{old}"),
        ("rollback", "tiny"),
        ("promote", "tiny"),
        ("show", "other"),
        ("show", f"tiny@{new}x"),
    ]
    compare("models.txt", "\n".join(place.run("models", *call) for call in calls))


def test_policies(place: Place) -> None:
    said = place.run("policies") + "\n" + place.run("policies", "policies.toml")
    compare("policies.txt", re.sub(r"  stream [^\n]*\n", "", said))


# ── the command line as such ────────────────────────────────────────────────────────────────────────


def options() -> dict[str, list[str]]:
    """Command → its options, and its arguments as a number. Taken from the parser."""
    found: dict[str, list[str]] = {}

    def look(name: str, command: Any) -> None:
        given = [param for param in command.params if param.param_type_name == "option"]
        arguments = len(command.params) - len(given)
        names = {name for param in given for name in (*param.opts, *param.secondary_opts)} - {"--help"}
        found[name] = [*sorted(names), *([f"arguments: {arguments}"] if arguments else [])]
        for below, each in getattr(command, "commands", {}).items():
            look(f"{name} {below}".strip(), each)

    look("", typer.main.get_command(app))
    return dict(sorted(found.items()))


def test_every_command_with_its_options() -> None:
    compare("options.json", json.dumps(options(), indent=1) + "\n")


WRONG: list[tuple[object, ...]] = [
    ("battle", "--p1", "heuristc"),
    ("battle", "--n", 0),
    ("battle", "--concurrency", 0),
    ("battle", "--format", "gen9nothing"),
    ("battle", "--until-decided", "--n", 5),
    ("battle", "--until-decided", "--margin", 0.5),
    ("battle", "--p1", "tgi:nowhere"),
    ("battle", "--battlefield", "moon"),
    ("battle", "--battlefield", "server", "--pairs"),
    ("battle", "--format", "gen9ou", "--team1", "nowhere.txt"),
    ("battle", "--policies", "nowhere.toml"),
    ("battle", "--output", "run.html"),
    ("battle", "--log-level", "loud"),
    ("report", "nowhere.json"),
    ("report", "bench.toml"),
    ("verify", "old.json"),
    ("ratings", "."),
    ("bench", "tournament.toml"),
    ("bench", "nowhere.toml"),
    ("tournament", "bench.toml"),
    ("selfplay", "--out", "store"),
    ("selfplay", "--p1", "nobody", "--out", "played"),
    ("scrape", "--max-replays", 0),
    ("scrape", "--format", "Gen 9"),
    ("dataset", "build", "nowhere", "--out", "built"),
    ("dataset", "build", "store:replays", "--out", "built", "--contract", "v9"),
    ("dataset", "build", "store:replays", "--out", "built", "--push", "a/b"),
    ("dataset", "build", "store:matchups/none", "--out", "built"),
    ("dataset", "check", "nowhere"),
    ("train", "--recipe", "nothing", "--dataset", "store/datasets/small", "--name", "m"),
    ("train", "--recipe", "cpu-smollm2", "--dataset", "store/datasets/small", "--name", "A b"),
    ("train", "--recipe", "cpu-smollm2", "--dataset", "store/datasets/small", "--name", "m", "--set", "nothing=1"),
    ("loop", "--recipe", "nothing"),
    ("pokedex", "--source", "book"),
    ("try", "random"),
    ("models", "promote", "tiny@none"),
    ("matchups",),
]


def test_what_is_asked_wrongly_is_told_in_a_sentence_with_its_exit_code(place: Place) -> None:
    shutil.copy(Path(__file__).parents[1] / "services" / "old_run.json", place.folder / "old.json")
    said = "\n".join(place.run(*arguments) for arguments in WRONG)
    compare("refused.txt", said)


# ── the API ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def api(place: Place) -> TestClient:
    """Over the store, with a Redis that does not answer: nothing here needs it."""
    settings = Settings(redis_url="redis://127.0.0.1:1", store=str(place.store), _env_file=None)
    return TestClient(build(settings), base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_every_route_with_its_body(api: TestClient) -> None:
    document = api.get("/openapi.json").json()
    found: dict[str, Any] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            named = document["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[-1], {})
            found[f"{method.upper()} {path}"] = sorted(named.get("properties", {}))
    compare("routes.json", json.dumps(dict(sorted(found.items())), indent=1) + "\n")


def test_how_everything_in_the_store_stands(api: TestClient) -> None:
    paths = [f"matchups/{PAIRS}", f"matchups/{UNTIL_DECIDED}", f"matchups/{TOURNAMENT}-00000"]
    paths += [f"tournaments/{TOURNAMENT}", f"scrapes/{SCRAPE}", "datasets/small", f"trainings/{TRAINING}"]
    found = {path: calm(api.get(f"/{path}").json()) for path in paths}
    compare("status.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def test_the_files_that_the_api_serves_are_those_of_the_store(api: TestClient, place: Place) -> None:
    matchup = place.store / "matchups" / PAIRS
    assert api.get(f"/matchups/{PAIRS}/run").json() == read_json(matchup / "run.json.gz")
    assert api.get(f"/matchups/{PAIRS}/report").text == (matchup / "report.html").read_text()
    page = (place.store / "tournaments" / TOURNAMENT / "leaderboard.html").read_text()
    assert api.get(f"/tournaments/{TOURNAMENT}/leaderboard").text == page


def test_what_the_api_refuses(api: TestClient) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/matchups/none", None),
        ("GET", "/matchups/none/run", None),
        ("GET", "/tournaments/none", None),
        ("GET", "/scrapes/none", None),
        ("GET", "/datasets/none", None),
        ("GET", "/trainings/none", None),
        ("GET", "/nothing", None),
        ("DELETE", f"/matchups/{PAIRS}", None),
        ("DELETE", f"/tournaments/{TOURNAMENT}", None),
        ("POST", "/matchups", {"p1": "heuristc", "p2": "random"}),
        ("POST", "/matchups", {"p1": "random", "p2": "random", "nothing": 1}),
        ("POST", "/matchups", {"p1": "tgi:http://127.0.0.1:9", "p2": "random"}),
        ("POST", "/tournaments", {"policies": ["random"], "budget": {"battles": 2}}),
        ("POST", "/datasets", {"name": "small", "sources": ["nowhere"]}),
        ("POST", "/trainings", {"recipe": "nothing", "dataset": "small", "name": "m"}),
        ("POST", "/matchups", {"p1": "heuristic", "p2": "random"}),
    ]
    found = []
    for method, path, body in asked:
        answer = api.request(method, path, json=body)
        found.append({"asked": f"{method} {path}", "body": body, "status": answer.status_code, "said": answer.json()})
    compare("api-refused.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
