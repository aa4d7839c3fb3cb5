"""``docs/`` and what is generated → ``build/docs`` and ``build/mkdocs.yml``, what the site is built from.

Generated are the command line (from the program), the configs, the table of installed objectives, the
equations, the notebook and the API; see the modules beside this one. A page that cannot be made ends the
build. The site generator sees plain Markdown and one plugin (mkdocstrings): none of this is bound to it.
"""

import posixpath
import re
import shutil
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
LEFT_OUT = {"site", "notebooks"}  # folders of docs/ that are no pages as they are
SHOWN = {".png", ".json", ".csv", ".svg", ".toml", ".md"}  # of benchmarks/results
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")

Pages = dict[str, str | bytes]


def main() -> None:
    """Write both."""
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    api = api_pages()
    pages: Pages = {
        **written_pages(), **command_pages(), **config_page(), **objectives_page(),
        **equations_page(), **api, **notebook_page(), **results(),
    }  # fmt: skip
    for name, content in pages.items():
        path = BUILD / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(mended(content, name, pages), encoding="utf-8")
        else:
            path.write_bytes(content)
    config = {"INHERIT": "../mkdocs.yml", "docs_dir": "docs", "site_dir": "site"}
    config["nav"] = navigation(list(pages))
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def written_pages() -> Pages:
    """What is written by hand: name → content of every file below ``docs/``."""
    paths = [path for path in sorted(DOCS.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(DOCS) for path in paths}
    return {
        name.as_posix(): path.read_text("utf-8") if name.suffix == ".md" else path.read_bytes()
        for path, name in names.items()
        if name.parts[0] not in LEFT_OUT
    }


def results() -> Pages:
    """Figures and values of the benchmarks, at the place they have in the repository.

    A folder of them has an index, for links to it.
    """
    paths = sorted((ROOT / "benchmarks" / "results").rglob("*"))
    found = {path.relative_to(ROOT): path for path in paths if path.suffix in SHOWN}
    pages: Pages = {
        name.as_posix(): UNSEARCHED + path.read_text("utf-8")
        if path.suffix == ".md"
        else path.read_bytes()
        for name, path in found.items()
    }
    for folder in sorted({name.parent for name in found}):
        inside = [name.relative_to(folder).as_posix() for name in found if folder in name.parents]
        lines = [f"* [{name}]({name})" for name in inside]
        pages[f"{folder.as_posix()}/index.md"] = (
            UNSEARCHED + "\n".join([f"# {folder}", "", *lines]) + "\n"
        )
    return pages


def navigation(names: list[str]) -> list[object]:
    """``nav`` of mkdocs.yml with the generated pages of the reference."""
    nav: list[dict[str, object]] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]
    (reference,) = (entry["Reference"] for entry in nav if "Reference" in entry)
    assert isinstance(reference, list)
    for title, folder in (("Command line", "reference/cli/"), ("API", "reference/api/")):
        inside = [name for name in names if name.startswith(folder)]
        reference.append({title: sorted(inside, key=lambda name: not name.endswith("index.md"))})
    return list(nav)


def mended(text: str, name: str, pages: Pages) -> str:
    """Point links that leave ``docs/`` to where the site has what they name.

    In the repository such links are right as they are. What the site does not have is left, and the
    strict build says so.
    """
    here = posixpath.dirname(name)

    def new(match: re.Match[str]) -> str:
        start, target, anchor, end = match[1], match[2], match[3] or "", match[4]
        path = posixpath.normpath(posixpath.join("docs", here, target))
        if path.startswith("docs/"):
            return match[0]
        place, fixed = moved(path, pages)
        return f"{start}{posixpath.relpath(place, here or '.')}{fixed or anchor}{end}"

    return LINK.sub(new, text)


def moved(path: str, pages: Pages) -> tuple[str, str]:
    """Place on the site, and anchor, of a file of the repository."""
    if path.startswith("configs/"):
        name = path.removeprefix("configs/").removesuffix(".yaml")
        return "reference/configs.md", "#" + name.replace("/", "-").replace("_", "-")
    if f"{path}/index.md" in pages:
        return f"{path}/index.md", ""
    return path, ""


if __name__ == "__main__":
    main()
