"""`alphastral doctor`, and results as JSON: every command gives one, or is known to have none."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.cli import WITHOUT_JSON, app
from deploy.cli.doctor import Looked, diagnose
from shared.settings import Settings


def commands() -> Iterator[tuple[str, Any]]:
    """All of the app's, and those of its groups."""
    whole: Any = typer.main.get_command(app)
    for name, command in whole.commands.items():
        yield name, command
        for inside, each in getattr(command, "commands", {}).items():
            yield f"{name} {inside}", each


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_gives_its_result_as_json_or_says_why_it_has_none(name: str, command: Any) -> None:
    has_it = any("--json" in parameter.opts for parameter in command.params)
    source = inspect.getsource(inspect.unwrap(command.callback))
    gives_it = any(call in source for call in ("result(", "print_result(", "print_status(", "_follow(", "play_suite("))

    assert (has_it, gives_it) == ((False, False) if name in WITHOUT_JSON else (True, True))


@pytest.mark.parametrize("arguments", [("policies",), ("value", "show"), ("models",)])
def test_standard_output_is_json_alone_and_the_next_call_is_words_again(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [*arguments, "--json"]

    told = CliRunner().invoke(app, given)
    words = CliRunner().invoke(app, given[:-1])

    json.loads(told.stdout)
    assert told.stderr == words.stdout
    assert words.stderr == ""


def found(settings: Settings, folder: Path) -> dict[str, Looked]:
    return {each.what: each for each in diagnose(settings, folder)}


def test_what_is_needed_and_missing_is_told_with_what_to_do(tmp_path: Path) -> None:
    (blocked := tmp_path / "file").touch()
    settings = Settings(node=tmp_path / "nothing", store=str(blocked / "store"), redis_url="redis://127.0.0.1:9")

    looked = found(settings, tmp_path)

    assert (looked["Node.js"].state, looked["Node.js"].needed) == ("missing", True)
    assert "ALPHASTRAL_NODE" in str(looked["Node.js"].advice)
    assert (looked["Redis"].state, looked["Redis"].needed) == ("missing", False)
    assert looked["simulator"].state == "there"


def test_a_redis_that_answers_is_told_with_its_policy_and_no_secret_is(redis_url: str, tmp_path: Path) -> None:
    looked = found(Settings(redis_url=redis_url, mistral_api_key="s3cret", api_token="t0ken"), tmp_path)

    assert looked["Redis"].state == looked["MISTRAL_API_KEY"].state == "there"
    assert "noeviction" in looked["Redis"].told and "MB used" in looked["Redis"].told
    assert not any(secret in str(looked) for secret in ("s3cret", "t0ken"))
