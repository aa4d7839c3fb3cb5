"""Several generated sets → the items that most of them hold."""

import torch
from torch import Tensor

from r4t.choice.choice import Choice
from r4t.errors import check_least
from r4t.search import Searcher

AT_ONCE = 2**26  # comparisons of the queries answered together


class Consensus(Choice):
    """The k items that most of M sets hold, each searched with the row that lies nearest to it.

    Of all sets it returns the one that shares most items with the sets a generator draws: the set of
    minimum Bayes risk (Kumar & Byrne 2004), as items count one by one. What one draw holds by chance
    has one vote, what the generator knows has many. Items with equally many votes keep the order of
    the closeness of their nearest rows. The pool goes on with all other items that have a vote, and
    then as that of the k directions.

    Args:
        draws: Sets M generated per query, at least 2.
    """

    pools_rows = True
    label = "consensus"

    def __init__(self, draws: int = 16) -> None:
        check_least({"draws": (draws, 2)})
        super().__init__(draws)

    def places(self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int) -> Tensor:
        """See ``Choice``; a row of an item that is already there comes after all items with a vote."""
        return self.ranked(searcher, queries, rows, size)[0]

    def ranked(
        self, searcher: Searcher, queries: Tensor, rows: Tensor, size: int
    ) -> tuple[Tensor, Tensor]:
        """See ``Choice``; all items that have a vote follow the members."""
        order, voted = self._ranked(searcher, rows)
        return order[:, :size], voted

    def _ranked(self, searcher: Searcher, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return all places (B, M·L), best first, and the items found from there, −1 for none."""
        at_once = max(1, AT_ONCE // (rows.shape[1] * rows.shape[2]) ** 2)
        parts = [self._rank(searcher, part) for part in rows.split(at_once)]
        orders, items = zip(*parts)
        return torch.cat(orders), torch.cat(items)

    def _rank(self, searcher: Searcher, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See ``_ranked``; it compares all M·L items of a query with each other."""
        batch, draws, length = rows.shape[:3]
        cosines, found = searcher.nearest(rows.flatten(0, 2), 1)
        there = rows.abs().sum(-1).flatten(1) > 0
        cosines = cosines.view(batch, -1).masked_fill(~there, -torch.inf)
        items = found.view(batch, -1).masked_fill(~there, -1)
        draw = torch.arange(draws, device=rows.device).repeat_interleave(length)
        same = items.unsqueeze(2) == items.unsqueeze(1)  # (B, M·L, M·L)
        in_draw = torch.stack([same[:, :, draw == number].any(-1) for number in range(draws)])
        votes = in_draw.sum(0).masked_fill(~there, 0)
        order = cosines.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, votes.gather(1, order).argsort(dim=1, descending=True, stable=True))
        ranked = items.gather(1, order)
        earlier = (ranked.unsqueeze(2) == ranked.unsqueeze(1)).tril(-1).any(-1)
        order = order.gather(1, (earlier | (ranked < 0)).int().argsort(dim=1, stable=True))
        return order, items.gather(1, order)
