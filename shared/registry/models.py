"""The registry itself: publishes, promotes, rolls back, and looks models up."""

import hashlib
import shutil
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path

from pydantic import BaseModel

from shared.document import M, parsed
from shared.errors import BrokenRecord, Conflict, NotFound, UsageError
from shared.registry.card import CARD, ModelCard, check, inspect, is_file_name
from shared.store import Store, is_id

KEPT_PROMOTIONS = 20


class _Contract(BaseModel):
    contract: Mapping[str, str]


class Registry:
    """The models in a store. Writing raises Unreachable where the store does not take it."""

    def __init__(self, files: Store) -> None:
        self._files = files

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────

    def names(self) -> list[str]:
        return sorted(self._files.folders("models"))

    def versions(self, name: str) -> list[str]:
        """The versions of a model, oldest first: ids begin with their time. Raises NotFound for an unknown model."""
        folders = sorted(self._files.folders(f"models/{name}/versions")) if is_id(name) else []
        # In a bucket a version that is still being written, or never was to its end, has no card.
        found = [version for version in folders if self._files.exists(f"models/{name}/versions/{version}/{CARD}")]
        if not found:
            raise NotFound(f"no model {name!r} is in the registry")
        return found

    def current(self, name: str) -> str:
        """The version that a name stands for now.

        Raises NotFound for an unknown model and for one that nobody promoted, BrokenRecord where it names no version.
        """
        versions = self.versions(name)
        version = next(iter(self.promoted(name)), None)
        if version is None:
            raise NotFound(f"no version of the model {name!r} is promoted")
        if version not in versions:
            raise BrokenRecord(f"{_pointer(name)} names no version of the model")
        return version

    def promoted(self, name: str) -> list[str]:
        """The version that the name stands for now, and before it those that it stood for, newest first."""
        if not is_id(name) or not self._files.exists(_pointer(name)):
            return []
        return self._files.read(_pointer(name), f"no version of {name!r} is promoted").decode(errors="replace").split()

    def card(self, name: str, version: str) -> ModelCard:
        """What a version says of itself. Raises NotFound, and BrokenRecord."""
        return self._parsed(ModelCard, name, version)

    def contract(self, name: str, version: str) -> Mapping[str, str]:
        """Contract version → hash, of what a version was trained for. Raises NotFound, and BrokenRecord."""
        return self._parsed(_Contract, name, version).contract

    def check(self, name: str, version: str) -> ModelCard:
        """Read a version through and compare it with its card.

        Raises NotFound, BrokenRecord where it differs, and Unreachable where it cannot be read now.
        """
        card = self.card(name, version)
        check(card, self._files, _folder(name, version), f"{name}@{version}")
        return card

    def fetch(self, name: str, version: str, into: Path) -> Path:
        """A folder on this machine with the version, checked: the published one, or a copy below `into` of a bucket's.

        A damaged copy is replaced. Raises NotFound, BrokenRecord where a file is not what was published, and
        Unreachable where it cannot be read or copied now.
        """
        published = self._files.on_disk(_folder(name, version))
        if published is not None:
            self.check(name, version)
            return published
        card = self.card(name, version)
        copies, copy = Store(str(into)), into / name / version
        if copy.is_dir():
            try:
                check(card, copies, f"{name}/{version}", str(copy))
            except BrokenRecord:
                # The copy is damaged, which says nothing of the version.
                shutil.rmtree(copy, ignore_errors=True)
            else:
                return copy
        files = {
            file: self._files.pieces(f"{_folder(name, version)}/{file}", f"{name}@{version} is broken: {file} is gone")
            for file in filter(is_file_name, card.files)
        }
        raw = card.model_dump_json(indent=2).encode()
        try:
            copies.add_folder(f"{name}/{version}", {**files, CARD: raw}, last=CARD)
            check(card, copies, f"{name}/{version}", f"{name}@{version}")
        except NotFound as error:
            raise BrokenRecord(error.message) from error
        except BrokenRecord:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        return copy

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────

    def publish(self, name: str, folder: Path, card: ModelCard) -> str:
        """Copy a folder into the store as a new version, and say which. Nobody sees it before it is whole.

        The version is the card's time and a digest of all that is published. Raises UsageError for a name or a folder
        that cannot be published, Conflict where the same was published before.
        """
        if not is_id(name):
            raise UsageError(f"a model cannot be called {name!r}: letters a to z, digits and dashes, at most 64")
        try:
            made = card.created_at.astimezone(UTC)
        except OverflowError as error:
            raise UsageError("the card's created_at is beyond all dates") from error
        card = card.model_copy(update={"files": inspect(folder, card)})
        raw = card.model_dump_json(indent=2).encode()
        version = f"{made:%Y%m%d-%H%M%S}-{hashlib.sha256(raw).hexdigest()[:6]}"
        contents = {file: folder / file for file in card.files}
        self._files.add_folder(_folder(name, version), {**contents, CARD: raw}, last=CARD)
        return version

    def promote(self, name: str, version: str) -> None:
        """Let a name stand for a version from now on. Raises NotFound, and BrokenRecord for one that is damaged."""
        self.check(name, version)
        with self._files.turn(_pointer(name)):
            before = self.promoted(name)
            if before[:1] != [version]:
                self._point(name, [version, *before])

    def rollback(self, name: str, *, leaving: str | None = None, to: str | None = None) -> str:
        """Let a name stand for the version before again, the last one that is not damaged, or for `to`; say which.

        Raises Conflict where there is none to go back to, or the name no longer stands for `leaving`.
        """
        self.versions(name)
        with self._files.turn(_pointer(name)):
            now, *before = self.promoted(name) or [""]
            if leaving not in (None, now):
                raise Conflict(f"{name} no longer stands for {leaving} but for {now}")
            while before:
                if before[0] not in (now, leaving) and to in (None, before[0]) and self._is_whole(name, before[0]):
                    self._point(name, before)
                    return before[0]
                before.pop(0)
            if to not in (None, now) and self._is_whole(name, to):
                self._point(name, [to])
                return to
        raise Conflict(f"no version of {name} was promoted before {now or 'any other'}, or none that is whole")

    def _point(self, name: str, versions: list[str]) -> None:
        self._files.write(_pointer(name), "".join(f"{version}\n" for version in versions[:KEPT_PROMOTIONS]).encode())

    def _is_whole(self, name: str, version: str) -> bool:
        try:
            self.check(name, version)
        except (NotFound, BrokenRecord):
            return False
        return True

    def _parsed(self, model: type[M], name: str, version: str) -> M:
        unknown = f"no model {name}@{version} is in the registry"
        if not (is_id(name) and is_id(version)):
            raise NotFound(unknown)
        path = f"{_folder(name, version)}/{CARD}"
        return parsed(model, self._files.read(path, unknown), path)


def _folder(name: str, version: str) -> str:
    return f"models/{name}/versions/{version}"


def _pointer(name: str) -> str:
    return f"models/{name}/current"
