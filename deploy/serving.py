"""The built-in server: `alphastral serve`, and as a child of commands that need one.

`python -m deploy.serving` is the same, and ends when its input does.
"""

import json
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.options import LogLevel
from shared.errors import AlphaStralError, NotFound, Unreachable, UsageError
from shared.policies import PolicySpec, parse_policy
from shared.process import Child, end_with_parent, in_url, listen, terminated_as_interrupted
from shared.registry import Registry
from shared.served import announced
from shared.settings import Settings
from shared.store import Store
from shared.text import configure_logging

if TYPE_CHECKING:
    from services.arena.policies import Connect, Policy
    from services.inference.requests import ServedModel

log = logging.getLogger(__name__)

START_SECONDS = 600.0
"""A large model is read from a slow disk."""
_STOP_SECONDS = 10.0

Models = Annotated[
    list[str] | None,
    typer.Argument(help="smollm2, NAME or NAME@VERSION of the registry, a folder, or a model's name on the Hub."),
]


def serve(
    models: Models = None,
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="It asks nobody for a key: keep it where only friends reach it.")] = (
        "127.0.0.1"
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the CPU; else as torch sees fit.", min=1)] = None,
    max_concurrent_requests: Annotated[
        int, typer.Option(help="Waiting and worked on together; more are refused with 429.", min=1)
    ] = 128,
    max_batch_rows: Annotated[int, typer.Option(help="Requests in one forward.", min=1)] = 32,
    max_batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens of prompts in one forward [4096; on a GPU 16384].", min=1)
    ] = None,
    address_file: Annotated[
        Path | None,
        typer.Option(help="Where to write its address, as JSON, when ready [default: where `battle` looks]."),
    ] = None,
    log_level: LogLevel = None,
) -> None:
    """Serve a language model, and adapters over it, over the HTTP API of Text Generation Inference."""
    from services.inference.engine import Limits
    from services.inference.serve import load_models, run

    configure_logging(log_level or Settings().log_level)
    # The port is taken before the model is loaded, which takes longer.
    listening = listen(host, port)
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    url = f"http://{in_url(reached)}:{listening.getsockname()[1]}"

    # However it is told to end, copies of a bucket's models go: they would fill the disk, start by start.
    with terminated_as_interrupted(), ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="alphastral-models-"))
        found = [resolve(name, Settings(), Path(folder)) for name in models or ["smollm2"]]
        loaded = load_models(found, device=device, dtype=dtype)
        names = [each.name for each in found]

        def tell() -> None:
            log.info("%s at %s, on %s in %s.", ", ".join(names), url, device, loaded.dtype)
            entry = address_file or Settings().served_folder / f"{os.getpid()}-{listening.getsockname()[1]}.json"
            try:
                held.enter_context(announced(entry, url, names))
            except OSError as error:
                log.warning("By its name alone no command finds it: %s cannot be written: %s", entry, error.strerror)
            else:
                log.info("To play it: alphastral battle --p1 %s", shlex.quote(f"tgi:{names[-1]}"))

        limits = Limits(
            max_concurrent_requests,
            max_batch_rows,
            max_batch_tokens or (16_384 if device.startswith("cuda") else Limits().batch_tokens),
        )
        with suppress(KeyboardInterrupt):
            run(loaded, found, listening, limits=limits, threads=threads, on_ready=tell)


def resolve(name: str, settings: Settings, into: Path) -> "ServedModel":
    """The model that is called so: in the registry, a folder, a package, or on the Hub.

    A bucket's version is copied below `into`. Raises UsageError, NotFound, BrokenRecord.
    """
    from services.inference.requests import ServedModel

    registry = Registry(Store(settings.store))
    model, _, version = name.partition("@")
    try:
        version = version or registry.current(model)
        card = registry.card(model, version)
    except NotFound:
        return _elsewhere(name)
    folder = registry.fetch(model, version, into)
    shown = card.model_dump(mode="json", exclude={"files"}, exclude_none=True)
    if card.kind == "adapter":
        return ServedModel(f"{model}@{version}", card.base, folder, shown)
    return ServedModel(f"{model}@{version}", str(folder), None, shown)


def _elsewhere(name: str) -> "ServedModel":
    from services.inference.requests import ServedModel
    from shared.language.load import SMOLLM2, adapter_base

    if name == SMOLLM2:
        return ServedModel(name, SMOLLM2)
    folder = Path(name)
    if folder.is_dir():
        # An adapter's card names its base by the whole path.
        folder = folder.resolve()
        base = adapter_base(folder)
        written = folder / "card.json"
        card = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
        called = folder.name
        return ServedModel(called, str(folder) if base is None else base, None if base is None else folder, card)
    if "@" not in name and name.count("/") == 1 and not name.startswith((".", "/")):
        return ServedModel(name, name)
    raise UsageError(f"{name!r} is no model of the registry, no folder, and no model's name on the Hub")


# ── as a child of another command ───────────────────────────────────────────────────────────────────


@contextmanager
def served(
    folder: Path, models: Iterable[str], *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of these models, and what it calls them, while the context lasts; its log in `folder`.

    In the folder where this machine's servers are told, it is found by its models' names, too. Raises Unreachable, with
    the end of the log, where it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = (folder / "server.json").absolute()
    address.unlink(missing_ok=True)
    command = [sys.executable, "-m", "deploy.serving", *models, *options, "--port", "0", "--address-file", str(address)]
    child = Child("the built-in server", command, log=folder / "server.log", environment=environment)
    with child.running(_STOP_SECONDS) as server:
        server.wait_until(address.exists, START_SECONDS)
        told = json.loads(address.read_text(encoding="utf-8"))
        yield told["url"], told["models"]


@contextmanager
def local_models(policies: Iterable[str], tell: Callable[[str], None]) -> Iterator[Callable[["Connect"], "Connect"]]:
    """Serve the models of all policies `local:MODEL` among these; without one, nothing is started.

    Gives what teaches a way to reach models about them. Raises UsageError, in the server's words, when it does not
    start.
    """
    models = sorted({parse_policy(text).model or "" for text in policies if text.startswith("local:")})
    if not models:
        yield lambda connect: connect
        return
    tell(f"starting the built-in server for {', '.join(models)} …")
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="alphastral-local-")))
        try:
            url, names = running.enter_context(served(folder, models))
        except Unreachable as error:
            raise UsageError(error.message) from error
        yield partial(_reaching, url, dict(zip(models, names, strict=True)))


def _reaching(url: str, names: Mapping[str, str], connect: "Connect") -> "Connect":
    def reach(spec: PolicySpec) -> "Policy":
        if spec.kind != "local":
            return connect(spec)
        # Asked as any other such server; what was written stays the policy's name.
        return connect(replace(spec, kind="tgi", model=names[spec.model or ""], url=url))

    return reach


def main() -> None:
    """Serve, as a child process: it ends when its standard input does."""
    end_with_parent()
    try:
        typer.run(serve)
    except AlphaStralError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
