"""``build/docs`` and ``build/mkdocs.yml`` → ``build/site``; a broken link fails the build.

Zensical's strict mode checks links between pages, their anchors and references to the API. It does not
check images, other files or links in docstrings, and only prints griffe's warnings about docstrings. This
module checks the rest.
"""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUILD = Path(__file__).resolve().parents[2] / "build"
ABSOLUTE = {"404.html"}  # a server shows it at any address, so its links begin at the root


def main() -> None:
    """Build the site and check it."""
    shutil.rmtree(BUILD / "site", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f"]
    done = subprocess.run(
        [*command, str(BUILD / "mkdocs.yml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    problems = [line for line in done.stdout.splitlines() if line.startswith("griffe: ")]
    if done.returncode == 0:
        problems += broken_links(BUILD / "site")
    else:
        problems.append(done.stdout)
    if problems:
        sys.exit("\n".join(problems))
    print(f"The site is at {BUILD.name}/site/index.html")


class Page(HTMLParser):
    """The anchors of a page, and the addresses it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of one tag."""
        for key, value in attrs:
            if key == "id" and value:
                self.anchors.add(value)
            elif key in ("href", "src") and value:
                self.addresses.append(value)


def broken_links(site: Path) -> list[str]:
    """One line for each address within the site that leads nowhere."""
    paths = [path for path in sorted(site.rglob("*.html")) if path.name not in ABSOLUTE]
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in paths}
    broken = []
    for path, page in pages.items():
        for address in dict.fromkeys(page.addresses):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            anchor = unquote(parts.fragment)
            if not target.is_file() or (target in pages and anchor and anchor not in anchors):
                broken.append(f"{path.relative_to(site)}: {address} leads nowhere")
    return broken


if __name__ == "__main__":
    main()
