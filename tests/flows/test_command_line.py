"""The command line says what is wrong in a sentence, before it has played anything."""

import gzip
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from deploy.cli import COMMANDS, app, said
from shared.records import BattleRecord, read_run
from shared.settings import child_environment
from tests.flows.conftest import alphastral, eventually

ROOT = str(Path(__file__).parents[2])
COMMAND = [sys.executable, "-c", "from deploy.cli import main; main()"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--p1", "heuristc"), "error (--p1): unknown policy 'heuristc'; did you mean 'heuristic'?"),
        (("--n", "0"), "error (--n): Input should be greater than or equal to 1"),
        (("--output", "run.html"), "error (--output): run.html cannot be the run"),
        (("--output", "/proc/nowhere/run.json"), "error (--output): cannot write to /proc/nowhere"),
        (("--format", "gen9ou", "--team1", "empty"), "error (--team1): this team is empty"),
        (("--battlefield", "server", "--showdown-port", "70000"), "Invalid value for '--showdown-port'"),
    ],
)
def test_what_cannot_be_played_is_told_with_its_option(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "empty").touch()

    ended = alphastral("battle", *arguments, folder=tmp_path)

    assert (ended.status, ended.stdout) == (2, "")
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("command", "variable", "value"),
    [
        ("battle", "LOG_LEVEL", "loud"),
        ("resume", "REDIS_URL", "nonsense"),
        ("up", "ALPHASTRAL_API_PORT", "http"),
    ],
)
def test_a_setting_that_cannot_be_is_told_without_a_traceback(
    tmp_path: Path, command: str, variable: str, value: str
) -> None:
    ended = alphastral(command, folder=tmp_path, **{variable: value})

    assert ended.status == 2
    assert ended.stderr.startswith("error: ")
    assert variable in ended.stderr


def test_a_matchup_leaves_its_run_and_its_report(tmp_path: Path) -> None:
    ended = alphastral("battle", "--n", "2", "--seed", "7", folder=tmp_path)

    assert ended.status == 0, ended.stderr
    assert "won" in ended.stdout
    assert len(list((tmp_path / "runs").glob("random_vs_random_n2_*.json"))) == 1
    assert len(list((tmp_path / "reports").glob("random_vs_random_n2_*.html"))) == 1


def test_a_battle_that_was_killed_or_hung_up_goes_on_with_the_same_call(tmp_path: Path) -> None:
    call = [*COMMAND, "battle", "--p1", "heuristic", "--n", "40", "--concurrency", "2"]
    environment = child_environment(PYTHONPATH=ROOT)
    kept: dict[str, bytes] = {}

    def played() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.glob("var/battle/matchups/*/battles/*.gz")}

    # A terminal that is closed ends a command as being told to end does.
    for sent, ended_by, after in ((signal.SIGKILL, signal.SIGKILL, 8), (signal.SIGHUP, signal.SIGTERM, 16)):
        battle = subprocess.Popen(call, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
        eventually(lambda least=after: len(played()) >= least)  # type: ignore[misc]
        battle.send_signal(sent)
        assert battle.wait() == -ended_by
        before, kept = kept, played()
        assert len(kept) < 40 and before.items() <= kept.items()
    (folder,) = (tmp_path / "var/battle/matchups").iterdir()

    again = alphastral(*call[len(COMMAND) :], folder=tmp_path)

    assert again.status == 0
    assert f"An earlier call was interrupted after {len(kept)} of them; this one goes on from there." in again.stderr
    (path,) = (tmp_path / "runs").iterdir()
    run = read_run(path)
    assert path.stem.endswith(f"_n40_{folder.name}") and run.summary.n_games == 40
    assert [battle.game_id for battle in run.battles] == list(range(1, 41))
    # What was played before was not played again: its clock says when.
    told = {battle.index: battle.timestamp for battle in run.battles}
    records = {int(name[:5]): BattleRecord.model_validate_json(gzip.decompress(raw)) for name, raw in kept.items()}
    assert {index: told[index] for index in records} == {index: each.started_at for index, each in records.items()}
    assert list((tmp_path / "var/battle/matchups").iterdir()) == []


def test_help_imports_no_large_library_and_tells_of_every_command(tmp_path: Path) -> None:
    """Their import is what help would cost: 1.6 s of CPU once, 0.2 s without."""
    code = "import sys; from deploy.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    environment = child_environment(PYTHONPATH=ROOT)

    call = [sys.executable, "-c", code, "--help"]
    told = subprocess.run(call, env=environment, cwd=tmp_path, capture_output=True, text=True)

    *said, modules = told.stdout.splitlines()
    ours = {name for name in modules.split() if name.split(".")[0] in ("deploy", "services", "shared")}
    assert ours == {"deploy", "deploy.cli", "shared", "shared.errors", "shared.process"}
    assert not {"numpy", "obstore", "pydantic", "redis", "rich", "torch"} & set(modules.split())
    assert {line.split()[0] for line in said if line[:2] == "  " and line[2] not in " -"} > set(COMMANDS)


def test_the_version_and_the_completion_of_a_commands_name_cost_no_import(tmp_path: Path) -> None:
    def told(*arguments: str, **environment: str) -> list[str]:
        return alphastral(*arguments, folder=tmp_path, **environment).stdout.split()

    completing = {"COMP_WORDS": "alphastral mat", "COMP_CWORD": "1", "_ALPHASTRAL_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv[0] = 'alphastral'; from deploy.cli import app; app(prog_name='alphastral')"
    environment = child_environment(PYTHONPATH=ROOT, **completing)
    completed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert told("--version") == ["alphastral", version("alphastral")]
    assert completed.stdout.split() == ["matchups", "matchup"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_says_what_it_does(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]

    assert " ".join(said(name).split()) in " ".join((command.help or "").split())
