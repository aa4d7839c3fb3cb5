"""Rubric texts and a set → the prompt that a judge is shown."""

import json
import random
import re
from pathlib import Path

from r4t.errors import InputError, nearest
from r4t.sets import SetBatch

LONGEST = 500  # characters of a text that are shown; "…" stands for the rest
FOLDER = Path(__file__).parent
PLACE = re.compile(r"\{(query|items|pairs)\}")
NEEDS = {  # what stands in a place of the text → the fields it is read from
    "query": frozenset({"query_texts"}),
    "items": frozenset({"catalog"}),
    "pairs": frozenset({"catalog", "texts"}),
}


class Rubric:
    """What a judge is asked, with places for ``{query}``, ``{items}`` and ``{pairs}``.

    The items, or the pairs of a sub-query and its item, stand there in an order that depends on the
    seed and on the set's content alone: not on the order of its members, nor on the batch. Each has
    one line, and each text stands there as a JSON string of at most ``LONGEST`` characters, so that
    whoever writes it, a policy that is trained on the score too, cannot pretend to write lines,
    numbers or pairs.

    Args:
        rubric: Name of a shipped rubric (``diversity``, ``alignment``, ``groundedness``), or the
            path of a text file with ``{items}`` or ``{pairs}`` in it.

    Attributes:
        name: The shipped name, or the file's without ``.txt``.
        text: With the places open.
        needs: Optional ``SetBatch`` fields that fill them.

    Raises:
        InputError: There is no such rubric, or it shows nothing of the set.
    """

    def __init__(self, rubric: str) -> None:
        shipped = sorted(path.stem for path in FOLDER.glob("*.txt"))
        path = FOLDER / f"{rubric}.txt" if rubric in shipped else Path(rubric)
        if not path.is_file():
            raise InputError(
                f"A rubric is one of {', '.join(shipped)} or a text file — found {rubric!r}, which "
                f"is neither — name one of them.{nearest(rubric, shipped)}"
            )
        self.name = path.stem
        self.text = path.read_text(encoding="utf-8")
        places = set(PLACE.findall(self.text))
        if not places & {"items", "pairs"}:
            raise InputError(
                "A rubric shows the set in the place of {items} or {pairs} — found neither in "
                f"{path} — write one of them where the items belong."
            )
        self.needs: frozenset[str] = frozenset().union(*(NEEDS[place] for place in places))

    def prompt(self, sets: SetBatch, row: int, seed: int) -> str:
        """Return all that the judge is shown of query ``row``.

        Raises:
            InputError: ``{pairs}`` are asked for, and a member has no sub-query.
        """
        # In one pass, so that braces in a text stay what they are.
        return PLACE.sub(lambda place: SHOW[place[1]](sets, row, seed), self.text)


def _query(sets: SetBatch, row: int, seed: int) -> str:
    assert sets.query_texts is not None  # the objective's __call__ checked `needs`
    return quoted(sets.query_texts[row])


def _items(sets: SetBatch, row: int, seed: int) -> str:
    return numbered([text for _, text in _members(sets, row)], seed)


def _pairs(sets: SetBatch, row: int, seed: int) -> str:
    assert sets.texts is not None  # the objective's __call__ checked `needs`
    subqueries = sets.texts[row]
    members = _members(sets, row)
    if members and members[-1][0] >= len(subqueries):
        raise InputError(
            f"Pairs need the sub-query of every member — found {len(subqueries)} texts and a member "
            f"{members[-1][0]} (from 0) in {sets.query_name(row)} — give one text for each member."
        )
    return numbered(
        [f"sub-query: {quoted(subqueries[place])} | item: {text}" for place, text in members], seed
    )


SHOW = {"query": _query, "items": _items, "pairs": _pairs}


def _members(sets: SetBatch, row: int) -> list[tuple[int, str]]:
    """Position and quoted text of each member that is there."""
    assert sets.catalog is not None  # the objective's __call__ checked `needs`
    texts, items = sets.catalog.texts, sets.items[row].tolist()
    there = sets.mask[row].nonzero().flatten().tolist()
    return [(place, quoted(texts[items[place]])) for place in there]


def numbered(lines: list[str], seed: int) -> str:
    """Shuffle lines by seed and content alone, and number them.

    Examples:
        >>> numbered(["hat", "coat"], seed=0) == numbered(["coat", "hat"], seed=0)
        True
    """
    lines = sorted(lines)
    random.Random(json.dumps([seed, lines])).shuffle(lines)
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


def quoted(text: str, longest: int = LONGEST) -> str:
    r"""Return a text as a JSON string in one line, cut after ``longest`` characters.

    Examples:
        >>> print(quoted('a  "b"\nc'), quoted("a long text", 6))
        "a \"b\" c" "a long…"
    """
    line = " ".join(text.split())
    cut = line if len(line) <= longest else line[:longest] + "…"
    return json.dumps(cut, ensure_ascii=False)
