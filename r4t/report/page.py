"""A comparison → one HTML page that loads nothing from elsewhere."""

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from r4t.report.comparison import Comparison
from r4t.report.sections import readable, sections, shown_number


def page(comparison: Comparison) -> str:
    """Return the page: no script, no image, nothing from elsewhere; every text is escaped.

    Equal comparisons give equal pages, byte by byte.
    """
    folder = files("r4t.report")
    template, style = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css")
    )
    environment = Environment(
        autoescape=True,
        finalize=lambda value: readable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["number"] = shown_number
    return environment.from_string(template).render(
        comparison=comparison, sections=sections(comparison), style=style
    )
