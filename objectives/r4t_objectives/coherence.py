"""Retrieved items → how far they belong together, apart from the slots that they fill."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import entries

NO_PART = 1e-5  # what is left of an item that is alone in its slot: round-off, not a style


class Coherence(Objective):
    """Members belong together: mean likeness of what is left of them without their slot.

    Without a ``field``, the mean over pairs of different items of the cosine of their non-slot
    parts ``e(c) − mean of e over the items in c's slot``: from −1 (opposite) over 0 (unrelated, or
    no such pair) to 1 (one style throughout). With a ``field``, the share of such pairs with equal
    values of it, for lists their mean Jaccard overlap: from 0 (none, or no such pair) to 1 (all).

    It is *not* low diversity. Diversity sees whole items: a shirt, shoes and a hat are far apart
    because of what they *are*. Coherence takes that away and asks whether what remains, linen and
    light colors, agrees: a set can be diverse and coherent. Nor does repetition help: two members
    that are the same item are no pair. A member without a slot (or, with a field, without a value
    of it) is in no pair.

    Args:
        slot: Metadata column of single values; not read with a ``field``.
        field: Metadata column that should agree among the members (a style, a brand, a list of
            tags); None for the embeddings.
    """

    needs = frozenset({"catalog"})

    def __init__(self, slot: str = "category", field: str | None = None) -> None:
        self.slot = slot
        self.field = field
        self._prepared: tuple[Any, Tensor] | None = None  # a catalog, and what was made of it

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """From −1 for cosines, from 0 for shares."""
        return (-1.0, 1.0) if self.field is None else (0.0, 1.0)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """With respect to the item embeddings; values of a field have no gradient."""
        return self.field is None

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) mean likeness of the pairs.

        Raises:
            InputError: The catalog has no such column, or the slots are lists.
        """
        likeness, known = self._parts(sets) if self.field is None else self._values(sets)
        known = known & sets.mask
        different = sets.items.unsqueeze(2) != sets.items.unsqueeze(1)
        pairs = different & known.unsqueeze(2) & known.unsqueeze(1)
        total = torch.where(pairs, likeness, 0.0).sum((1, 2))
        return total / pairs.sum((1, 2)).clamp(min=1)

    def _parts(self, sets: SetBatch) -> tuple[Tensor, Tensor]:
        """Cosines (B, k, k) of the non-slot parts; the members (B, k) that have a slot."""
        catalog = sets.catalog
        assert catalog is not None  # __call__ checked `needs`
        codes, _ = catalog.codes(self.slot)
        if self._prepared is None or self._prepared[0] is not catalog:
            self._prepared = catalog, slot_means(catalog.embeddings, codes)
        slots = entries(codes, sets)
        means = self._prepared[1].to(sets.item_embeddings)
        part = sets.item_embeddings - means[slots]
        length = part.norm(dim=-1)
        scale = (length > NO_PART) / length.clamp(min=NO_PART)
        return part @ part.mT * scale.unsqueeze(1) * scale.unsqueeze(2), slots >= 0

    def _values(self, sets: SetBatch) -> tuple[Tensor, Tensor]:
        """Jaccard overlaps (B, k, k) of the field; the members (B, k) that have a value."""
        catalog = sets.catalog
        assert catalog is not None
        assert self.field is not None
        if self._prepared is None or self._prepared[0] is not catalog:
            self._prepared = catalog, value_codes(catalog.column(self.field))
        codes = entries(self._prepared[1], sets)  # (B, k, M)
        count = (codes >= 0).sum(-1)
        shared = torch.zeros_like(sets.items).unsqueeze(-1) * count.unsqueeze(1)
        for code in codes.unbind(-1):
            held = (code[:, :, None, None] == codes.unsqueeze(1)).any(-1)
            shared = shared + (held & (code >= 0).unsqueeze(-1))
        union = count.unsqueeze(2) + count.unsqueeze(1) - shared
        return shared.to(sets.item_embeddings) / union.clamp(min=1), count > 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the catalog out of copies: they prepare their own."""
        return {**vars(self), "_prepared": None}


def slot_means(embeddings: Tensor, codes: Tensor) -> Tensor:
    """Return the mean embedding (V + 1, d) of each slot, in float64.

    Args:
        embeddings: (N, d).
        codes: (N,) number of each item's slot, −1 for none: the last row is the mean of those.

    Example:
        >>> slot_means(torch.eye(3), torch.tensor([0, 0, -1])).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    rows = int(codes.max()) + 2
    place = codes % rows
    total = torch.zeros(rows, embeddings.shape[1], dtype=torch.float64)
    for start in range(0, len(codes), 1 << 16):  # the embeddings may be larger than memory
        part = slice(start, start + (1 << 16))
        total.index_add_(0, place[part], embeddings[part].double())
    return total / torch.bincount(place, minlength=rows).clamp(min=1).unsqueeze(1)


def value_codes(column: Sequence[Any]) -> Tensor:
    """Number the distinct values of each item: (N, M), filled up with −1.

    Args:
        column: N single values or lists of them; None, or an empty list, where there is none.

    Example:
        >>> value_codes(["a", None, ["b", "a", "b"]]).tolist()
        [[0, -1], [-1, -1], [1, 0]]
    """
    lists = [
        value if isinstance(value, list) else [] if value is None else [value] for value in column
    ]
    numbers: dict[Any, int] = {}
    rows = [[numbers.setdefault(v, len(numbers)) for v in dict.fromkeys(row)] for row in lists]
    width = max(map(len, rows))
    filled = [row + [-1] * (width - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.long).view(len(rows), width)
