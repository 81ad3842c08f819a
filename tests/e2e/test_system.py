"""Matchups in containers, and what may happen to the containers meanwhile."""

import json
import urllib.request

from deploy.client import ApiKind
from services.scraper.views import DatasetStatus, NewDataset
from services.trainer.trainings import NewTraining, TrainingStatus
from shared.work import ListOf, State
from tests.deploy.test_kubernetes import WRITES
from tests.e2e.system import SLOWLY, System, assert_whole, docker, eventually, hosts, logs

DATASETS = ApiKind("datasets", ListOf[DatasetStatus], DatasetStatus)
TRAININGS = ApiKind("trainings", ListOf[TrainingStatus], TrainingStatus)


def post(url: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        answered: dict[str, object] = json.load(answer)
    return answered


def test_a_matchup_asked_for_over_http_is_played_and_its_report_served(system: System) -> None:
    api = f"http://localhost:{system.port}"

    asked = post(f"{api}/matchups", {"p1": "heuristic", "p2": "random", "battles": 40, "seed": 7})
    run = system.await_run(str(asked["id"]))

    assert_whole(run)
    with urllib.request.urlopen(f"{api}/matchups/{asked['id']}/report", timeout=30) as report:
        assert b"heuristic" in report.read()


def test_only_the_api_is_published_and_on_loopback_only(system: System) -> None:
    published: dict[str, object] = {}
    for container in system.containers():
        ports = system.inspect(container)["NetworkSettings"]["Ports"]
        published |= {port: binding for port, binding in ports.items() if binding}

    assert published == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(system.port)}]}


def test_redis_answers_nobody_without_its_password_which_stands_in_no_command_line(system: System) -> None:
    [redis] = system.containers("redis")

    assert "NOAUTH" in docker("exec", redis, "redis-cli", "ping")
    for container in system.containers():
        shown = docker("inspect", container) + docker("top", container, "axww")
        assert system.password not in shown


def test_each_service_writes_what_is_its_own_and_nothing_else(system: System) -> None:
    system.compose("--profile", "watch", "up", "--detach", "--wait", "showdown")
    folders = set[str]().union(*WRITES.values())
    probe = "for at in $*; do (: > $at/e2e) 2>/dev/null && { echo $at; rm $at/e2e; }; done; true"
    elsewhere = ("/", "/store", "/app", "/opt/venv", "/opt/bytecode", "/usr/local/bin", "/run", "/run/secrets")

    for service, own in {**WRITES, "showdown": set[str]()}.items():
        for container in system.containers(service):
            asked = [f"/store/{folder}" for folder in sorted(folders)]
            written = docker("exec", container, "sh", "-c", probe, "probe", *asked, *elsewhere).split()
            assert set(written) == {f"/store/{folder}" for folder in own}, service


def test_a_service_finds_its_keys_in_files_and_none_in_a_variable(system: System) -> None:
    for container in system.containers():
        given = system.inspect(container)["Config"]["Env"]
        assert not [name for name in given if name.partition("=")[0].endswith(("_KEY", "_TOKEN"))]


def test_a_redis_that_is_full_refuses_what_is_new_and_forgets_nothing(system: System) -> None:
    [redis] = system.containers("redis")
    asked = "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli --no-auth-warning config get"

    for name, value in (("maxmemory", "268435456"), ("maxmemory-policy", "noeviction"), ("appendonly", "yes")):
        assert docker("exec", redis, "sh", "-c", f"{asked} {name}").split() == [name, value]


def test_two_workers_share_one_matchup(system: System) -> None:
    system.up(arena=2)

    run = system.await_run(system.ask(seed=2, move_delay=SLOWLY))

    assert_whole(run)
    assert len(hosts(run)) == 2


def test_a_worker_that_is_killed_costs_no_battle(system: System) -> None:
    system.up(arena=2)
    matchup_id = system.ask(seed=3, move_delay=SLOWLY)
    system.await_recorded(matchup_id, 4)

    docker("kill", system.containers("arena")[0])

    assert system.recorded(matchup_id) < 40
    assert_whole(system.await_run(matchup_id))
    system.up(arena=1)


def test_a_redis_that_restarts_costs_no_battle(system: System) -> None:
    matchup_id = system.ask(seed=4, move_delay=SLOWLY)
    system.await_recorded(matchup_id, 4)

    system.compose("restart", "redis")

    assert system.recorded(matchup_id) < 40
    assert_whole(system.await_run(matchup_id))


def test_a_worker_that_is_told_to_stop_hands_its_battles_back(system: System) -> None:
    [arena] = system.containers("arena")
    matchup_id = system.ask(seed=5, move_delay=SLOWLY)
    system.await_recorded(matchup_id, 4)

    system.compose("stop", "arena")

    stopped = system.inspect(arena)["State"]
    with system.client() as client:
        waiting = client.health()["queues"]["arena"]
    recorded = system.recorded(matchup_id)
    system.up()
    assert (stopped["ExitCode"], stopped["OOMKilled"]) == (0, False)
    assert waiting > 0
    assert recorded < 40
    assert_whole(system.await_run(matchup_id))


def test_down_and_up_again_in_mid_matchup_costs_no_battle(system: System) -> None:
    matchup_id = system.ask(seed=6, move_delay=SLOWLY)
    system.await_recorded(matchup_id, 4)

    system.compose("down")
    assert system.containers() == []
    system.up()

    assert_whole(system.await_run(matchup_id))


def test_a_redis_that_forgets_everything_costs_no_battle(system: System) -> None:
    matchup_id = system.ask(seed=8, move_delay=SLOWLY)
    system.await_recorded(matchup_id, 4)

    system.compose("rm", "--stop", "--force", "redis", "api")
    docker("volume", "rm", "alphastral-e2e_redis")
    system.up()

    assert_whole(system.await_run(matchup_id))


def test_a_model_plays_from_the_built_in_server(system: System) -> None:
    api = f"http://localhost:{system.port}"
    asked = post(f"{api}/matchups", {"p1": "tgi:smollm2", "p2": "heuristic", "battles": 2, "seed": 9})

    run = system.await_run(str(asked["id"]), seconds=600)

    assert_whole(run, 2)
    assert run.summary.p1_substitutions == 0


def test_what_was_trained_on_battles_is_served_at_once_and_plays(system: System) -> None:
    learned = system.await_run(system.ask(seed=10, p2="heuristic", battles=20))
    few = {"max_steps": "2", "warmup_steps": "1", "evaluate_every": "2", "save_every": "2", "scored_decisions": "2"}
    with system.client() as client:
        client.ask(DATASETS, NewDataset(name="played", sources=(f"store:matchups/{learned.matchup_id}",)))
        eventually(lambda: client.get(DATASETS, "played").state != "running")
        asked = client.ask(
            TRAININGS, NewTraining(recipe="cpu-smollm2", dataset="played", name="smollm2-tuned", set=few)
        )
        eventually(lambda: client.get(TRAININGS, asked.id).state not in (State.QUEUED, State.RUNNING), 300)
        ended = client.get(TRAININGS, asked.id)
    assert ended.result is not None, ended.failure
    model = f"smollm2-tuned@{ended.result.version}"
    [inference] = system.containers("inference")
    eventually(lambda: f"{model} is served" in logs(inference))

    played = system.await_run(system.ask(seed=11, p1="tgi:smollm2-tuned", p2="heuristic", battles=2), seconds=600)

    assert_whole(played, 2)
    assert played.request and played.request.p1 == f"tgi:{model}"
    assert played.summary.p1_substitutions == 0


def test_battles_can_be_watched_on_a_showdown_server_of_their_own(system: System) -> None:
    system.compose("--profile", "watch", "up", "--detach", "--wait", "showdown")
    [showdown] = system.containers("showdown")
    published = system.inspect(showdown)["NetworkSettings"]["Ports"]["8000/tcp"]
    asked = post(
        f"http://localhost:{system.port}/matchups",
        {"p1": "random", "p2": "max-damage", "battles": 2, "battlefield": "server"},
    )

    run = system.await_run(str(asked["id"]))

    assert_whole(run, 2)
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


def test_everything_is_well_in_the_end(system: System) -> None:
    system.up()

    eventually(lambda: all(health(system, container) == "healthy" for container in system.containers()))


def health(system: System, container: str) -> str:
    return str(system.inspect(container)["State"]["Health"]["Status"])
