"""Where the project's sources are, for the tests that look at them as text."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("shared", "services", "deploy")


def modules(*folders: str) -> list[Path]:
    """The Python files under these folders of the checkout, sorted."""
    return sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts
    )


def name(path: Path) -> str:
    """A file as a person calls it: its path in the checkout."""
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    """A file's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
