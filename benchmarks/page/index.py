"""``index.toml`` beside the results → what was measured, by which command, where and when."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
ROOT = RESULTS.parents[1]
INDEX = "index.toml"
SHOWN = 3  # files named below a table; of more, their folder


@dataclass(frozen=True)
class Entry:
    """Results that were made together.

    Attributes:
        name: What the pages call it.
        title: What was measured.
        part: Section of the results page.
        files: Patterns below the folder of results.
        command: One or several that make the files again.
        hardware: What they ran on.
        date: When their values came.
    """

    name: str
    title: str
    part: str
    files: Sequence[str]
    command: str | Sequence[str]
    hardware: str
    date: date

    def paths(self, results: Path = RESULTS) -> list[Path]:
        """Return the files that are there."""
        return sorted({path for pattern in self.files for path in results.glob(pattern)})

    def source(self, results: Path, prefix: str) -> str:
        """Return the lines below a table: command, hardware, date, links.

        Args:
            results: The folder of results.
            prefix: The way from the page to the root of the repository.
        """
        paths = [path.relative_to(results).as_posix() for path in self.paths(results)]
        if len(paths) > SHOWN:
            folders = sorted({path.rpartition("/")[0] for path in paths})
            links = [f"{len(paths)} files in [{at}/]({prefix}{at})" for at in map(_at, folders)]
        else:
            links = [f"[{path.rpartition('/')[2]}]({prefix}{_at(path)})" for path in paths]
        told = f"*{self.title}: {self.hardware}; {self.date}; {', '.join(links)}"
        if isinstance(self.command, str):
            return f"`{self.command}`<br>\n{told}.*"
        lines = "\n".join(self.command)
        return f"```bash\n{lines}\n```\n\n{told}.*"


def _at(path: str) -> str:
    """Place in the repository of a path below the results."""
    return f"benchmarks/results/{path}".rstrip("/")


def read_index(results: Path = RESULTS) -> dict[str, Entry]:
    """Read the entries by name.

    Raises:
        ValueError: A file is in no entry or in two, or an entry has no file.
    """
    text = (results / INDEX).read_text(encoding="utf-8")
    told: dict[str, dict[str, Any]] = tomllib.loads(text)
    entries = {name: Entry(name, **keys) for name, keys in told.items()}
    owners: dict[Path, list[str]] = {
        path: [] for path in results.rglob("*") if path.is_file() and path.name != INDEX
    }
    for entry in entries.values():
        found = entry.paths(results)
        if not found:
            raise ValueError(
                f"An entry of {INDEX} has files — '{entry.name}' has none at {list(entry.files)}; "
                "mend its patterns or take it out."
            )
        for path in found:
            owners[path].append(entry.name)
    for path, names in sorted(owners.items()):
        if len(names) != 1:
            raise ValueError(
                f"Every result belongs to one entry of {INDEX} — "
                f"{path.relative_to(results)} belongs to {names or 'none'}; mend the patterns."
            )
    return entries
