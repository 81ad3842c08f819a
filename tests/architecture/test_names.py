"""A class's name stands for one thing: where it is there twice, all of them are in one service."""

import ast
from collections import defaultdict

from tests.architecture.sources import PACKAGES, modules, name, tree


def twice() -> dict[str, list[str]]:
    """Public class name → the files of its classes, where not all of them are in one service."""
    files: dict[str, list[str]] = defaultdict(list)
    for path in modules(*PACKAGES):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(name(path))
    return {each: paths for each, paths in sorted(files.items()) if len(paths) > 1 and len(set(map(home, paths))) > 1}


def home(path: str) -> str:
    """The service that a file belongs to; outside of services, the file itself."""
    return "/".join(path.split("/")[:2]) if path.startswith("services/") else path


def test_no_class_name_stands_for_two_things() -> None:
    assert twice() == {}
