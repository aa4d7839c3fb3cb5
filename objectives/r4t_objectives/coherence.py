"""Retrieved items → how far they belong together, apart from the slots that they fill."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import entries, one_of_each

NO_PART = 1e-5  # what is left of an item that is alone in its slot: round-off, not a style
ROOM = 1 << 24  # numbers at a time to compare lists with


class Coherence(Objective):
    """Members belong together: mean likeness of what is left of them without their slot.

    A pair is one of two different items, however often a set repeats them. Without a ``field``, its
    likeness is the cosine of the non-slot parts ``e(c) − mean of e over the items in c's slot``:
    from −1 (opposite) over 0 (unrelated) to 1 (one style). With a ``field``, it is 1 for equal
    values and 0 for others, for lists their Jaccard overlap. Over the pairs there are,

        coherence = min(mean likeness, summed likeness / (k(k − 1)/2)).

    So a set is coherent, 1, where k different items agree. Repeated and missing members, and those
    without a slot (or, with a field, a value of it), lose pairs of the k asked for: that takes from
    a positive score in their proportion, and adds nothing to a negative one. Of two items, five
    times each, 1 of 45 pairs is left; a set without a pair scores 0.

    It is *not* low diversity. Diversity sees whole items: a shirt, shoes and a hat are far apart
    because of what they *are*. Coherence takes that away and asks whether what remains, linen and
    light colors, agrees: a set can be diverse and coherent.

    Small slots say little of style: nothing is left of an item that is alone in its slot (0 with
    all others), two alone in a slot are opposite by construction (−1 with each other), and two of
    a slot of n unrelated items have −1/(n − 1) on average. It is no matter of leaving an item out
    of its own mean: that changes the length of its part, not the direction. Prefer a coarse slot.

    Args:
        slot: Metadata column of single values; not read with a ``field``.
        field: Metadata column that should agree among the members (a style, a brand, a list of
            tags); None for the embeddings.
    """

    needs = frozenset({"catalog"})

    def __init__(self, slot: str = "category", field: str | None = None) -> None:
        self.slot = slot
        self.field = field
        self._prepared: tuple[Any, Any] | None = None  # a catalog, and what was made of it

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """From −1 for cosines, from 0 for shares."""
        return (-1.0, 1.0) if self.field is None else (0.0, 1.0)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """With respect to the item embeddings; values of a field have no gradient."""
        return self.field is None

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) likeness of the pairs.

        Raises:
            InputError: The catalog has no such column, or the slots are lists.
        """
        likeness, known = self._parts(sets) if self.field is None else self._values(sets)
        known = known & one_of_each(sets)
        pairs = (known.unsqueeze(2) & known.unsqueeze(1)).triu(1)
        total = torch.where(pairs, likeness, 0.0).sum((1, 2))
        asked = sets.set_size * (sets.set_size - 1) // 2
        return torch.minimum(total / pairs.sum((1, 2)).clamp(min=1), total / max(asked, 1))

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
            self._prepared = catalog, value_lists(catalog.column(self.field))
        codes, start = (held.to(sets.items.device) for held in self._prepared[1])
        items = sets.items.clamp(min=0)
        count = start[items + 1] - start[items]
        # At most k times the longest list here are the distinct values of a set.
        width = sets.set_size * max(int(count.max()), 1) if len(sets) else 1
        rows = max(ROOM // (sets.set_size * width), 1)
        shared = torch.cat([shared_values(codes, start, part) for part in items.split(rows)])
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

    Examples:
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


def value_lists(column: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Number the distinct values of each item.

    Args:
        column: N single values or lists of them; None, or an empty list, where there is none.

    Returns:
        The numbers, item after item; and (N + 1,) where each item's begin, and the last end.

    Examples:
        >>> value_lists(["a", None, ["b", "a", "b"]])
        (tensor([0, 1, 0]), tensor([0, 1, 1, 3]))
    """
    numbers: dict[Any, int] = {}
    codes: list[int] = []
    start = [0]
    for value in column:
        held = value if isinstance(value, list) else [] if value is None else [value]
        codes += [numbers.setdefault(one, len(numbers)) for one in dict.fromkeys(held)]
        start.append(len(codes))
    return torch.tensor(codes, dtype=torch.long), torch.tensor(start)


def shared_values(codes: Tensor, start: Tensor, items: Tensor) -> Tensor:
    """Return (B, k, k), how many values two items of a set have in common.

    Args:
        codes: Numbers of the values, as of ``value_lists``.
        start: (N + 1,) where those of each item begin.
        items: (B, k) rows of the catalog.

    Examples:
        >>> shared_values(*value_lists(["a", None, ["b", "a"]]), torch.tensor([[0, 1, 2]])).int()
        tensor([[[1, 0, 1],
                 [0, 0, 0],
                 [1, 0, 2]]], dtype=torch.int32)
    """
    sets, members = items.shape
    begin = start[items].flatten()
    count = start[items + 1].flatten() - begin
    member = torch.repeat_interleave(count)  # of each value held: whose it is, in all B·k
    order = torch.arange(len(member), device=items.device) - (count.cumsum(0) - count)[member]
    owner = member // members
    # The distinct values of each set are its columns, so that it has no more than it needs.
    key = owner * (int(codes.max()) + 1 if len(codes) else 1) + codes[begin[member] + order]
    distinct, number = key.unique(return_inverse=True)
    first = torch.full((sets,), len(distinct), device=items.device)
    first = first.scatter_reduce(0, owner, number, "amin")
    place = number - first[owner]
    held = torch.zeros(sets, members, int(place.max()) + 1 if len(place) else 0)
    held = held.to(items.device)
    held[owner, member % members, place] = 1.0
    return held @ held.mT
