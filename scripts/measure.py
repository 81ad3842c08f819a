"""How large the product is, and through how many of its files one has to follow it.

    .venv/bin/python scripts/measure.py

Lines and files: .py, .js, .lua, .css, .j2 and .html below services, shared and deploy.

A file is *entered* when one of its functions is called; what a module does while it is imported does not count, so each
way is gone twice and looked at the second time. A matchup's way leads from the API's function that is asked for it to
the HTML file, its jobs done in this process; a sample's from a run file to the dataset's folder.

How often `render(run)` *comes back* to a file: each pair of a function and a function of another file that it calls, or
that is called for it, counts once however often that is, and the first way into a file does not count. Templates, and
the words for figures (shared/text.py), are left out.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute

from deploy.kinds import KINDS
from services.reporter.report import render
from services.scraper.datasets import build
from services.scraper.rows import Reader, Wanted
from services.scraper.sources import find_sources
from shared.jobs.inline import Inline
from shared.records import read_run
from shared.settings import Settings
from shared.store import Store
from shared.web import routes_of

ROOT = Path(__file__).parents[1]
FOLDERS = ("services", "shared", "deploy")
SUFFIXES = (".py", ".js", ".lua", ".css", ".j2", ".html")
NO_STOPS = ("shared/text.py",)


def product() -> dict[str, int]:
    """File → lines, of what git knows."""
    listed = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [path for path in listed.splitlines() if path.endswith(SUFFIXES) and (ROOT / path).exists()]
    return {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in paths}


def entered(way: Callable[[], object]) -> set[str]:
    """The files of ours that are entered on the way."""
    found: set[str] = set()
    _watch(way, lambda frame: found.add(_ours(frame) or ""))
    return found - {""}


def comes_back(way: Callable[[], object]) -> int:
    """How often the way comes back to a file of ours, as the docstring above says."""
    steps: set[tuple[str, str, str, str]] = set()

    def step(frame: FrameType) -> None:
        there, back = _ours(frame), frame.f_back
        while back is not None and not _is_python_of_ours(back):
            back = back.f_back
        here = _ours(back) if back else None
        if there and here and there != here and there.endswith(".py") and there not in NO_STOPS:
            steps.add((here, back.f_code.co_name if back else "", there, frame.f_code.co_name))

    _watch(way, step)
    return len(steps) - len({there for _, _, there, _ in steps})


def _is_python_of_ours(frame: FrameType) -> bool:
    return (_ours(frame) or "").endswith(".py")


def _ours(frame: FrameType) -> str | None:
    path = frame.f_code.co_filename
    if frame.f_code.co_name == "<module>" or not path.startswith(tuple(f"{ROOT}/{folder}/" for folder in FOLDERS)):
        return None
    return path.removeprefix(f"{ROOT}/")


def _watch(way: Callable[[], object], seen: Callable[[FrameType], object]) -> None:
    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen(frame)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        way()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def measure(folder: Path) -> dict[str, float]:
    """All figures, with a store in `folder`."""
    settings = Settings(store=str(folder / "store"))
    store = Store(settings.store)
    inline = Inline(store, settings)
    kind = KINDS["matchups"](store, settings)
    routes = routes_of(kind, inline).routes
    ask = next(route.endpoint for route in routes if isinstance(route, APIRoute) and "POST" in (route.methods or ()))

    def matchup(seed: int) -> None:
        ask(kind.body(p1="heuristic", p2="random", battles=2, seed=seed), Response())
        inline.drain()

    matchup(1)
    of_matchup = entered(lambda: matchup(2))
    (run_file, _) = (folder / "store" / "matchups").glob("*/run.json.gz")
    run = read_run(run_file)

    def sample(name: str) -> None:
        build(find_sources([str(run_file)], store), Reader(Wanted()), folder / name, val_fraction=0.25, command="")

    sample("once")
    of_sample = entered(lambda: sample("twice"))
    render(run)
    lines = product()
    for way, files in (("matchup", of_matchup), ("sample", of_sample)):
        print(f"{way}:\n  " + "\n  ".join(sorted(files)))
    return {
        "lines": sum(lines.values()),
        "files": len(lines),
        "median lines": median(lines.values()),
        "files of a matchup": len(of_matchup),
        "files of a sample": len(of_sample),
        "render comes back": comes_back(lambda: render(run)),
    }


if __name__ == "__main__":
    with TemporaryDirectory(prefix="alphastral-measure-") as temporary:
        print(json.dumps(measure(Path(temporary))))
