"""The notebook → a page with its outputs and pictures."""

from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "notebooks" / "method.ipynb"


def notebook_page() -> dict[str, str | bytes]:
    """Name → content of the page and of each picture in it."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(FILE))
    pages: dict[str, str | bytes] = {"notebooks/method.md": text}
    for name, content in resources["outputs"].items():
        pages[f"notebooks/{name}"] = content
    return pages
