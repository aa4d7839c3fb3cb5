"""A few examples, then the query: what a pretrained model continues without having been tuned."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from r4t.errors import InputError, check_least
from r4t.fanout.lists import ListFormat
from r4t.support.text import normalize_text

LINE_END = re.compile(r"[\r\n]")


@dataclass(eq=False)
class FewShot(ListFormat):
    r"""A few queries with their lists, one line each, then the query with the list left open.

    For pretrained models too small to follow instructions: they continue a pattern. The prompt is plain
    text, which does not go through a chat template. Its examples come before the query, so that all
    queries of a batch share them, and the model reads them once for all. They are saved with the model.
    A query that is itself an example gets a prompt without that example.

    Args:
        query_label: Stands before each query, as "Dish".
        list_label: Stands before each list, as "Ten ingredients".
        separator: Stands between two entries.
        examples: Query → entries.
        drawn: Number of examples that a step draws from the run's training sets besides: queries and
            the texts of their reference items, the first k of each. Sets of at least k are preferred.
        seed: Of that draw.

    Raises:
        InputError: If a label or the separator is blank, has a line break or space around it, or the
            separator has letters; if an example has no entries, or one that could not be read back.

    Examples:
        >>> form = FewShot("Dish", "Ingredients", examples={"toast": ["bread", "butter"]})
        >>> print(form.prompt("pad  thai", 2, "full"), end="|")
        Dish: toast
        Ingredients: bread; butter
        <BLANKLINE>
        Dish: pad thai
        Ingredients:|
        >>> form.read(" rice noodles;egg; \nDish: cake")
        ['rice noodles', 'egg']
    """

    query_label: str = "Query"
    list_label: str = "Searches"
    separator: str = ";"
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    drawn: int = 0
    seed: int = 0

    end = "\n"
    chat = False

    def __post_init__(self) -> None:
        check_least({"drawn": (self.drawn, 0)})
        names = ("query_label", "list_label", "separator")
        for name in names:
            text = getattr(self, name)
            letters = name == "separator" and any(map(str.isalnum, text))
            if not text.strip() or one_line(text) != text or letters:
                marks = "marks that are no letters" if name == "separator" else "words"
                raise InputError(
                    expected=f"a {name} of {marks}, on one line, with no space around",
                    found=f"{text!r}",
                    remedy=f"Correct {name}.",
                )
        for query, entries in self.examples.items():
            self._check(query, entries)

    @property
    def ends(self) -> tuple[str, ...]:
        """The line's end, and the separator after the last entry."""
        return (self.end, self.separator)

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the examples, and the query with its list left open."""
        same = normalize_text(query)
        blocks = [
            f"{self.query_label}: {one_line(known)}\n{self.list_label}:{self.write(entries)}"
            for known, entries in self.examples.items()
            if normalize_text(known) != same
        ]
        blocks.append(f"{self.query_label}: {one_line(query)}\n{self.list_label}:")
        return "\n".join(blocks)

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries on one line; a separator within an entry becomes a space."""
        texts = [one_line(entry.replace(self.separator, " ")) for entry in entries]
        return f" {f'{self.separator} '.join(texts)}\n"

    def read(self, completion: str) -> list[str]:
        """Return the entries of the first line."""
        line = LINE_END.split(completion, maxsplit=1)[0]
        return [entry.strip() for entry in line.split(self.separator) if entry.strip()]

    def complete(self, completion: str, set_size: int) -> bool:
        """Whether the line has ended, or as many separators stand in it as there are entries."""
        return bool(LINE_END.search(completion)) or completion.count(self.separator) >= set_size

    def spec(self, entry: str) -> dict[str, Any]:
        """Return all settings; examples that were drawn are examples from now on."""
        examples = {query: [*entries] for query, entries in self.examples.items()}
        settings = {**vars(self), "examples": examples, "drawn": 0}
        return {"name": "FewShot", **settings}

    def draw(self, sets: Sequence[tuple[str, Sequence[str]]], set_size: int) -> None:
        """Add the ``drawn`` examples, from queries with the texts of their items; once.

        Raises:
            InputError: If fewer sets than that could be read back from a line.
        """
        known = {normalize_text(query) for query in self.examples}
        by_query = {
            normalize_text(query): (query, [*entries[:set_size]])
            for query, entries in sets
            if normalize_text(query) not in known and self._readable(entries[:set_size])
        }
        fitting = [*by_query.values()]
        if len(fitting) < self.drawn:
            raise InputError(
                expected=f"{self.drawn} training queries with references, to be the examples of a prompt",
                found=f"{len(fitting)}, without those whose texts hold {self.separator!r}",
                remedy="Lower drawn, write examples, or take another separator.",
            )
        fitting = random.Random(self.seed).sample(fitting, len(fitting))
        fitting.sort(key=lambda pair: -len(pair[1]))  # the order of equals stays
        self.examples = {**self.examples, **dict(fitting[: self.drawn])}
        self.drawn = 0

    def _readable(self, entries: Sequence[str]) -> bool:
        return bool(entries) and self.read(self.write(entries)) == [*map(one_line, entries)]

    def _check(self, query: str, entries: Sequence[str]) -> None:
        if not self._readable(entries):
            raise InputError(
                expected=f"examples with entries that lack the separator {self.separator!r} and are not "
                "blank",
                found=f"{[*entries]} for {query!r}",
                remedy="Correct the entries, or take another separator.",
            )


def one_line(text: str) -> str:
    """Return the text with single spaces for all white space."""
    return " ".join(text.split())
