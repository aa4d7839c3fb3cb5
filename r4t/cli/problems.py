"""A parser's report of nested lines → its innermost ones, each with the place that it speaks of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass
class Problem:
    """One innermost line of a report.

    Attributes:
        said: The line.
        place: Dotted key where the report found it; empty at the top.
        owner: Class path of the class whose settings are meant; empty where it is none's.
        depth: How many lines lie around it.
        given: The value there, as the report shows it.
        others: Lines of the same kind and place.
    """

    said: str
    place: str = ""
    owner: str = ""
    depth: int = 0
    given: str = ""
    others: list[str] = field(default_factory=list)


def problems(report: str) -> Iterator[Problem]:
    """Read the innermost lines of a report, with what lies around each.

    Examples:
        >>> [problem.said for problem in problems("Option 'a' is not accepted")]
        ["Option 'a' is not accepted"]
    """
    around: list[tuple[int, str, str]] = []  # indent, key, class path
    found: list[Problem] = []
    for line in report.splitlines():
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if text.startswith("- "):
            text, indent = text[2:], indent + 2
        while around and around[-1][0] >= indent:
            around.pop()
        key = re.match(r"Parser key [\"'](.+?)[\"']:\s*(.*)$", text)
        owner = re.match(r"Problem with given class_path '(.+)':$", text)
        if key is not None:
            around.append((indent, key[1], ""))
            text = key[2]
        elif owner is not None:
            around.append((indent, "", owner[1]))
            text = ""
        if text:
            found.append(Problem(text, *_where(around), depth=len(around)))
    for problem in found:
        same = [p for p in found if (p.place, p.depth) == (problem.place, problem.depth)]
        problem.others = [p.said for p in same]
        values = [p.said for p in same if p.said.startswith("Given value: ")]
        problem.given = values[-1].removeprefix("Given value: ") if values else ""
    yield from found


def _where(around: Sequence[tuple[int, str, str]]) -> tuple[str, str]:
    """Dotted key and class path of what lies around a line."""
    place, owner, within = "", "", False
    for _, key, path in around:
        if path:
            owner, within = path, True
            continue
        place = ".".join(filter(None, [place, "init_args" if within else "", key]))
        within = False
    return place, owner
