"""The API's pages: the console, a matchup as it is played, and the API's documentation. All of it works offline.

Pages hold no data: what they show their scripts ask this API for. So anybody may load them, and with a token whoever
does is asked for it once: a session is a cookie that no script can read and no other site can use.
"""

from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Response

from shared.errors import NotFound

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: https://play.pokemonshowdown.com; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# Redoc fills an empty style element, styles one element itself, and searches in a worker of its own making.
_FOR_REDOC = (
    "; style-src 'self' 'unsafe-hashes' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' "
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='; worker-src blob:; "
)
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".png": "image/png"}
_OURS = ("console.html", "console.css", "console.js", "live.html", "live.js", "docs.html", "docs.js", "redoc.html")


def _assets() -> Mapping[str, Path]:
    """What the pages are made of: name → file."""
    offline = find_spec("fastapi_offline")
    assert offline is not None and offline.origin is not None
    reporter = Path(str(files("services.reporter"))) / "templates"
    return {
        **{name: Path(__file__).with_name(name) for name in _OURS},
        **{name: reporter / name for name in ("report.css", "view.css", "view.js")},
        **{path.name: path for path in (Path(offline.origin).parent / "static").iterdir()},
    }


def pages() -> APIRouter:
    """The pages' routes."""
    routes, assets = APIRouter(include_in_schema=False), _assets()

    @routes.get("/")
    def console() -> Response:
        return _file("console.html")

    @routes.get("/matchups/{matchup_id}/live")
    def live(matchup_id: str) -> Response:
        return _file("live.html")

    @routes.get("/docs")
    def docs() -> Response:
        return _file("docs.html")

    @routes.get("/redoc")
    def redoc() -> Response:
        page = _file("redoc.html")
        page.headers["Content-Security-Policy"] = _POLICY.replace("; style-src 'self'; ", _FOR_REDOC)
        return page

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        return _file(name)

    def _file(name: str) -> Response:
        if name not in assets:
            raise NotFound(f"there is no page {name}")
        return Response(assets[name].read_bytes(), media_type=_TYPES[assets[name].suffix], headers=_HEADERS)

    return routes
