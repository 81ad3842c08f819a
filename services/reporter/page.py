"""How templates become pages, the same way for every page."""

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from shared.text import as_name, count, milliseconds, percent, percent_range, shown


def page(template: str, **values: object) -> str:
    """A page. Everything that is not ours is escaped, and its control characters made visible."""
    return _environment().get_template(template).render(values)


@cache
def template_text(name: str) -> Markup:
    """A file of the templates as it is, trusted."""
    text = files("services.reporter").joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("services.reporter"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # On every value that the template prints, so that none is forgotten.
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else shown(value),
    )
    words = (as_name, count, milliseconds, percent, percent_range)
    environment.globals.update({function.__name__: function for function in words})
    return environment
