"""The Hugging Face Hub on a real socket, as far as its own client needs it: repositories, commits, large files.

    with hub(token="secret") as the_hub:
        HfApi(endpoint=the_hub.url, token="secret").upload_folder(…)

Models and datasets alike. Large files go by LFS, as they do where hf_xet is not used (tests/conftest.py turns it off).
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".gz", ".parquet")
"""What the Hub takes as large files."""


@dataclass
class Repo:
    """A repository at its newest commit."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """The commits' messages."""
    private: bool = False

    @property
    def commit(self) -> str:
        return hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()


@dataclass
class Hub:
    """What is on it: (`models` or `datasets`, NAMESPACE/NAME) → repository."""

    url: str
    token: str | None = None
    """Without this key nobody is answered."""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    """LFS: SHA-256 → content."""
    asked: list[str] = field(default_factory=list)
    """`GET /path` of every request."""
    keys_seen_by: set[str] = field(default_factory=set)
    """The hosts that were sent a key."""
    full: bool = False
    """Refuse large files, as when an account has no room left."""

    def put(self, repo: str, files: Mapping[str, bytes], kind: str = "models") -> Repo:
        """Have a repository there already, whatever its files are called."""
        made = self.repos[kind, repo] = Repo(dict(files), ["as it is"])
        return made


@contextmanager
def hub(token: str | None = None) -> Iterator[Hub]:
    """A Hub that is up as long as the context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Request)
    server.daemon_threads = True
    made = Hub(f"http://127.0.0.1:{server.server_port}", token)
    server.hub = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, body: Any = None, **headers: str) -> None:
        self.status = status
        self.body = b"" if body is None else json.dumps(body).encode()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined, no-any-return]

    def _answer(self) -> None:
        body = self._body()
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        if self.headers["authorization"]:
            self.hub.keys_seen_by.add(self.headers["host"].partition(":")[0])
        status = 200
        try:
            answer, headers = self._route(path, body)
        except _Refused as refused:
            status, headers, answer = refused.status, refused.headers, refused.body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _body(self) -> bytes:
        if self.headers["transfer-encoding"] != "chunked":
            return self.rfile.read(int(self.headers["content-length"] or 0))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, path: str, body: bytes) -> tuple[bytes, dict[str, str]]:
        # Large files are where LFS said, and that address alone opens them.
        if self.headers["authorization"] != f"Bearer {self.hub.token}" and self.hub.token and path[:5] != "/lfs/":
            raise _Refused(401, X_Error_Message="Invalid credentials in Authorization header")
        for (method, pattern), answer in _ROUTES.items():
            matched = re.fullmatch(pattern, path)
            if matched and self.command in method.split("|"):
                return answer(self.hub, body, **matched.groupdict())
        raise _Refused(404)


Answer = tuple[bytes, dict[str, str]]


def _json(answer: object, **headers: str) -> Answer:
    return json.dumps(answer).encode(), {"Content-Type": "application/json", **headers}


def _repo(hub: Hub, kind: str, repo: str) -> Repo:
    if (kind, repo) not in hub.repos:
        raise _Refused(404, X_Error_Code="RepoNotFound")
    return hub.repos[kind, repo]


def _create(hub: Hub, body: bytes) -> Answer:
    asked = json.loads(body)
    kind = f"{asked.get('type') or 'model'}s"
    repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
    prefix = "" if kind == "models" else f"{kind}/"
    made = {"url": f"{hub.url}/{prefix}{repo}", "id": repo}
    if (kind, repo) in hub.repos:
        raise _Refused(409, made)
    hub.repos[kind, repo] = Repo(private=bool(asked.get("private") or asked.get("visibility") == "private"))
    return _json(made)


def _check_page(hub: Hub, body: bytes) -> Answer:
    """The metadata at a README's head."""
    said = json.loads(body)
    if not said["content"].startswith("---\n"):
        raise _Refused(400, {"errors": [{"message": "no metadata"}], "warnings": []})
    return _json({"errors": [], "warnings": []})


def _preupload(hub: Hub, body: bytes, kind: str, repo: str, revision: str) -> Answer:
    _repo(hub, kind, repo)
    files = [
        {
            "path": (path := one["path"]),
            "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
            "shouldIgnore": False,
        }
        for one in json.loads(body)["files"]
    ]
    return _json({"files": files})


def _batch(hub: Hub, body: bytes, repo: str, kind: str | None = None) -> Answer:
    _repo(hub, kind or "models", repo)
    objects = []
    for one in json.loads(body)["objects"]:
        answer: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
        if hub.full:
            answer["error"] = {"code": 422, "message": "there is no room left"}
        elif one["oid"] not in hub.large:
            answer["actions"] = {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}
        objects.append(answer)
    return _json({"transfer": "basic", "objects": objects})


def _take(hub: Hub, body: bytes, oid: str) -> Answer:
    if hashlib.sha256(body).hexdigest() != oid:
        raise _Refused(422)
    hub.large[oid] = body
    return b"", {}


def _give(hub: Hub, body: bytes, oid: str) -> Answer:
    return hub.large[oid], {"ETag": f'"{oid}"'}


def _commit(hub: Hub, body: bytes, kind: str, repo: str, revision: str) -> Answer:
    changed = _repo(hub, kind, repo)
    for line in map(json.loads, body.splitlines()):
        value = line["value"]
        match line["key"]:
            case "header":
                message = value["summary"]
            case "file":
                changed.files[value["path"]] = base64.b64decode(value["content"])
            case "lfsFile":
                if value["oid"] not in hub.large:
                    raise _Refused(422, X_Error_Message="a large file was not uploaded")
                changed.files[value["path"]] = hub.large[value["oid"]]
            case "deletedFile":
                del changed.files[value["path"]]
            case key:
                raise _Refused(400, X_Error_Message=f"unknown operation {key}")
    changed.commits.append(message)
    return _json({"commitUrl": f"{hub.url}/{repo}/commit/{changed.commit}", "commitOid": changed.commit})


def _info(hub: Hub, body: bytes, kind: str, repo: str, revision: str = "main") -> Answer:
    shown = _repo(hub, kind, repo)
    siblings = [{"rfilename": path, "size": len(content)} for path, content in shown.files.items()]
    return _json({"id": repo, "sha": shown.commit, "private": shown.private, "siblings": siblings})


def _tree(hub: Hub, body: bytes, kind: str, repo: str, revision: str) -> Answer:
    files = _repo(hub, kind, repo).files
    return _json(
        [{"type": "file", "path": path, "size": len(content), "oid": _oid(content)} for path, content in files.items()]
    )


def _resolve(hub: Hub, body: bytes, repo: str, revision: str, path: str, kind: str | None = None) -> Answer:
    shown = _repo(hub, kind or "models", repo)
    if path not in shown.files:
        raise _Refused(404, X_Error_Code="EntryNotFound", X_Repo_Commit=shown.commit)
    content = shown.files[path]
    if not path.endswith(LARGE):
        return content, {"X-Repo-Commit": shown.commit, "ETag": f'"{_oid(content)}"'}
    oid = hashlib.sha256(content).hexdigest()
    hub.large[oid] = content
    # The Hub keeps large files on another host.
    raise _Refused(
        302,
        Location=f"{hub.url.replace('127.0.0.1', 'localhost')}/lfs/{oid}",
        X_Repo_Commit=shown.commit,
        X_Linked_Etag=f'"{oid}"',
        X_Linked_Size=str(len(content)),
    )


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest()


_KIND = r"(?P<kind>models|datasets)"
_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_REVISION = r"(?P<revision>[^/]+)"
_ROUTES: Mapping[tuple[str, str], Callable[..., Answer]] = {
    ("POST", "/api/repos/create"): _create,
    ("POST", "/api/validate-yaml"): _check_page,
    ("POST", f"/api/{_KIND}/{_REPO}/preupload/{_REVISION}"): _preupload,
    ("POST", f"/({_KIND}/)?{_REPO}\\.git/info/lfs/objects/batch"): _batch,
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})"): _take,
    ("GET|HEAD", r"/lfs/(?P<oid>[0-9a-f]{64})"): _give,
    ("POST", f"/api/{_KIND}/{_REPO}/commit/{_REVISION}"): _commit,
    ("GET", f"/api/{_KIND}/{_REPO}"): _info,
    ("GET", f"/api/{_KIND}/{_REPO}/revision/{_REVISION}"): _info,
    ("GET", f"/api/{_KIND}/{_REPO}/tree/{_REVISION}"): _tree,
    ("GET|HEAD", f"/({_KIND}/)?{_REPO}/resolve/{_REVISION}/(?P<path>.+)"): _resolve,
}
