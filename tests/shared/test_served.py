"""A model that is served on this machine is found by its name, for as long as its server lives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UsageError
from shared.served import announced, servers
from shared.settings import Settings

SERVER = """
import sys, time
from pathlib import Path
from shared.served import announced
with announced(Path(sys.argv[1]), "http://127.0.0.1:9", ["mine@1"]):
    print("there", flush=True)
    time.sleep(60)
"""


def settings(folder: Path, endpoints_file: Path | None = None) -> Settings:
    return Settings(store=str(folder), endpoints_file=endpoints_file, _env_file=None)


def test_what_is_served_here_is_an_endpoint_while_it_is(tmp_path: Path) -> None:
    here = settings(tmp_path)
    with announced(here.served_folder / "1.json", "http://127.0.0.1:8080", ["smollm2", "mine@1"]):
        (found,) = servers(here.served_folder)
        urls = [here.serving("mine@1").url, here.endpoint("smollm2").url, here.endpoint("http://127.0.0.1:8080").url]

    assert urls == ["http://127.0.0.1:8080"] * 3
    assert (found.models, found.health) == (("smollm2", "mine@1"), "http://127.0.0.1:8080/health")
    with pytest.raises(UsageError, match="no endpoint is called 'mine@1'"):
        here.serving("mine@1")


def test_a_server_answers_for_the_version_that_it_serves_and_for_no_other(tmp_path: Path) -> None:
    here = settings(tmp_path)
    with (
        announced(here.served_folder / "1.json", "http://127.0.0.1:8080", ["mine", "mine@1"]),
        pytest.raises(UsageError, match="no endpoint is called 'mine@2'.*mine@1 may be meant"),  # noqa: RUF043
    ):
        here.serving("mine@2")


def test_a_server_that_was_killed_is_passed_over_and_its_entry_taken_away(tmp_path: Path) -> None:
    path = settings(tmp_path).served_folder / "1.json"
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(path)], stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdout.readline() == b"there\n"
    before = servers(path.parent)
    server.kill()
    server.wait()

    assert [each.pid for each in before] == [server.pid]
    assert servers(path.parent) == [] and not path.exists()


def test_entries_of_another_machine_and_what_is_none_do_no_harm(tmp_path: Path) -> None:
    folder = settings(tmp_path).served_folder
    with announced(folder / "1.json", "http://127.0.0.1:8080", ["mine@1"]):
        there = json.loads((folder / "1.json").read_text()) | {"machine": "another", "models": ["mine@2"]}
        (folder / "2.json").write_text(json.dumps(there))
        (folder / "3.json").write_text('{"url": 1}')
        (folder / "4.json").write_bytes(b"\xff{")
        (folder / "5.json").mkdir()
        found = servers(folder)

    assert [each.models for each in found] == [("mine@1",)]
    assert (folder / "2.json").exists()


def test_the_newest_of_two_servers_answers_and_the_operators_own_name_before_both(tmp_path: Path) -> None:
    (tmp_path / "endpoints.toml").write_text('[small]\nurl = "http://gpu1"\n')
    here = settings(tmp_path, endpoints_file=tmp_path / "endpoints.toml")
    with (
        announced(here.served_folder / "2.json", "http://127.0.0.1:1", ["mine@1", "small@3"]),
        announced(here.served_folder / "1.json", "http://127.0.0.1:2", ["mine@1", "small"]),
    ):
        assert here.serving("mine@1").url == "http://127.0.0.1:2"
        assert here.endpoint("small").url == "http://gpu1"
        assert here.serving("small@3").url == "http://127.0.0.1:1"
