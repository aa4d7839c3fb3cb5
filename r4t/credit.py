"""A reward and sets → what each member is worth to its set: credit for Soft-GRPO.

One advantage for a whole set drowns in the noise of its other members. If members are chosen
independently given the query, ``f(S) − f(S without member i)`` gives the same gradient with less
noise, because the second term does not depend on member i. docs/tuning.md derives it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from r4t.errors import InputError, check_least
from r4t.geometry import take_turns
from r4t.objective import Objective
from r4t.reward import Reward, Scores
from r4t.sets import SetBatch
from r4t.support.seeds import query_seed

CHUNK = 4096  # sets scored at once


class Credit(ABC):
    """Shares the reward of a set among its members."""

    @abstractmethod
    def of_objective(self, objective: Objective, sets: SetBatch, scores: Tensor) -> Tensor:
        """Return the credit (B, k) of each member for one objective, given the scores (B,)."""

    def at(self, step: int | None) -> "Credit":
        """Return the credit of an optimizer step: itself, unless it draws at random."""
        return self

    def __call__(
        self, reward: Reward, sets: SetBatch, components: Scores, step: int | None = None
    ) -> Tensor:
        """Return the credit (B, k) of each member: ``Σ weight · credit`` over the objectives.

        Objectives of weight 0 are not asked. Credit is NaN for missing members, and where a partial
        objective could score neither the set nor what is left of it.

        Args:
            reward: Weighted objectives.
            sets: B sets of up to k members.
            components: Their scores by objective, as ``Reward.components`` returns them.
            step: Optimizer step, for weights that move and for random draws.

        Raises:
            InputError: If an objective breaks its contract on a set without one of its members, or
                reads a pool that cannot be made again without that member.
        """
        weights, rule = reward.weights_at(step), self.at(step)
        credit = torch.zeros_like(sets.item_embeddings[..., 0])
        for name, objective in reward.objectives.items():
            if weights[name] != 0:
                shares = rule.of_objective(objective, sets, components[name])
                credit = credit + weights[name] * shares.to(credit)
        return credit.masked_fill(~sets.mask, torch.nan)


class WholeSet(Credit):
    """Every member gets the reward of its set, as in the paper."""

    def of_objective(self, objective: Objective, sets: SetBatch, scores: Tensor) -> Tensor:
        """Return the score of the set for each member."""
        return scores.unsqueeze(1).expand(sets.mask.shape)


class LeaveOneOut(Credit):
    """A member gets what the set loses without it: ``f(S) − f(S without member i)``.

    * The only member of a set gets f(S) minus the lower bound, the score of a set without members.
    * Of two equal members neither is missed: both get 0 from objectives of distinct items.
    * For a mean over the n members present (``Objective.averages``) the loss sums to 0 over a set, so
      that dropping the members below the mean would pay. There a member gets its own value above the
      lower bound, over k: ``(f(S) − low + (n − 1)·(f(S) − f(S without i))) / k``. Over n, members of
      short lists would be worth more than those of long ones, and lists would shrink.
    """

    def of_objective(self, objective: Objective, sets: SetBatch, scores: Tensor) -> Tensor:
        """Return what each set loses without the member, or the member's share of a mean."""
        losses = marginals(objective, sets, scores)
        if not objective.averages:
            return losses
        count = sets.mask.sum(1, keepdim=True).clamp(min=1)
        value = scores.unsqueeze(1) - objective.bounds[0]
        return torch.where(count == 1, value, value + (count - 1) * losses) / sets.set_size


@dataclass(frozen=True)
class Shapley(Credit):
    """A member gets what it adds on average to those that came before it, in random orders.

    The credits of a set sum to its score minus the lower bound, so that a property which two members
    share is split between them, where leave-one-out gives it to neither. Objectives that are a mean
    over members get the credit of ``LeaveOneOut``.

    A lower bound far below the score of one member would reward whoever came first by chance. So orders
    start at ``best_start``, and each of n members gets (start − lower bound) / n. A member is first in
    1/n of all orders, and the start does not depend on those drawn: sums and expected credits stay.

    Args:
        permutations: Random orders of the members, each with its reverse, at least 1; a set of k ≥ 3
            costs 2k + 2·permutations·(k − 3) scores, k fewer if the objective has ``marginals``.
        seed: Of the orders. They depend on it, the step, the query's text and the number of the set
            among those of its query alone, not on the rest of the batch; without texts, on the
            set's row in the batch.
    """

    permutations: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_least({"permutations": (self.permutations, 1)})

    def at(self, step: int | None) -> "Shapley":
        """Return the same credit with the orders of an optimizer step; None keeps the seed."""
        return self if step is None else replace(self, seed=query_seed(str(self.seed), step))

    def of_objective(self, objective: Objective, sets: SetBatch, scores: Tensor) -> Tensor:
        """Return the mean addition of each member over the orders; 0 for missing members."""
        if objective.averages:
            return LeaveOneOut().of_objective(objective, sets, scores)
        mask, low = sets.mask, objective.bounds[0]
        singles = torch.eye(sets.set_size, dtype=torch.bool, device=mask.device) & mask.unsqueeze(1)
        alone = _score_parts(objective, sets, singles, scores)  # (B, k) f of each member alone
        losses = marginals(objective, sets, scores)
        start = best_start(scores, alone, losses, mask)
        # A partial objective may not know a score that the start depends on.
        start = torch.where(start.isnan(), low, start).unsqueeze(1)
        total = torch.zeros_like(alone)
        known = torch.zeros_like(alone)
        for order in self._orders(sets):
            values = _prefix_scores(objective, sets, order, scores, alone, losses)
            added = values - torch.cat([start, values[:, :-1]], 1)  # by place in the order
            added = added.gather(1, order.argsort(1))  # by member
            total += added.nan_to_num()
            known += ~added.isnan()
        share = (start - low) / mask.sum(1, keepdim=True).clamp(min=1)
        credit = torch.where(known > 0, total / known + share, torch.nan)
        return credit.masked_fill(~mask, 0.0)

    def _orders(self, sets: SetBatch) -> list[Tensor]:
        """Return orders (B, k) of the members, missing ones last, each followed by its reverse."""
        mask, texts = sets.mask, sets.query_texts
        rows: dict[str, list[int]] = {}
        for row, text in enumerate([""] * len(sets) if texts is None else texts):
            rows.setdefault(text, []).append(row)
        keys = torch.empty(len(sets), self.permutations, sets.set_size)
        for text, own in rows.items():
            random = torch.Generator().manual_seed(query_seed(text, self.seed))
            keys[own] = torch.rand(len(own), *keys.shape[1:], generator=random)
        return [
            each.masked_fill(~mask, torch.inf).argsort(1)
            for key in keys.to(mask.device).unbind(1)
            for each in (key, -key)
        ]


def best_start(scores: Tensor, alone: Tensor, losses: Tensor, mask: Tensor) -> Tensor:
    """Return the start (B,) of the orders with which Shapley credits vary least by chance.

    An order comes with its reverse, so a member comes first and last, or twice in between. Chance
    matters least if both pay the same on average: ``(mean f({i}) − start) + mean loss = 2 · middle``,
    where the middle places share ``f(S) − mean loss − mean f({i})`` among n − 2. Up to two members
    get the same credit from any start.

    Args:
        scores: f(S) (B,).
        alone: f({i}) (B, k) of each member alone.
        losses: f(S) − f(S without member i) (B, k).
        mask: (B, k), False where a member is missing; means are over the members present.

    Examples:
        If each member adds .2, whoever came before, the start is the value of no member, here .1.

        >>> alone, losses = torch.full((1, 3), 0.3), torch.full((1, 3), 0.2)
        >>> best_start(torch.tensor([0.7]), alone, losses, torch.ones(1, 3, dtype=torch.bool))
        tensor([0.1000])
    """
    count = mask.sum(1)
    first, last = (
        each.masked_fill(~mask, 0.0).sum(1) / count.clamp(min=1) for each in (alone, losses)
    )
    middle = (scores - last - first) / (count - 2).clamp(min=1)
    return first + last - 2 * middle


def _prefix_scores(
    objective: Objective,
    sets: SetBatch,
    order: Tensor,
    scores: Tensor,
    alone: Tensor,
    losses: Tensor,
) -> Tensor:
    """Return the score (B, k) of the first 1, 2, … k members of an order (B, k), missing ones last.

    Those of one member and of all but one are known from ``alone`` and ``losses``.
    """
    mask, places = sets.mask, torch.arange(sets.set_size, device=order.device)
    count = mask.sum(1, keepdim=True)
    kept = (order.argsort(1).unsqueeze(1) <= places.view(1, -1, 1)) & mask.unsqueeze(1)
    size = kept.sum(-1)
    is_one, is_all_but_one = size == 1, size == count - 1
    unknown = ~(is_one | is_all_but_one)
    values = _score_parts(objective, sets, kept & unknown.unsqueeze(-1), scores)
    last = order.gather(1, (count - 1).clamp(min=0))
    values = torch.where(is_all_but_one, scores.unsqueeze(1) - losses.gather(1, last), values)
    return torch.where(is_one, alone.gather(1, order[:, :1]), values)


def marginals(objective: Objective, sets: SetBatch, scores: Tensor) -> Tensor:
    """Return f(S) − f(S without member i) (B, k), 0 for missing members, by the objective's own way.

    Args:
        objective: f; its ``marginals`` are used if it has any.
        sets: B sets of up to k members.
        scores: f(S) (B,).

    Raises:
        InputError: If the objective's own marginals have another shape, or as in ``Credit``.
    """
    losses = objective.marginals(sets)
    if losses is None:
        losses = smaller_sets(objective, sets, scores)
    elif losses.shape != sets.mask.shape:
        raise InputError(
            expected=f"marginals of objective '{objective.name}' of shape {tuple(sets.mask.shape)}",
            found=f"{tuple(losses.shape)}",
            remedy="Return one for each member, or leave marginals() out.",
        )
    return losses.masked_fill(~sets.mask, 0.0)


def smaller_sets(objective: Objective, sets: SetBatch, scores: Tensor) -> Tensor:
    """Return f(S) − f(S without member i) (B, k) by k more scores, 0 for missing members."""
    others = ~torch.eye(sets.set_size, dtype=torch.bool, device=sets.mask.device)
    kept = others & sets.mask.unsqueeze(1)  # (B, k, k): row i is the set without member i
    losses = scores.unsqueeze(1) - _score_parts(objective, sets, kept, scores)
    return losses.masked_fill(~sets.mask, 0.0)


def _score_parts(objective: Objective, sets: SetBatch, kept: Tensor, scores: Tensor) -> Tensor:
    """Score m parts of each set, (B, m), given which members (B, m, k) each part keeps.

    A part that keeps all or none of the members is not scored again.
    """
    size = kept.sum(-1)
    values = torch.where(size == 0, objective.bounds[0], scores.unsqueeze(1))
    is_new = (size > 0) & (size < sets.mask.sum(1, keepdim=True))
    owners = is_new.nonzero()[:, 0]
    parts = zip(owners.split(CHUNK), kept[is_new].split(CHUNK), strict=True)
    # What the objective does not read is not built for each part.
    read = {*objective.needs, "query_texts"} | (
        {"rankings"} if "pool" in objective.needs else set()
    )
    lean = sets.extended(**dict.fromkeys(sets.present - read))
    try:
        found = [objective(part(lean, owner, members)) for owner, members in parts if len(owner)]
    except InputError as error:
        raise InputError(
            expected=f"objective '{objective.name}' to score a set without some of its members, which "
            "member credit needs",
            found=f"this: {error}",
            remedy="Correct the objective, or use the credit WholeSet.",
        ) from error
    if found:
        values[is_new] = torch.cat(found).to(values)
    return values


def part(sets: SetBatch, owners: Tensor, kept: Tensor) -> SetBatch:
    """Return n sets: set j has the members ``kept[j]`` (n, k) of set ``owners[j]`` (n,).

    They come first, in their order; the width k stays, as it is the number of members asked for. The
    pool is what the remaining directions retrieve.

    Raises:
        InputError: If the sets have a pool but not the rankings that it was made of.
    """
    order = (~kept).long().argsort(dim=1, stable=True)
    mask = kept.gather(1, order)
    places = (owners.unsqueeze(1) * sets.set_size + order).flatten()  # among all members

    def moved(values: Tensor, missing: float) -> Tensor:
        taken = values.flatten(0, 1).index_select(0, places).unflatten(0, order.shape)
        present = mask.view(*mask.shape, *[1] * (taken.ndim - 2))
        return taken.masked_fill_(~present, missing)

    pool, rankings = sets.pool, sets.rankings
    if pool is not None:
        if rankings is None:
            raise InputError(
                expected="sets with the rankings that their pool was made of",
                found="a pool alone",
                remedy="Retrieve them with take_turns, as Searcher.retrieve does by default.",
            )
        rankings = moved(rankings, -1)
        pool = take_turns(rankings, pool.shape[1])
    # Without members, so that their vectors are copied once, above.
    none = {name: getattr(sets, name)[:, :0] for name in ("items", "item_embeddings", "mask")}
    whole = sets.extended(**none, directions=None, pool=None, rankings=None).select(owners)
    texts = whole.texts
    if texts is not None:
        texts = [
            [t for t, keep in zip(row, keeps) if keep] for row, keeps in zip(texts, kept.tolist())
        ]
    return whole.extended(
        items=moved(sets.items, -1),
        item_embeddings=moved(sets.item_embeddings, 0.0),
        mask=mask,
        directions=None if sets.directions is None else moved(sets.directions, 0.0),
        texts=texts,
        pool=pool,
        rankings=rankings,
    )
