"""The policies `local:MODEL`: one built-in server for all of them, while the command lasts."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.arena.policies import Connect, Policy
from shared.errors import Unreachable, UsageError
from shared.policies import PolicySpec, parse_policy
from shared.process import Child

START_SECONDS = 600.0
"""A large model is read from a slow disk."""
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
        with Child("the built-in server", command, log=Path(folder, "log")).running(_STOP_SECONDS) as server:
            try:
                server.wait_until(address.exists, START_SECONDS)
            except Unreachable as error:
                raise UsageError(error.message) from error
            told = json.loads(address.read_text(encoding="utf-8"))
            # The names under which it serves what it was asked for, in that order.
            yield partial(_reaching, told["url"], dict(zip(models, told["models"], strict=True)))


def _reaching(url: str, names: dict[str, str], connect: Connect) -> Connect:
    def reach(spec: PolicySpec) -> Policy:
        if spec.kind != "local":
            return connect(spec)
        # Asked as any other such server; what was written stays the policy's name.
        return connect(replace(spec, kind="tgi", model=names[spec.model or ""], url=url))

    return reach
