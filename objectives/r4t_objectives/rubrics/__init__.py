"""Rubric text and a set → the prompt for a judge."""

import json
import random
import re
from pathlib import Path

from r4t.errors import InputError, nearest
from r4t.sets import SetBatch

LONGEST = 500  # characters of a text that are shown; "…" stands for the rest
FOLDER = Path(__file__).parent
PLACEHOLDER = re.compile(r"\{(query|items|pairs)\}")
NEEDS = {  # placeholder → the fields that fill it
    "query": frozenset({"query_texts"}),
    "items": frozenset({"catalog"}),
    "pairs": frozenset({"catalog", "texts"}),
}


class Rubric:
    """The question for a judge, with placeholders ``{query}``, ``{items}`` and ``{pairs}``.

    Items, or pairs of a sub-query and its item, are listed in an order that depends only on the seed
    and the set's content, not on the order of its members or the batch. Each has one line, and each
    text is a JSON string of at most ``LONGEST`` characters. So no author of a text, not even a
    policy that is trained on the score, can imitate lines, numbers or pairs.

    Args:
        rubric: Name of a shipped rubric (``diversity``, ``alignment``, ``groundedness``; ``fit`` for
            single items), or the
            path of a text file with ``{items}`` or ``{pairs}`` in it.

    Raises:
        InputError: If there is no such rubric, or it does not show the set.
    """

    def __init__(self, rubric: str) -> None:
        shipped = sorted(path.stem for path in FOLDER.glob("*.txt"))
        path = FOLDER / f"{rubric}.txt" if rubric in shipped else Path(rubric)
        if not path.is_file():
            raise InputError(
                expected=f"a rubric, which is {', '.join(shipped)} or a text file",
                found=repr(rubric),
                remedy=f"Name one of these.{nearest(rubric, shipped)}",
            )
        self.name = path.stem
        self.text = path.read_text(encoding="utf-8")
        placeholders = set(PLACEHOLDER.findall(self.text))
        if not placeholders & {"items", "pairs"}:
            raise InputError(
                expected="a rubric that shows the set as {items} or {pairs}",
                found=f"neither in {path}",
                remedy="Write one of them where the items belong.",
            )
        self.needs = frozenset[str]().union(*(NEEDS[name] for name in placeholders))

    def item_prompt(self, query_text: str, item_text: str) -> str:
        """Return everything that the judge sees of one item; the rubric has no ``{pairs}``."""
        shown = {"query": quoted(query_text), "items": numbered([quoted(item_text)], seed=0)}
        return PLACEHOLDER.sub(lambda match: shown[match[1]], self.text)

    def prompt(self, sets: SetBatch, row: int, seed: int) -> str:
        """Return everything that the judge sees of query ``row``.

        Raises:
            InputError: If the rubric has ``{pairs}`` and a member has no sub-query.
        """
        # In one pass, so that braces in a text stay as they are.
        return PLACEHOLDER.sub(lambda match: _fill(match[1], sets, row, seed), self.text)


def _fill(name: str, sets: SetBatch, row: int, seed: int) -> str:
    """Return the text for a placeholder; the objective's ``__call__`` has checked the fields."""
    if name == "query":
        assert sets.query_texts is not None
        return quoted(sets.query_texts[row])
    assert sets.catalog is not None
    places = sets.mask[row].nonzero().flatten().tolist()
    texts, rows = sets.catalog.texts, sets.items[row].tolist()
    lines = [quoted(texts[rows[place]]) for place in places]
    if name == "pairs":
        assert sets.texts is not None
        subqueries = sets.texts[row]
        if places and places[-1] >= len(subqueries):
            raise InputError(
                expected=f"a sub-query for member {places[-1]} (from 0) of {sets.query_name(row)}",
                found=f"{len(subqueries)} texts",
                remedy="Pass one text for each member.",
            )
        pairs = zip(places, lines)
        lines = [f"sub-query: {quoted(subqueries[p])} | item: {item}" for p, item in pairs]
    return numbered(lines, seed)


def numbered(lines: list[str], seed: int) -> str:
    """Shuffle lines by the seed and their content only, and number them.

    Examples:
        >>> numbered(["hat", "coat"], seed=0) == numbered(["coat", "hat"], seed=0)
        True
    """
    lines = sorted(lines)
    random.Random(json.dumps([seed, lines])).shuffle(lines)
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


def quoted(text: str, longest: int = LONGEST) -> str:
    r"""Return a text as a JSON string on one line, cut after ``longest`` characters.

    Examples:
        >>> print(quoted('a  "b"\nc'), quoted("a long text", 6))
        "a \"b\" c" "a long…"
    """
    line = " ".join(text.split())
    return json.dumps(line if len(line) <= longest else line[:longest] + "…", ensure_ascii=False)
