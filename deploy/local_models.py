"""The policies `local:MODEL`: one built-in server for all of them, while the command lasts."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.stack import Child
from services.arena.policies import Connect, Policy
from shared.errors import UsageError
from shared.policies import PolicySpec, parse_policy
from shared.settings import child_environment

START_SECONDS = 600.0
"""A large model is read from a slow disk."""
_LOOK_SECONDS = 0.1
_STOP_SECONDS = 10.0


@contextmanager
def local_models(policies: Iterable[str], tell: Callable[[str], None]) -> Iterator[Callable[[Connect], Connect]]:
    """Serve the models of all `local:` policies among these; without one, nothing is started.

    Gives what teaches a way to reach models about them. Raises UsageError, in the server's words, when it does not
    start.
    """
    models = sorted({parse_policy(text).model or "" for text in policies if text.startswith("local:")})
    if not models:
        yield lambda connect: connect
        return
    tell(f"starting the built-in server for {', '.join(models)} …")
    with tempfile.TemporaryDirectory(prefix="alphastral-local-") as folder:
        address = Path(folder) / "address.json"
        command = [sys.executable, "-m", "deploy.serving", *models, "--port", "0", "--address-file", str(address)]
        child = Child("the built-in server", command, Path(folder) / "log", child_environment())
        child.start()
        try:
            url, names = _wait(child, address)
            yield lambda connect: _reaching(connect, url, dict(zip(models, names, strict=True)))
        finally:
            _end(child)


def _reaching(connect: Connect, url: str, names: dict[str, str]) -> Connect:
    def reach(spec: PolicySpec) -> Policy:
        if spec.kind != "local":
            return connect(spec)
        # Asked as any other such server; what was written stays the policy's name.
        return connect(replace(spec, kind="tgi", model=names[spec.model or ""], url=url))

    return reach


def _wait(child: Child, address: Path) -> tuple[str, list[str]]:
    """Its address, and the names under which it serves what it was asked for, in that order."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if address.exists():
            told = json.loads(address.read_text(encoding="utf-8"))
            return told["url"], told["models"]
        if not child.alive:
            raise UsageError(f"the built-in server did not start: {child.last_words()}")
        time.sleep(_LOOK_SECONDS)
    raise UsageError(f"the built-in server was not ready after {START_SECONDS:.0f} s: {child.last_words()}")


def _end(child: Child) -> None:
    child.tell(subprocess.Popen.terminate)
    deadline = time.monotonic() + _STOP_SECONDS
    while child.alive and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    child.tell(subprocess.Popen.kill)
