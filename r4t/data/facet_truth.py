"""Latent truth of the embedded benchmark → which items fit which query; only this room opens it.

An item *fits* a query when it matches every facet value the query names.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from r4t.data.wardrobe import TRUTH_FILE, Truth
from r4t.errors import InputError

SLOT = "slot"


def load_truth(folder: str | Path) -> Truth:
    """Read what `Wardrobe.write_truth` wrote.

    Raises:
        InputError: The folder holds no truth, or the file is not one.
    """
    path = Path(folder) / TRUTH_FILE
    if not path.is_file():
        raise InputError(
            f"The truth of a benchmark lies in {TRUTH_FILE} — found none in {folder} — generate "
            "the benchmark again, or evaluate without facet measures."
        )
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        items = {
            item: {facet: tuple(values) for facet, values in facets.items()}
            for item, facets in held["items"].items()
        }
        return Truth(items, held["queries"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            'A truth is a JSON object with the facets of "items" and "queries" — found something '
            f"else in {path} — generate the benchmark again."
        ) from None


class FacetTruth:
    """The truth in the order of a catalog.

    Args:
        truth: Latent facets of items and queries.
        ids: The N item ids, in the order of the catalog's rows.

    Attributes:
        slots: (N,) long, number of each item's slot.

    Raises:
        InputError: The truth does not know an item.

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
                f"The truth must know every item of the catalog — found none of {unknown[0]!r} "
                f"({len(unknown)} of {len(ids)} missing) — use the truth that was generated with "
                "this catalog."
            )
        self._queries = truth.queries
        self._matches: dict[tuple[str, str], Tensor] = {}
        self._count = len(ids)
        for row, item in enumerate(ids):
            for facet, values in truth.items[item].items():
                for value in values:
                    none = torch.zeros(self._count, dtype=torch.bool)
                    self._matches.setdefault((facet, value), none)[row] = True
        names = sorted({truth.items[item][SLOT][0] for item in ids})
        self.slots = torch.tensor([names.index(truth.items[item][SLOT][0]) for item in ids])

    def fits(self, query_ids: Sequence[str]) -> Tensor:
        """Return (B, N) bool: whether each item fits each query.

        Raises:
            InputError: The truth does not know a query.
        """
        fits = torch.ones(len(query_ids), self._count, dtype=torch.bool)
        for row, query in enumerate(query_ids):
            if query not in self._queries:
                raise InputError(
                    f"The truth of a generated catalog must know every query — found none of {query!r}"
                    " — make the queries with r4t queries CATALOG --wardrobe oar, or move the "
                    "catalog's folder truth away: the measures of facets are left out then."
                )
            for pair in self._queries[query].items():
                fits[row] &= self._matches.get(pair, torch.zeros_like(fits[row]))
        return fits
