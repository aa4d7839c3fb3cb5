"""Latent truth of the embedded benchmark → which items fit which query: for the evaluation, and a judge.

An item *fits* a query when it matches every facet value the query names.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from r4t.data.wardrobe import TRUTH_FILE, Truth
from r4t.errors import InputError
from r4t.support.text import normalize_text

TAUGHT = ("train", "val")  # splits that a simulated judge may know


def load_truth(folder: str | Path) -> Truth:
    """Read what `Wardrobe.write_truth` wrote.

    Raises:
        InputError: If the folder holds no truth, or another file of that name.
    """
    path = Path(folder) / TRUTH_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        items = {
            item: {facet: tuple(values) for facet, values in facets.items()}
            for item, facets in content["items"].items()
        }
        known = {name: content.get(name, {}) for name in ("texts", "splits")}
        return Truth(items, content["queries"], **known)
    except FileNotFoundError:
        raise InputError(
            expected=f"the truth of a benchmark in {TRUTH_FILE}",
            found=f"none in {folder}",
            remedy="Generate the benchmark again, or evaluate without facet measures.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            expected='a truth: a JSON object with the facets of "items" and "queries"',
            found=f"something else in {path}",
            remedy="Generate the benchmark again.",
        ) from None


class FacetTruth:
    """The truth in the order of a catalog, whose rows have the N ``ids``; ``slots`` (N,) are numbers.

    Raises:
        InputError: If the truth lacks an item.

    Examples:
        >>> shirt = {"style": ("punk",), "slot": ("top",)}
        >>> clutch = {"style": ("glam",), "slot": ("bag",)}
        >>> truth = Truth({"a": shirt, "b": clutch}, {"q": {"style": "glam"}})
        >>> FacetTruth(truth, ["a", "b"]).fits(["q"]).tolist()
        [[False, True]]
    """

    def __init__(self, truth: Truth, ids: Sequence[str]) -> None:
        unknown = [item for item in ids if item not in truth.items]
        if unknown:
            raise InputError(
                expected="a truth that holds every item of the catalog",
                found=f"one without {unknown[0]!r} ({len(unknown)} of {len(ids)} missing)",
                remedy="Use the truth that was generated with this catalog.",
            )
        self._queries = truth.queries
        self._asked: dict[str, tuple[str, str]] = {}  # normalized text → id and split
        for query, text in truth.texts.items():
            before = self._asked.get(normalize_text(text))
            if before is None or before[1] in TAUGHT:  # a test query keeps its text to itself
                self._asked[normalize_text(text)] = query, truth.splits.get(query, "")
        self._none = torch.zeros(len(ids), dtype=torch.bool)
        self._matches: dict[tuple[str, str], Tensor] = {}
        for row, item in enumerate(ids):
            for facet, values in truth.items[item].items():
                for value in values:
                    self._matches.setdefault((facet, value), self._none.clone())[row] = True
        slots = [truth.items[item]["slot"][0] for item in ids]
        names = sorted(set(slots))
        self.slots = torch.tensor([names.index(slot) for slot in slots])

    def combinations(self, query_ids: Sequence[str]) -> list[str]:
        """Return the facet values that each query names, as one text: "occasion=beach style=punk".

        Raises:
            InputError: If the truth lacks a query.
        """
        named = [sorted(self._named(query).items()) for query in query_ids]
        return [" ".join(f"{facet}={value}" for facet, value in pairs) for pairs in named]

    def fits(self, query_ids: Sequence[str]) -> Tensor:
        """Return (B, N) bool: whether each item fits each query.

        Raises:
            InputError: If the truth lacks a query.
        """
        fits = torch.ones(len(query_ids), len(self._none), dtype=torch.bool)
        for row, query in enumerate(query_ids):
            for pair in self._named(query).items():
                fits[row] &= self._matches.get(pair, self._none)
        return fits

    def taught(self, text: str) -> str:
        """Return the id of the training or validation query with this text, whatever its spelling.

        A text that is also that of a test query counts as a test query.

        Raises:
            InputError: If the truth was written without splits, or the text is that of a test query
                or of no query.
        """
        if not self._asked:
            raise InputError(
                expected="a truth that says which queries are for training",
                found="one without splits, from an older version",
                remedy="Write the catalog again with r4t catalog wardrobe --overwrite and its seed "
                "and size; runs on it stay valid.",
            )
        query, split = self._asked.get(normalize_text(text), ("", ""))
        if split in TAUGHT:
            return query
        raise InputError(
            expected="a training or validation query of the embedded wardrobe",
            found=f"the {split} query {text!r}"
            if split
            else f"{text!r}, which is none of its queries",
            remedy="Measure test queries by facet recall, which needs no judge.",
        )

    def _named(self, query: str) -> Mapping[str, str]:
        """Return the facet values that a query names."""
        if query not in self._queries:
            raise InputError(
                expected="a truth that holds every query",
                found=f"one without {query!r}",
                remedy="Make the queries with r4t queries CATALOG --wardrobe oar, or move the "
                "folder truth out of the catalog to evaluate without facet measures.",
            )
        return self._queries[query]
