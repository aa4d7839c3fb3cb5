"""Retrieved items and a bank of other queries → whether the set tells which query it answers."""

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch

SAME = 1e-5  # queries at least this near to each other, as 1 − cosine, are one query


class Specificity(Objective):
    """Whether the query can be told from the set, among the queries of the bank.

    How well a set fits a query x is the sum of the members' cosines with it, over the k members asked
    for. A softmax over the query q and the M queries of the bank that differ from it gives

        p(q | S) = exp(fit(q)/τ) / (exp(fit(q)/τ) + Σ_b exp(fit(b)/τ)),   fit(x) = (1/k) Σ_i cos(x, c_i),
        score    = 1 / (1 − log p / log(M + 1)).

    From 0 to 1: 1 if the query is certain, ½ if the set says nothing (p = 1/(M + 1), for every M),
    below ½ if it fits other queries better. This scale is exact and smooth; log p itself has no lower
    bound, and clamped it would have no slope where a set is worse than chance.

    A list that suits every query scores about ½. Each member is evidence, and a missing one lowers
    it, so shorter lists do not score higher. Queries with the vector of the query do not count. If the
    bank has no other query, the score is 1.

    Args:
        temperature: τ, above 0; a higher one asks for more evidence.

    Raises:
        InputError: If ``temperature`` is not above 0.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"bank"})
    differentiable = True

    def __init__(self, temperature: float = 0.05) -> None:
        if not temperature > 0:
            remedy = "Use 0.05, for example."
            raise InputError(
                expected="a temperature above 0", found=f"{temperature}", remedy=remedy
            )
        self.temperature = temperature

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) specificity."""
        return self._of(sets, _members(sets).sum(1, keepdim=True)).squeeze(1)

    def marginals(self, sets: SetBatch) -> Tensor:
        """Return what each member adds, f(S) − f(S without member i): (B, k).

        A missing member adds 0. Without its only member a set has the lower bound.
        """
        members = _members(sets)
        whole = members.sum(1, keepdim=True)
        without = self._of(sets, whole - members)
        is_only = sets.mask.sum(-1, keepdim=True) == 1
        without = torch.where(is_only, self.bounds[0], without)
        return torch.where(sets.mask, self._of(sets, whole) - without, 0.0)

    def _of(self, sets: SetBatch, sums: Tensor) -> Tensor:
        """Return the scores (B, n) of sets whose members add up to ``sums`` (B, n, d)."""
        assert sets.bank is not None  # __call__ checked `needs`
        bank = sets.bank.to(sums)
        is_rival = sets.query @ bank.T < 1 - SAME  # (B, M)
        scale = self.temperature * sets.set_size
        lead = (sums @ sets.query.unsqueeze(-1) - sums @ bank.T) / scale  # (B, n, M)
        ahead = torch.where(is_rival.unsqueeze(1), -lead, -torch.inf)
        surprise = torch.cat([torch.zeros_like(ahead[..., :1]), ahead], -1).logsumexp(-1)  # −log p
        chance = torch.log(is_rival.sum(-1, keepdim=True) + 1.0)  # log(M + 1)
        return 1 / (1 + surprise / torch.where(chance > 0, chance, 1.0))


def _members(sets: SetBatch) -> Tensor:
    """Return the vectors (B, k, d) of the members, zero where there is none."""
    return sets.item_embeddings * sets.mask.unsqueeze(-1)
