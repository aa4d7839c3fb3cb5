"""``docs/`` and generated pages → ``build/docs`` and ``build/mkdocs.yml``, the input of the site generator.

Generated pages cover the command line, the configs, the installed objectives, the equations, the notebook
and the API; each has a module in this folder. If a page cannot be made, the build fails. The site generator
sees plain Markdown and one plugin (mkdocstrings), so another generator could replace it.
"""

import posixpath
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from api_pages import api_pages
from commands import command_pages
from config_pages import config_page
from equations import equations_page
from notebook import notebook_page
from objectives_table import objectives_page

ROOT = Path(__file__).resolve().parents[2]
DOCS, BUILD = ROOT / "docs", ROOT / "build"
NOT_COPIED = {"site", "notebooks"}  # folders of docs/ that hold no pages
RESULTS = "benchmarks/results/"  # pages linked from Results, in no menu
SUFFIXES = {".png", ".json", ".csv", ".svg", ".toml", ".md"}  # of the results on the site
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")

Pages = dict[str, str | bytes]


def main() -> None:
    """Write both."""
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    pages: Pages = {
        **written_pages(), **command_pages(), **config_page(), **objectives_page(),
        **equations_page(), **api_pages(), **notebook_page(), **results(),
    }  # fmt: skip
    for name, content in pages.items():
        path = BUILD / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(with_site_links(content, name, pages), encoding="utf-8")
        else:
            path.write_bytes(content)
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    config |= {"docs_dir": "docs", "site_dir": "site", "nav": navigation(config["nav"], pages)}
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def written_pages() -> Pages:
    """Name → content of every handwritten page and picture below ``docs/``."""
    paths = [path for path in sorted(DOCS.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(DOCS) for path in paths}
    return {
        name.as_posix(): path.read_text("utf-8") if name.suffix == ".md" else path.read_bytes()
        for path, name in names.items()
        if name.parts[0] not in NOT_COPIED
    }


def results() -> Pages:
    """Figures and values of the benchmarks, at their place in the repository.

    Each folder gets an index page, so that links to folders work.
    """
    paths = sorted((ROOT / RESULTS).rglob("*"))
    files = {path.relative_to(ROOT): path for path in paths if path.suffix in SUFFIXES}
    pages: Pages = {
        name.as_posix(): UNSEARCHED + path.read_text("utf-8")
        if path.suffix == ".md"
        else path.read_bytes()
        for name, path in files.items()
    }
    for folder in sorted({name.parent for name in files}):
        inside = [name.relative_to(folder).as_posix() for name in files if folder in name.parents]
        lines = [f"* [{name}]({name})" for name in inside]
        pages[f"{folder.as_posix()}/index.md"] = (
            UNSEARCHED + "\n".join([f"# {folder}", "", *lines]) + "\n"
        )
    return pages


def navigation(nav: list[dict[str, object]], names: Iterable[str]) -> list[object]:
    """``nav`` of mkdocs.yml with the generated pages of the reference.

    Raises:
        RuntimeError: If it lists a page that does not exist, or lacks a page outside the results.
    """
    pages = {name for name in names if name.endswith(".md") and not name.startswith(RESULTS)}
    (reference,) = (entry["Reference"] for entry in nav if "Reference" in entry)
    assert isinstance(reference, list)
    for title, folder in (("Command line", "reference/cli/"), ("API", "reference/api/")):
        inside = [name for name in names if name.startswith(folder)]
        reference.append({title: sorted(inside, key=lambda name: not name.endswith("index.md"))})
    listed = set(leaves(nav))
    if listed != pages:
        missing, unknown = sorted(pages - listed), sorted(listed - pages)
        raise RuntimeError(f"nav in mkdocs.yml lacks {missing} and lists unknown pages {unknown}")
    return list(nav)


def leaves(nav: object) -> Iterator[str]:
    """Names of the pages in a menu, at every depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:  # type: ignore[attr-defined]
            yield from leaves(entry)


def with_site_links(text: str, name: str, pages: Pages) -> str:
    """The text of a page, with links that leave ``docs/`` pointed at their target on the site.

    Such links work in the repository as written. A link whose target is not on the site stays as it
    is, and the build fails on it.
    """
    here = posixpath.dirname(name)

    def replacement(match: re.Match[str]) -> str:
        start, target, anchor, end = match[1], match[2], match[3] or "", match[4]
        path = posixpath.normpath(posixpath.join("docs", here, target))
        if path.startswith("docs/"):
            return match[0]
        place, new_anchor = place_of(path, pages)
        return f"{start}{posixpath.relpath(place, here or '.')}{new_anchor or anchor}{end}"

    return LINK.sub(replacement, text)


def place_of(path: str, pages: Pages) -> tuple[str, str]:
    """Page of the site, and anchor, that shows a file of the repository."""
    if path.startswith("configs/"):
        name = path.removeprefix("configs/").removesuffix(".yaml")
        return "reference/configs.md", "#" + name.replace("/", "-").replace("_", "-")
    if f"{path}/index.md" in pages:
        return f"{path}/index.md", ""
    return path, ""


if __name__ == "__main__":
    main()
