"""How templates become pages, the same way for every page."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shared import text as words


@cache
def template_text(name: str) -> Markup:
    """A file of the templates as it is, trusted."""
    text = files("services.reporter").joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(text)


@cache
def environment() -> Environment:
    """What renders the templates: everything that is not ours is escaped, and its control characters made visible."""
    return Environment(
        loader=PackageLoader("services.reporter"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # On every value that the template prints, so that none is forgotten.
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else words.shown(value),
    )
