"""A Markdown page → its code blocks, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "site" not in path.parts),
]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^\n]*)\n(?P<text>.*?)^ *(?P=fence) *$", re.M | re.S
)
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: Word after the fence; empty if there is none.
        title: Name of the file that the block shows; empty if it shows none.
        text: Content.
        line: Line of the page where it begins.
    """

    language: str
    title: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in FENCE.finditer(text):
        info, indent = match["info"].strip(), len(match["indent"])
        titles = TITLE.findall(info)
        lines = [line[indent:] for line in match["text"].splitlines(keepends=True)]
        blocks.append(
            Block(
                re.split(r"[\s{]", info, maxsplit=1)[0],
                titles[0] if titles else "",
                "".join(lines),
                text.count("\n", 0, match.start()) + 1,
            )
        )
    return blocks


def commands_of(block: Block) -> Iterator[list[str]]:
    """Words of each command of a shell block, without comments and blank lines."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words
