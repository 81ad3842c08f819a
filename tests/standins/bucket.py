"""A bucket as Amazon's S3 answers: an HTTP server that holds what is put into it, and can be made to fail.

What it answers: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
"""

import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import pytest

KEY = "bucket-key"
CUT = "cut"


class Bucket(ThreadingHTTPServer):
    """`s3://NAME/…` for any NAME, to who has its environment."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.failing: dict[str, int | str] = {}
        """`GET`, or `GET` and a file's name → the status that is answered, or CUT: half of the file, and no more."""
        self.lock = Lock()
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """As when the machine is gone: every connection breaks."""
        super().server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def serving(port: int = 0) -> Iterator[Bucket]:
    """A bucket that answers while the context is, and in the environment what an operator sets for it."""
    server = Bucket(port)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
            # What docker compose sets of what nobody gave it.
            environment.setenv("AWS_ENDPOINT_URL_S3", "")
            environment.setenv("AWS_SESSION_TOKEN", "")
            environment.setenv("AWS_ACCESS_KEY_ID", KEY)
            environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
            yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Request(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None: ...

    def do_PUT(self) -> None:
        self._answered(self._put)

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_HEAD(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _answered(self, answer: Callable[[], None]) -> None:
        url = urlsplit(self.path)
        self.key = unquote(url.path).strip("/")
        self.query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.failing = self.server.failing.get(self.command)
        if self.failing is None:
            self.failing = self.server.failing.get(f"{self.command} {self.key.rsplit('/', 1)[-1]}")
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self._send(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif isinstance(self.failing, int):
            self._send(self.failing, b"<Error><Code>Failing</Code><Message>as the test wants it</Message></Error>")
        else:
            with self.server.lock:
                answer()

    def _put(self) -> None:
        if "uploadId" in self.query:
            self.server.parts[self.query["uploadId"]][int(self.query["partNumber"])] = self.body
        elif self.headers.get("If-None-Match") == "*" and self.key in self.server.objects:
            self._send(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        else:
            self.server.objects[self.key] = (self.body, datetime.now(UTC))
        self._send(200, b"", ETag=_tag(self.body))

    def _get(self) -> None:
        if "list-type" in self.query:
            self._list()
        elif self.key in self.server.objects:
            body, modified = self.server.objects[self.key]
            headers = {"ETag": _tag(body), "Last-Modified": format_datetime(modified, usegmt=True)}
            if asked := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
                start = int(asked[1])
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                self._send(206, body[start:], **headers)
            else:
                self._send(200, body, **headers)
        else:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def _list(self) -> None:
        bucket, prefix = self.key.split("/")[0], self.query.get("prefix", "")
        files, folders = [], set()
        for key, (body, modified) in self.server.objects.items():
            name = key.removeprefix(f"{bucket}/")
            if key == name or not name.startswith(prefix):
                continue
            inner, delimiter, _ = name[len(prefix) :].partition(self.query.get("delimiter") or "\0")
            if delimiter:
                folders.add(f"<CommonPrefixes><Prefix>{escape(prefix + inner)}/</Prefix></CommonPrefixes>")
            else:
                files.append(
                    f"<Contents><Key>{escape(name)}</Key><LastModified>{modified.isoformat()}</LastModified>"
                    f"<ETag>{_tag(body)}</ETag><Size>{len(body)}</Size></Contents>"
                )
        listing = "".join([*sorted(files), *sorted(folders)])
        self._send(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{listing}</ListBucketResult>".encode())

    def _post(self) -> None:
        if "delete" in self.query:
            keys = re.findall("<Key>(.*?)</Key>", self.body.decode())
            for key in keys:
                self.server.objects.pop(f"{self.key}/{unescape(key)}", None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._send(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        elif "uploads" in self.query:
            upload = str(len(self.server.parts))
            self.server.parts[upload] = {}
            made = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            self._send(200, made.encode())
        else:
            parts = self.server.parts.pop(self.query["uploadId"])
            body = b"".join(parts[number] for number in sorted(parts))
            self.server.objects[self.key] = (body, datetime.now(UTC))
            done = f"<CompleteMultipartUploadResult><ETag>{_tag(body)}</ETag></CompleteMultipartUploadResult>"
            self._send(200, done.encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.failing == CUT and "list-type" not in self.query:
            body, self.close_connection = body[: len(body) // 2], True
        with suppress(BrokenPipeError):
            self.wfile.write(body)


def _tag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
