"""Retrieved items and the latent truth of the embedded wardrobe → what a simulated judge thinks of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from r4t.catalog import Catalog
from r4t.data.facet_truth import FacetTruth, load_truth
from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t.support.cache import Cache
from r4t.support.seeds import query_seed
from r4t.support.text import normalize_text

NOTE = "a simulated judge, which knows the latent truth of training and validation queries."
CELLS = 1 << 26  # grades that an object keeps in memory, one byte each


class Opinion(NamedTuple):
    """What the shopper thinks of every item for one query."""

    fits: Tensor  # (N,) bool, whether it thinks that the item fits
    answerable: Tensor  # (S,) bool, the slots in which an item truly fits


class Members(NamedTuple):
    """What B sets of k members are worth to the shopper."""

    alone: Tensor  # (B, k) bool, members that fill a slot as the only one
    filled: Tensor  # (B,) slots that some member fills
    most: Tensor  # (B,) slots that k members could fill, at least 1


class Shopper(Objective):
    """A simulated judge that knows the wardrobe's truth: share of slots with a fitting item.

    A stand-in for a language model's grades or customers' clicks, for experiments on the embedded
    wardrobe only. It reads the latent truth beside the catalog, which no real judge has, so compare
    a method that learned from it only with others that did. It knows training and validation queries
    and refuses test queries.

    Its grade of an item for a query is the truth, flipped with probability ``error``. The flip
    depends only on the seed, the query's text and the item, so the same pair always has the same
    grade. A slot (top, shoes, …) is *answerable* if some item of the catalog in it truly fits the
    query. The score is the share of answerable slots, at most k, that hold a member which the
    shopper thinks fits: from 0 (none) to 1 (all). It is 0 for a query that no item fits.

    Args:
        error: Probability that a grade is wrong, in [0, 0.5). Most items fit no given query, so
            even 0.1 makes most of the items that it likes wrong ones.
        seed: Of the errors.

    Raises:
        InputError: If ``error`` is outside [0, 0.5); or, when called, if the catalog has no truth, or
            a query is not a training or validation query of the wardrobe.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog", "query_texts"})

    def __init__(self, error: float = 0.1, seed: int = 0) -> None:
        if not 0 <= error < 0.5:
            raise InputError(
                expected="an error of the shopper within [0, 0.5)",
                found=f"{error}",
                remedy="Use 0.1 for one wrong grade in ten, or 0 for none.",
            )
        self.error, self.seed = error, seed
        self._paid = 0
        self._known: tuple[str, FacetTruth, Cache[str, Opinion]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the truth, which is read again, out of copies."""
        return vars(self) | {"_known": None}

    @property
    def paid(self) -> int:
        """Grades given so far, as if each had cost a call."""
        return self._paid

    @property
    def identity(self) -> dict[str, Any]:
        """What its grades depend on."""
        return {"simulated": True, "error": self.error, "seed": self.seed}

    def facts(self) -> dict[str, Any]:
        """Return what the scores come from."""
        return {"note": NOTE, **self.identity}

    def accepts(self, sets: SetBatch) -> bool:
        """Whether ``sets`` carries the fields, of a catalog with the wardrobe's truth."""
        return super().accepts(sets) and sets.catalog is not None and _has_truth(sets.catalog)

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) shares of the answerable slots."""
        members = self._members(sets)
        return (members.filled / members.most).to(sets.item_embeddings)

    def marginals(self, sets: SetBatch) -> Tensor:
        """Return (B, k), by how much the score would fall without each member; 0 for missing ones."""
        members = self._members(sets)
        return (members.alone / members.most.unsqueeze(1)).to(sets.item_embeddings)

    def grades(self, query_texts: Sequence[str], catalog: Catalog, items: Tensor) -> Tensor:
        """Return the grades (B, k) of catalog rows (B, k): 1 if it thinks that the item fits, else 0.

        NaN where there is no item (−1).
        """
        owner, opinions, _ = self._opinions(query_texts, catalog)
        rows = items.cpu()
        self._paid += int((rows >= 0).sum())
        fits = torch.stack([opinion.fits for opinion in opinions])[owner, rows.clamp(min=0)]
        return torch.where(rows >= 0, fits.float(), torch.nan).to(items.device)

    def _members(self, sets: SetBatch) -> Members:
        assert sets.catalog is not None  # __call__ checked `needs`
        assert sets.query_texts is not None
        owner, opinions, slots = self._opinions(sets.query_texts, sets.catalog)
        rows = sets.items.clamp(min=0).cpu()
        slot = slots[rows]  # (B, k)
        answerable = torch.stack([opinion.answerable for opinion in opinions])  # (Q, S)
        fills = torch.stack([opinion.fits for opinion in opinions])[owner, rows]
        fills = fills & answerable[owner, slot] & sets.mask.cpu()
        counts = torch.zeros(len(rows), answerable.shape[1]).scatter_add_(1, slot, fills.float())
        most = answerable.sum(-1).clamp(max=sets.set_size).clamp(min=1)
        alone = fills & (counts.gather(1, slot) == 1)
        return Members(alone, (counts > 0).sum(-1), most[owner.squeeze(1)])

    def _opinions(
        self, query_texts: Sequence[str], catalog: Catalog
    ) -> tuple[Tensor, list[Opinion], Tensor]:
        """Return the number of each set's opinion (B, 1), the distinct opinions, the slots (N,)."""
        truth, known = self._truth(catalog)
        numbers = {text: number for number, text in enumerate(dict.fromkeys(query_texts))}
        owner = torch.tensor([numbers[text] for text in query_texts]).unsqueeze(1)
        opinions = known.get(list(numbers), lambda texts: [self._form(t, truth) for t in texts])
        return owner, opinions, truth.slots

    def _form(self, text: str, truth: FacetTruth) -> Opinion:
        """Form the opinion about a query."""
        (fits,) = truth.fits([truth.taught(text)])
        kinds = torch.zeros(int(truth.slots.max()) + 1, dtype=torch.bool)
        kinds[truth.slots[fits]] = True
        generator = torch.Generator().manual_seed(query_seed(normalize_text(text), self.seed))
        return Opinion(fits ^ (torch.rand(len(fits), generator=generator) < self.error), kinds)

    def _truth(self, catalog: Catalog) -> tuple[FacetTruth, Cache[str, Opinion]]:
        """Return the truth of a catalog, which is read once, and the opinions formed so far."""
        key = f"{catalog.folder}/{catalog.fingerprint}"
        if self._known is None or self._known[0] != key:
            if not _has_truth(catalog):
                raise InputError(
                    expected="the truth of an embedded wardrobe for objective 'shopper', in the "
                    "folder truth of its catalog",
                    found=f"none in {catalog.folder}",
                    remedy="Use it on a catalog of r4t catalog wardrobe, and judge elsewhere.",
                )
            truth = FacetTruth(load_truth(catalog.folder / "truth"), catalog.ids)
            self._known = key, truth, Cache(max(1, CELLS // len(catalog)))
        return self._known[1:]


def _has_truth(catalog: Catalog) -> bool:
    return (catalog.folder / "truth").is_dir()
