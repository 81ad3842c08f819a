"""The compose files: valid in every combination, and each service no more than it needs to be."""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.api import build
from shared.errors import UsageError
from shared.jobs.routes import ROUTES
from shared.settings import Settings
from tests.deploy.test_kubernetes import WRITES
from tests.engine import no_compose

ROOT = Path(__file__).parents[2]
BASE = ("--file", "docker-compose.yml")
WATCH = ("--profile", "watch")
GPU = ("--file", "deploy/containers/compose.gpu.yml")
S3 = ("--file", "deploy/containers/compose.s3.yml")
COMBINATIONS = {
    "as it comes": (),
    "watch": WATCH,
    "bucket": (*BASE, *S3),
    "gpu": (*BASE, *GPU),
    "bucket, gpu, watch": (*BASE, *S3, *GPU, *WATCH),
}
SECONDS = {"30s": 30, "2m0s": 120}
"""As compose writes them."""
needs_compose = pytest.mark.skipif(no_compose() is not None, reason=f"no compose: {no_compose()}")


def configuration(*options: str, **variables: str) -> Any:
    """What compose makes of the files, without the variables of whoever runs the tests."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ALPHASTRAL", "CONTAINERS"))
    }
    command = ["docker", "compose", "--env-file", os.devnull, *options, "config", "--format", "json"]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@needs_compose
@pytest.mark.parametrize("options", COMBINATIONS.values(), ids=COMBINATIONS)
def test_every_combination_of_files_is_valid(options: tuple[str, ...]) -> None:
    assert configuration(*options, CONTAINERS_STORE="s3://bucket/prefix")["services"].keys() >= {
        "redis",
        "api",
        "arena",
        "reporter",
    }


@needs_compose
def test_every_service_is_hardened_bounded_and_watched() -> None:
    for name, service in configuration(*WATCH)["services"].items():
        assert (service["read_only"], service["user"], service["cap_drop"]) == (True, "10001:10001", ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


@needs_compose
def test_each_image_has_a_lock_and_no_port_is_open_beyond_loopback() -> None:
    shown = configuration(*WATCH)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    for name, service in shown["services"].items():
        arguments = service.get("build", {}).get("args", {})
        if "SERVICE" in arguments:
            assert arguments["SERVICE"] == name
            assert name in extras
            assert (ROOT / "requirements" / "images" / f"{name}.txt").exists()
        assert {port["host_ip"] for port in service.get("ports", ())} <= {"127.0.0.1"}
    assert set(shown["services"]["redis"]["networks"]) == {"inside"}
    assert shown["networks"]["inside"]["internal"] is True


@needs_compose
def test_each_service_may_write_what_is_its_own_as_on_kubernetes() -> None:
    for name, service in configuration()["services"].items():
        mounts = {mount["target"]: mount.get("read_only", False) for mount in service.get("volumes", ())}
        store = {target.removeprefix("/store/"): read_only for target, read_only in mounts.items() if "store" in target}
        assert {folder for folder, read_only in store.items() if not read_only} == WRITES[name], name


@needs_compose
def test_no_key_stands_in_a_variable_and_each_service_gets_its_own_as_files() -> None:
    services = configuration(*BASE, *S3, CONTAINERS_STORE="s3://bucket/prefix", HF_TOKEN="hf_x")["services"]
    given = {name: {secret["source"] for secret in one.get("secrets", ())} for name, one in services.items()}

    assert {key for key, names in given.items() if "alphastral_api_token" in names} == {"api"}
    assert {key for key, names in given.items() if "mistral_api_key" in names} == {"arena"}
    assert {key for key, names in given.items() if "hf_token" in names} == {"arena", "trainer", "inference"}
    assert {key for key, names in given.items() if "aws_secret_access_key" in names} == given.keys() - {"redis"}
    assert {key for key, names in given.items() if "redis_password" in names} == given.keys() - {"inference"}
    for service in services.values():
        assert not [name for name in service.get("environment") or () if name.endswith(("_KEY", "_TOKEN", "_KEY_ID"))]


@needs_compose
def test_who_needs_nothing_outside_reaches_nothing_outside() -> None:
    shown = configuration(*WATCH)

    outside = {name for name, service in shown["services"].items() if "outside" in service["networks"]}
    assert outside == {"arena", "scraper", "trainer", "inference"}
    assert shown["networks"]["front"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}


@needs_compose
def test_redis_is_full_before_its_container_is() -> None:
    redis = configuration()["services"]["redis"]

    assert redis["environment"]["REDIS_MAXMEMORY"] == "256mb"
    assert int(redis["mem_limit"]) >= 2 * 256 * 1024**2
    assert "maxmemory-policy noeviction" in (ROOT / "deploy/containers/redis/redis.conf").read_text()


@needs_compose
def test_every_queue_has_a_worker() -> None:
    commands = [service.get("command") or [""] for service in configuration()["services"].values()]

    assert {route.queue for route in ROUTES.values()} <= {
        command[-1] for command in commands if "deploy.worker" in command
    }


@needs_compose
def test_a_worker_is_not_ended_before_its_grace() -> None:
    services = configuration()["services"]
    workers = {name: one for name, one in services.items() if "deploy.worker" in (one.get("command") or ())}
    usual = Settings.model_fields["worker_grace_seconds"].default

    assert workers.keys() == {"arena", "reporter", "scraper", "trainer"}
    for name, worker in workers.items():
        grace = float(worker["environment"].get("ALPHASTRAL_WORKER_GRACE_SECONDS", usual))
        assert SECONDS[worker["stop_grace_period"]] >= grace + 5, name


@needs_compose
def test_no_password_stands_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct-horse")

    shown = json.dumps(configuration(CONTAINERS_REDIS_PASSWORD_FILE=str(tmp_path / "password")))

    assert "correct-horse" not in shown
    assert "requirepass" not in shown


def test_an_api_that_is_published_beyond_loopback_wants_a_token(tmp_path: Path) -> None:
    inside = Settings(redis_url="redis://127.0.0.1:9", store=str(tmp_path), api_host="0.0.0.0")

    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        build(inside)
    with pytest.raises(UsageError, match=r"192\.168\.0\.2"):
        build(inside.model_copy(update={"api_published_at": "192.168.0.2"}))
    build(inside.model_copy(update={"api_published_at": "127.0.0.1"}))
    build(inside.model_copy(update={"api_published_at": "192.168.0.2", "api_token": SecretStr("x")}))
