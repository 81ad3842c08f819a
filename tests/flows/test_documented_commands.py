"""Every command in README and docs is one that works: all are parsed, and those without network and key are run.

What is long as it is written is bounded here: fewer battles, and a tiny model in place of one of 135 million weights.
"""

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from fastapi.testclient import TestClient
from starlette.routing import Match

from deploy.api import build
from deploy.cli import app, main
from shared.policies import parse_policy
from shared.records import read_run
from shared.registry import Registry
from shared.settings import Settings, child_environment
from shared.store import Store
from tests.flows.test_loop_flow import operator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("alphastral", "curl", "docker", "make", "python", ".venv/bin/pytest", ".venv/bin/python")
AWAY = re.compile(r"(mistral|openai|local|tgi|hf|store):|https?://|server|enqueue|\$|TOKEN")
"""Needs a network, a key, a model or a person."""
FEWER = {"--n": 4}
QUICK_SEARCH = "search?worlds=1&dice=1&time=0.05"


def commands(page: Path, *, inline: bool = True) -> Iterator[list[str]]:
    """The words of each command on a page, in order. In a block, what stands behind two spaces is said of it."""
    text = page.read_text(encoding="utf-8")
    blocks = r"^ *```\w*\n(.*?)^ *```"
    for block in re.findall(blocks, text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            command, *more = re.split(r"\s{2,}", line.strip())
            if command.startswith("curl"):
                command = " ".join([command, *(word for word in more if word.startswith("$"))])
            if command.split(" ")[0] in PROGRAMS and (command.split(" ")[1:] or command == "make"):
                yield shlex.split(command)
    if inline:
        for span in re.findall(r"`([^`\n]+)`", re.sub(blocks, "", text, flags=re.MULTILINE | re.DOTALL)):
            if span.split(" ")[0] in PROGRAMS and " " in span:
                yield shlex.split(span)


# ── parsed ──────────────────────────────────────────────────────────────────────────────────────────


def parse(words: list[str]) -> None:
    """Raises what the command line would say of it. What is left open (`ID`, `[--public]`) is taken as it stands."""
    command: Any = typer.main.get_command(app)
    name, *rest = [word.strip("[]…") for word in words if word != "…"]
    while rest and hasattr(command, "commands"):
        name, *rest = rest
        command = command.commands[name]
    if hasattr(command, "commands") or (not rest and name != "resume"):
        return
    try:
        given = command.make_context(name, rest).params
    except Exception as error:
        if "Missing" in str(error):  # In a sentence a command is named without all that it needs.
            return
        raise
    for field in ("p1", "p2", "policy"):
        if field in given and given[field] not in ("AlphaStral", "careful"):
            parse_policy(given[field])


def check_curl(words: list[str], routes: list[Any]) -> None:
    method = words[words.index("-X") + 1] if "-X" in words else "GET"
    for url in (word for word in words if word.startswith(("$API", "localhost"))):
        scope = {"type": "http", "method": method, "path": url[url.index("/") :]}
        assert Match.FULL in [route.matches(scope)[0] for route in routes], url


def check_docker(words: list[str]) -> None:
    services: dict[str, Any] = {}
    files = [after for word, after in pairwise(words) if word == "-f"] or ["docker-compose.yml"]
    for file in files:
        services |= yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["services"]
    plain = [word for word in words[2:] if not word.startswith("-") and not word.endswith(".yml")]
    names = {word.partition("=")[0] for word in plain} - {"up", "down", "logs", "build"}
    assert names <= services.keys() | {profile for each in services.values() for profile in each.get("profiles", ())}


def test_every_command_that_is_written_down_can_be_given() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    routes = [*build(Settings(redis_url="redis://127.0.0.1:9", _env_file=None)).routes]
    for words in (words for page in PAGES for words in commands(page)):
        match words:
            case ["alphastral", *_]:
                parse(words)
            case ["make", target, *_]:
                assert target in targets, target
            case ["curl", *_]:
                check_curl(words, routes)
            case ["docker", "compose", *_]:
                check_docker(words)
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module), module
            case [program, path, *_]:
                assert program.endswith(("python", "pytest")) and (path.startswith("-") or (ROOT / path).exists()), (
                    words
                )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("alphastral batle --n 1", "batle"),
        ("alphastral battle --battles 3", "No such option"),
        ("alphastral battle --p1 mistrl:large", "did you mean 'mistral'"),
        ("alphastral battle --n some", "valid integer"),
        ("alphastral dataset bild x", "bild"),
    ],
)
def test_a_command_that_is_wrong_is_found(written: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        parse(written.split())


# ── run ─────────────────────────────────────────────────────────────────────────────────────────────


def call(*words: str) -> int:
    before, sys.argv = sys.argv, list(words)
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    return 0


def bounded(words: list[str]) -> list[str]:
    """The command on what is there, with fewer battles."""
    newest = max(Path("runs").glob("*.json"), default=Path("runs/X.json"), key=lambda path: path.stat().st_mtime)
    instead = {"runs/X.json": str(newest), "search": QUICK_SEARCH}
    changed = [instead.get(word, word) for word in words]
    for option, most in FEWER.items():
        if option in changed:
            at = changed.index(option) + 1
            changed[at] = str(min(int(changed[at]), 2 if QUICK_SEARCH in changed else most))
    return changed


def documented() -> list[list[str]]:
    """The commands of all blocks, page by page in the order of the page, each once."""
    return list({shlex.join(words): words for page in PAGES for words in commands(page, inline=False)}.values())


@pytest.mark.slow
def test_what_needs_neither_network_nor_key_runs_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = re.search(r"```toml\n(policies.*?)```", (ROOT / "docs/verdicts.md").read_text(), re.DOTALL)
    assert suite is not None
    small = re.sub(r', "mistral:[^"]*"|cost_usd[^\n]*', "", suite[1]).replace("battles = 400", "battles = 8")
    Path("suite.toml").write_text(re.sub(r"battles = 20 ", "battles = 2 ", small))
    needs_torch = ("demo", "evaluate", "ladder", "loop", "serve", "train", "up", "value")
    run = []
    for words in documented():
        if words[0] == "alphastral" and words[1] not in needs_torch and not AWAY.search(" ".join(words[2:])):
            if words[1] in ("scrape", "bench", "try", "review"):
                continue
            if words[1:3] in (["models", "show"], ["models", "promote"]):
                continue
            if words[1:2] == ["models"] and len(words) > 2:
                continue
            assert call(*bounded(words)) == 0, (words, capsys.readouterr())
            run.append(words[1])

    assert {"battle", "report", "verify", "skew", "ratings", "tournament", "selfplay", "dataset", "policies"} <= {*run}
    assert "models" in run and Path("leaderboard.html").exists() and list(Path("reports").glob("*.html"))


def test_what_is_asked_of_the_api_is_answered(redis_url: str, tmp_path: Path) -> None:
    settings = Settings(redis_url=redis_url, store=str(tmp_path / "store"), _env_file=None)
    answered = []
    with TestClient(build(settings), base_url="http://127.0.0.1") as api:
        id = ""
        for words in documented():
            if words[0] != "curl":
                continue
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            headers = dict(after.split(": ") for word, after in pairwise(words) if word == "-H")
            body = words[words.index("-d") + 1] if "-d" in words else None
            for url in (word for word in words if word.startswith(("$API", "localhost"))):
                path = url[url.index("/") :].replace("/ID", f"/{id}")
                answer = api.request(method, path, headers=headers, content=body)
                answered.append((method, path.removeprefix(f"/matchups/{id}"), answer.status_code))
                id = answer.json()["id"] if method == "POST" else id

    # The same Idempotency-Key stands for the same matchup, whose id README tells. Nothing is played here.
    assert {path for method, path, status in answered if status == 404} == {"/run", "/report"}
    assert {status for method, path, status in answered if path not in ("/run", "/report")} == {200, 202}
    assert len(answered) >= 9


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_way_from_battles_to_a_model_that_plays_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = operator(tmp_path, steps=4, every=4)
    monkeypatch.chdir(tmp_path)
    for name, value in (("STORE", tiny.store), ("RECIPES", str(tiny.recipes))):
        monkeypatch.setenv(f"ALPHASTRAL_{name}", value)
    instead = {"cpu-smollm2": "tiny", "smollm2": "tiny-base", "--until-decided": "--n=2"}
    instead["mistral:mistral-large-latest"] = "random"
    readme = [[instead.get(word, word) for word in words] for words in commands(ROOT / "README.md", inline=False)]
    way = {words[1]: words for words in readme if words[0] == "alphastral" and {"mine", "data", "battles"} & {*words}}
    (battle,) = (words for words in readme if "tgi:mine" in words)

    for command in ("selfplay", "dataset", "train", "evaluate"):
        shorter = ["--decisions=4", "--written=0"] if command == "evaluate" else []
        words = next(words for words in readme if words[1:2] == [command])
        assert call(*bounded(words), *shorter) == 0, capsys.readouterr()
    serve = [sys.executable, "-c", "from deploy.cli import main; main()", *way["serve"][1:], "--port=0", "--threads=1"]
    environment = child_environment(PYTHONPATH=str(ROOT))
    server = subprocess.Popen(serve, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        said = []
        while "To play it" not in (line := server.stderr.readline()):
            said.append(line)
            assert line, said
        assert call(*battle, "--output=run.json") == 0, capsys.readouterr()
    finally:
        server.terminate()
        server.communicate()

    version = Registry(Store(tiny.store)).current("mine")
    run = read_run(Path("run.json"))
    assert f"alphastral battle --p1 tgi:mine@{version}" in line
    assert run.request is not None and run.request.p1 == f"tgi:mine@{version}"
    assert run.summary.n_games == 2 and run.cards == {"p1": "checked"}
    assert list(Path(tiny.store, "serving").iterdir()) == []
    shutil.rmtree("battles")
