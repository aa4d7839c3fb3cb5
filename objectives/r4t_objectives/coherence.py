"""Retrieved items → how well they belong together, apart from the slots that they fill."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t_objectives.members import entries, is_missed, is_only, one_of_each

NO_PART = 1e-5  # length below which a non-slot part is round-off, as for an item alone in its slot
ROOM = 1 << 24  # numbers held at a time to compare lists


class Coherence(Objective):
    """Members belong together: mean likeness of what remains of them without their slot.

    A pair is two different items, however often the set repeats them. Without a ``field``, its
    likeness is the cosine of the non-slot parts ``e(c) − mean of e over the items in c's slot``:
    from −1 (opposite) through 0 (unrelated) to 1 (one style). With a ``field``, it is 1 for equal
    values and 0 for others; for lists it is their Jaccard overlap. Over all pairs,

        coherence = min(mean likeness, summed likeness / (k(k − 1)/2)).

    So a set scores 1 if k different items agree. Repeated members, missing ones and those without a
    slot or value leave fewer pairs: that lowers a positive score in proportion and does not raise a
    negative one. With two items, five times each, 1 of 45 pairs remains; a set without a pair scores 0.

    It is *not* low diversity. Diversity compares whole items: a shirt, shoes and a hat are far apart
    because of what they *are*. Coherence removes that and asks whether the rest, linen and light
    colors, agrees: a set can be diverse and coherent.

    Prefer a coarse slot. Small slots say little about style: nothing remains of an item that is alone
    in its slot (0 with all others), and two of a slot of n unrelated items have −1/(n − 1) on average.
    Leaving an item out of its own mean would change the length of its part, not the direction.

    Args:
        slot: Metadata column of single values; ignored with a ``field``.
        field: Metadata column that should agree among the members (a style, a brand, a list of
            tags); None for the embeddings.
    """

    needs = frozenset({"catalog"})

    def __init__(self, slot: str = "category", field: str | None = None) -> None:
        self.slot = slot
        self.field = field
        self._prepared: tuple[Any, Any] | None = None  # a catalog, and what was computed from it

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        """From −1 for cosines, from 0 for shares."""
        return (-1.0, 1.0) if self.field is None else (0.0, 1.0)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Only without a field, whose values have no gradient."""
        return self.field is None

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) likeness of the pairs."""
        likeness, known = self._pairs(sets)
        return _mean_of_pairs(likeness.sum((1, 2)) / 2, known.sum(1), sets.set_size)

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``; a repeated item is in the pairs with and without a copy."""
        likeness, known = self._pairs(sets)
        total, count = likeness.sum((1, 2)).unsqueeze(1) / 2, known.sum(1, keepdim=True)
        whole = _mean_of_pairs(total, count, sets.set_size)
        without = _mean_of_pairs(total - likeness.sum(2), count - 1, sets.set_size)
        losses = torch.where(known & is_missed(sets), whole - without, 0.0)
        return torch.where(is_only(sets.mask), whole - self.bounds[0], losses)

    def _pairs(self, sets: SetBatch) -> tuple[Tensor, Tensor]:
        """Likeness (B, k, k) of all pairs, 0 for what is none; the members (B, k) that are in pairs."""
        likeness, known = self._parts(sets) if self.field is None else self._values(sets)
        known = known & one_of_each(sets)
        others = ~torch.eye(sets.set_size, dtype=torch.bool, device=known.device)
        pairs = known.unsqueeze(2) & known.unsqueeze(1) & others
        return torch.where(pairs, likeness, 0.0), known

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
        codes, start = (part.to(sets.items.device) for part in self._prepared[1])
        items = sets.items.clamp(min=0)
        count = start[items + 1] - start[items]
        # A set has at most k times as many distinct values as the longest list in this batch.
        width = sets.set_size * max(int(count.max()), 1) if len(sets) else 1
        rows = max(ROOM // (sets.set_size * width), 1)
        shared = torch.cat([shared_values(codes, start, part) for part in items.split(rows)])
        union = count.unsqueeze(2) + count.unsqueeze(1) - shared
        return shared.to(sets.item_embeddings) / union.clamp(min=1), count > 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the catalog out of copies, which prepare their own."""
        return {**vars(self), "_prepared": None}


def _mean_of_pairs(total: Tensor, count: Tensor, size: int) -> Tensor:
    """Return the mean likeness of the pairs of n members, given its sum, as ``Coherence`` scales it."""
    pairs, most = count * (count - 1) // 2, max(size * (size - 1) // 2, 1)
    return torch.minimum(total / pairs.clamp(min=1), total / most)


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
    """Number the distinct values of N items: single values, lists of them, or None.

    Returns:
        The numbers, item after item; and (N + 1,) where each item's numbers begin, and the end.

    Examples:
        >>> value_lists(["a", None, ["b", "a", "b"]])
        (tensor([0, 1, 0]), tensor([0, 1, 1, 3]))
    """
    numbers: dict[Any, int] = {}
    codes: list[int] = []
    start = [0]
    for entry in column:
        values = entry if isinstance(entry, list) else [] if entry is None else [entry]
        codes += [numbers.setdefault(value, len(numbers)) for value in dict.fromkeys(values)]
        start.append(len(codes))
    return torch.tensor(codes, dtype=torch.long), torch.tensor(start)


def shared_values(codes: Tensor, start: Tensor, items: Tensor) -> Tensor:
    """Return (B, k, k), the number of values that two items of a set share.

    ``codes`` and ``start`` are those of ``value_lists``; ``items`` (B, k) are rows of the catalog.

    Examples:
        >>> shared_values(*value_lists(["a", None, ["b", "a"]]), torch.tensor([[0, 1, 2]])).int()
        tensor([[[1, 0, 1],
                 [0, 0, 0],
                 [1, 0, 2]]], dtype=torch.int32)
    """
    sets, members = items.shape
    begin = start[items].flatten()
    count = start[items + 1].flatten() - begin
    member = torch.repeat_interleave(count)  # the member, of all B·k, that holds each value
    order = torch.arange(len(member), device=items.device) - (count.cumsum(0) - count)[member]
    owner = member // members
    # The columns of a set are its own distinct values, so it has no more columns than it needs.
    key = owner * (int(codes.max()) + 1 if len(codes) else 1) + codes[begin[member] + order]
    distinct, number = key.unique(return_inverse=True)
    first = torch.full((sets,), len(distinct), device=items.device)
    first = first.scatter_reduce(0, owner, number, "amin")
    place = number - first[owner]
    has = torch.zeros(sets, members, int(place.max()) + 1 if len(place) else 0, device=items.device)
    has[owner, member % members, place] = 1.0
    return has @ has.mT
