"""What every source file keeps to, read as text and as syntax."""

import ast
import re

import pytest

from tests.architecture.sources import PACKAGES, ROOT, modules, name, tree

ENVIRONMENT_NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
READ_THE_ENVIRONMENT = {"shared/settings.py": "the only place that reads settings"}
MOST_LINES = 300
LONGER: dict[str, str] = {
    "benchmarks/faults.py": "one soak: each kind of fault, how it ends, and what became of the battles",
    "shared/process.py": "a process: how it is started, ended, told to end, and where it listens",
    "deploy/cli/loop.py": "one run, read from its first step to its last",
    "deploy/cli/play.py": "work that a command does in its own process, what is shown of it, and `battle`",
    "services/arena/battlefields/server.py": "one conversation: log in, challenge, fight, watch",
    "services/inference/requests.py": "what may be asked, and how it becomes work",
    "services/inference/supervisor.py": "one engine: which version it serves, and how it is started and watched",
    "services/arena/backends/answers.py": "what a server sends: its document, its choice, the answer in it",
    "services/arena/backends/transport.py": "the way to an endpoint, and what can go wrong on it",
    "services/arena/play.py": "a battle of a matchup, from its seeds to its record",
    "services/reporter/charts.py": "one function a chart",
    "services/reporter/leaderboard.py": "a table from its runs to its page, and a tournament's",
    "services/reporter/report.py": "a report's page from its figures to its file, and the job that writes it",
    "services/reporter/figures.py": "the figures of a report, and one function for each",
    "services/scraper/datasets.py": "a dataset: what is asked for, what was collected, what is written of it",
    "services/trainer/sft.py": "a training, read from top to bottom, and whose folder and how far it is",
    "shared/battle/protocol.py": "the log: who sees which line, and what one says of the field",
    "shared/policies.py": "a policy's name: its kinds, its options, and how they are read",
    "shared/simulator/simulator.py": "one process, and the battles on it",
    "shared/tournaments.py": "a tournament and what its matchups say, as both are stored",
    "shared/records.py": "the shapes of what is stored, and two lines to read them",
    "services/arena/tournaments.py": "a tournament: which matchup comes next, how far it is, and how it is asked for",
}
"""File → why it has one subject all the same."""


def lines_that_touch_the_environment(source: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(source)
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT_NAMES)
        or (isinstance(node, ast.ImportFrom) and any(alias.name in ENVIRONMENT_NAMES for alias in node.names))
    ]


@pytest.mark.parametrize(
    "line", ["import os; os.environ['X']", "import os; os.getenv('X')", "from os import environ", "os.environ.copy()"]
)
def test_a_look_at_the_environment_is_recognised(line: str) -> None:
    assert lines_that_touch_the_environment(ast.parse(line)) == [1]


def test_only_settings_reads_the_environment() -> None:
    found = {name(path): lines_that_touch_the_environment(tree(path)) for path in modules(*PACKAGES, "benchmarks")}

    assert {file: lines for file, lines in found.items() if lines and file not in READ_THE_ENVIRONMENT} == {}


def test_the_simulator_host_reads_no_environment() -> None:
    hosts = sorted((ROOT / "shared" / "simulator").glob("*.js"))

    assert hosts
    assert [host.name for host in hosts if "process.env" in host.read_text(encoding="utf-8")] == []


def test_every_module_says_what_it_is() -> None:
    files = modules(*PACKAGES, "benchmarks", "scripts", "tests")
    silent = [name(path) for path in files if path.stat().st_size and not ast.get_docstring(tree(path))]

    assert silent == []


def test_a_long_file_was_asked_whether_it_has_two_subjects() -> None:
    files = modules(*PACKAGES, "benchmarks", "scripts")
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES}.keys() == LONGER.keys()


def test_every_setting_is_shown_in_the_example() -> None:
    from shared.settings import Settings

    shown = set(re.findall(r"^# ALPHASTRAL_(\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))

    assert shown == {field.upper() for field in Settings.model_fields}
