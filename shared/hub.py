"""The Hugging Face Hub: folders of models and datasets, sent there in one commit and brought from there in bounds.

What a repository holds is somebody else's. Only the files that the caller accepts are fetched, by names that lie flat
in one folder, and no more bytes than it allows.
"""

import glob
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from pydantic import SecretStr

from shared.errors import NotFound, Unreachable, UsageError

Kind = Literal["model", "dataset"]

MAX_FILES = 1000


class Hub:
    """The Hub at a URL. The key goes there and nowhere else; without one, the machine's own is not used either.

    Everything raises UsageError for what can be no repository's name, NotFound for one that is not there or not shown
    to us, and Unreachable where the Hub does not answer or refuses.
    """

    def __init__(self, url: str, key: SecretStr | None) -> None:
        self._api = HfApi(endpoint=url.rstrip("/"), token=key.get_secret_value() if key else False)
        self._may_write = key is not None

    def push(
        self,
        repo: str,
        files: Mapping[str, Path | bytes],
        message: str,
        *,
        kind: Kind = "model",
        private: bool = True,
        replaces: Callable[[str], bool] = lambda name: False,
    ) -> str:
        """Send files as one commit and say where they are now. The repository is made where there is none.

        Files of an earlier push that `replaces` names are removed where they are not sent again.
        """
        if not self._may_write:
            raise UsageError("pushing needs a key that may write: set HF_TOKEN")
        with _told(repo):
            made = self._api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
            look = self._api.model_info if kind == "model" else self._api.dataset_info
            there = {file.rfilename for file in look(repo).siblings or []}
            new = [CommitOperationAdd(name, content) for name, content in files.items()]
            gone = [CommitOperationDelete(name) for name in there - files.keys() if replaces(name)]
            self._api.create_commit(repo, [*new, *gone], commit_message=message, repo_type=kind)
        return str(made)

    def pull(
        self,
        repo: str,
        into: Path,
        accepts: Callable[[str], bool],
        *,
        max_bytes: int,
        revision: str | None = None,
    ) -> str:
        """Fetch a model's files whose names `accepts` takes, and return the commit that they are of.

        Raises UsageError where there is none of them, or more than may be.
        """
        with _told(repo):
            info = self._api.model_info(repo, revision=revision, files_metadata=True)
            found = {file.rfilename: file.size for file in info.siblings or []}
            sizes = {name: size for name, size in found.items() if PurePosixPath(name).name == name and accepts(name)}
            if not sizes:
                raise UsageError(f"{repo} holds none of the files that are wanted")
            if len(sizes) > MAX_FILES:
                raise UsageError(f"{repo} holds more than {MAX_FILES} files")
            total = sum(size if size is not None else max_bytes + 1 for size in sizes.values())
            if total > max_bytes:
                raise UsageError(
                    f"{repo} holds {total / 1e9:.1f} GB, which is more than the {max_bytes / 1e9:.1f} GB allowed"
                )
            wanted = list(map(glob.escape, sizes))
            self._api.snapshot_download(repo, revision=info.sha, local_dir=into, allow_patterns=wanted)
            return str(info.sha)


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """The library's errors as ours. Their texts may hold the address, never the key."""
    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"{repo!r} is no repository's name: NAMESPACE/NAME") from error
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"the Hub shows no repository {repo}; a private one needs a key that may read it: HF_TOKEN"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise Unreachable(
            f"the Hub refused {repo} with {status}: {error.server_message or 'without a reason'}"
        ) from error
    except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
        raise Unreachable(f"the Hub failed at {repo}: {error}") from error
