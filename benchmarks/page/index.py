"""``index.toml`` of the results → what each command measured, on which hardware and when."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
ROOT = RESULTS.parents[1]
INDEX = "index.toml"
SHOWN = 3  # files named below a table; if there are more, their folder is


@dataclass(frozen=True)
class Entry:
    """Results that one command made.

    Attributes:
        name: Name in the tables of the pages.
        title: What was measured.
        part: Section of the results page.
        files: Patterns below the folder of results.
        command: One or several, to make the files again.
        hardware: Where the command ran.
        date: When the values were measured.
    """

    name: str
    title: str
    part: str
    files: Sequence[str]
    command: str | Sequence[str]
    hardware: str
    date: date

    def paths(self, results: Path = RESULTS) -> list[Path]:
        """Return the existing files."""
        return sorted({path for pattern in self.files for path in results.glob(pattern)})

    def source(self, results: Path, prefix: str) -> str:
        """Return the lines below a table: command, hardware, date, links.

        Args:
            results: The folder of results.
            prefix: Path from the page to the root of the repository.
        """
        paths = [path.relative_to(results).as_posix() for path in self.paths(results)]
        if len(paths) > SHOWN:
            folders = sorted({path.rpartition("/")[0] for path in paths})
            links = [f"{len(paths)} files in [{at}/]({prefix}{at})" for at in map(_at, folders)]
        else:
            links = [f"[{path.rpartition('/')[2]}]({prefix}{_at(path)})" for path in paths]
        caption = f"*{self.title}: {self.hardware}; {self.date}; {', '.join(links)}"
        if isinstance(self.command, str):
            return f"`{self.command}`<br>\n{caption}.*"
        lines = "\n".join(self.command)
        return f"```bash\n{lines}\n```\n\n{caption}.*"


def _at(path: str) -> str:
    """Path in the repository of a file below the results."""
    return f"benchmarks/results/{path}".rstrip("/")


def read_index(results: Path = RESULTS) -> dict[str, Entry]:
    """Read the entries by name.

    Raises:
        ValueError: If a file is in no entry or in two, or an entry has no file.
    """
    text = (results / INDEX).read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    entries = {name: Entry(name, **keys) for name, keys in tables.items()}
    owners: dict[Path, list[str]] = {
        path: [] for path in results.rglob("*") if path.is_file() and path.name != INDEX
    }
    for entry in entries.values():
        paths = entry.paths(results)
        if not paths:
            raise ValueError(
                f"Entry '{entry.name}' of {INDEX} has no file at {list(entry.files)}. "
                "Correct its patterns or remove it."
            )
        for path in paths:
            owners[path].append(entry.name)
    for path, names in sorted(owners.items()):
        if len(names) != 1:
            raise ValueError(
                f"{path.relative_to(results)} must belong to one entry of {INDEX}, but belongs to "
                f"{names or 'none'}. Correct the patterns."
            )
    return entries
