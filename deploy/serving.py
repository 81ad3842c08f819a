"""`alphastral serve`: the built-in server. `python -m deploy.serving` is the same, and ends when its input does."""

import json
import logging
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import AlphaStralError, NotFound, UsageError
from shared.process import in_url, listen, terminated_as_interrupted
from shared.registry import Registry
from shared.settings import Settings
from shared.store import Store, replace_file
from shared.text import configure_logging

if TYPE_CHECKING:
    from services.inference.requests import ServedModel

log = logging.getLogger(__name__)

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
    address_file: Annotated[Path | None, typer.Option(help="Where to write its address, as JSON, when ready.")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR [default: LOG_LEVEL, else INFO].")
    ] = None,
) -> None:
    """Serve a language model, and adapters over it, over the HTTP API of Text Generation Inference."""
    from services.inference.engine import Limits
    from services.inference.serve import load_models, run

    configure_logging(log_level or Settings().log_level)
    # The port is taken before the model is loaded, which takes longer.
    listening = listen(host, port)
    url = f"http://{in_url(host)}:{listening.getsockname()[1]}"

    # However it is told to end, copies of a bucket's models go: they would fill the disk, start by start.
    with terminated_as_interrupted(), tempfile.TemporaryDirectory(prefix="alphastral-models-") as folder:
        found = [resolve(name, Settings(), Path(folder)) for name in models or ["smollm2"]]
        loaded = load_models(found, device=device, dtype=dtype)

        def tell() -> None:
            log.info("%s at %s, on %s in %s.", ", ".join(each.name for each in found), url, device, loaded.dtype)
            if address_file is not None:
                whole = json.dumps({"url": url, "models": [each.name for each in found]})
                replace_file(address_file, whole.encode())

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
        base = adapter_base(folder)
        written = folder / "card.json"
        card = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
        called = folder.resolve().name
        return ServedModel(called, str(folder) if base is None else base, None if base is None else folder, card)
    if "@" not in name and name.count("/") == 1 and not name.startswith((".", "/")):
        return ServedModel(name, name)
    raise UsageError(f"{name!r} is no model of the registry, no folder, and no model's name on the Hub")


def main() -> None:
    """Serve, as a child process: it ends when its standard input does."""
    from shared.process import end_with_parent

    end_with_parent()
    try:
        typer.run(serve)
    except AlphaStralError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
