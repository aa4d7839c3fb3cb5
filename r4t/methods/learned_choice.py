"""Reference sets → which of a query's nearest items belong to its set, and which say the same.

Two models that the training references fit: how probable it is that an item belongs, from features of
the item among the candidates; and how probable it is that two items that belong are of one facet, from
their cosine. The set is then the one that is expected to hold most facets, taken greedily, as
diversification of search results does with the intents of a query (Agrawal et al., WSDM 2009; xQuAD,
Santos et al., WWW 2010).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from torch.nn.utils.rnn import pad_sequence

from r4t.data.queries import Query
from r4t.geometry import distinct_first, normalize
from r4t.methods.candidate_features import (
    CANDIDATES,
    CENTERS,
    NEAR_COPIES,
    CandidateFeatures,
    Candidates,
)
from r4t.methods.kept import Parts
from r4t.methods.method import Ranking
from r4t.methods.training_sets import (
    TrainingSets,
    all_keys,
    check_unseen,
    fold,
    mean_references,
)
from r4t.support.progress import progress
from r4t.support.ridge import Ridge, fit_ridge

MODELS = 5  # networks whose logits are averaged
WIDTH, DROPOUT = 48, 0.3
LEARNING_RATE, WEIGHT_DECAY, LONGEST_GRADIENT = 2e-3, 0.02, 1.0
STEPS, WARM_UP, BATCH = 200, 20, 64
FURTHEST = 4.0  # standard deviations of a feature
SURE = 20.0  # logit of what all pairs are
AT_ONCE = 64  # queries in a call
LEAST = 20  # training queries
# What a fit depends on, besides its data; a new version for other features or another pair model.
SETTINGS = {
    "version": 1,
    "candidates": [CANDIDATES, *NEAR_COPIES, *CENTERS],
    "network": [MODELS, WIDTH, DROPOUT, FURTHEST],
    "fit": [LEARNING_RATE, WEIGHT_DECAY, LONGEST_GRADIENT, STEPS, WARM_UP, BATCH],
}


class Belongs(nn.Module):
    """Features of items (…, F) → the logit (…) that one belongs: linear, and a small network beside it.

    Args:
        mean: (F,) of the features.
        deviation: (F,) above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.linear = nn.Linear(len(mean), 1)
        self.network = nn.Sequential(
            nn.Dropout(DROPOUT / 2),
            nn.Linear(len(mean), WIDTH),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Linear(WIDTH, WIDTH),
            nn.GELU(),
            nn.Dropout(DROPOUT),
        )
        self.out = nn.Linear(WIDTH, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        scaled = ((features - self.mean) / self.deviation).clamp(-FURTHEST, FURTHEST)
        return (self.linear(scaled) + self.out(self.network(scaled))).squeeze(-1)


def most_facets(logits: Tensor, same: Tensor, size: int) -> Tensor:
    """Return places (B, k) of the items expected to hold most facets, taken greedily.

    The gain of item i is ``p_i Π_c (1 − s_ic)`` over the items c before it: that it belongs, and that
    none of them has its facet.

    Args:
        logits: (B, P) of the probability p that an item belongs.
        same: (B, P, P) probability s that an item's facet is that of another.
        size: Number k of items, at most P.
    """
    gain = logsigmoid(logits.double())
    kept = torch.log1p(-same.double().clamp(max=1 - 1e-9))
    places = []
    for _ in range(size):
        place = gain.argmax(1, keepdim=True)
        places.append(place)
        gain = gain + kept.take_along_dim(place.unsqueeze(1), 2).squeeze(2)
        gain.scatter_(1, place, -math.inf)
    return torch.cat(places, dim=1)


@dataclass(frozen=True)
class Chooser:
    """What training references taught.

    Args:
        ridge: Maps a query to where its items are expected.
        networks: Their mean logit says how probable it is that an item belongs.
        same: Slope and intercept of the logit that two items are of one facet, by their cosine.
    """

    ridge: Ridge
    networks: Sequence[Belongs]
    same: tuple[float, float]

    @classmethod
    def build(cls, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> "Chooser":
        """Build what ``take_apart`` took apart."""
        ridge = Ridge(state["slope"], state["intercept"], facts["penalty"])
        networks = []
        for number in range(MODELS):
            own = {
                name.partition("/")[2]: each
                for name, each in state.items()
                if name.startswith(f"{number}/")
            }
            network = Belongs(own["mean"], own["deviation"])
            network.load_state_dict(own)
            networks.append(network.eval().requires_grad_(False))
        slope, intercept = facts["same"]
        return cls(ridge, networks, (slope, intercept))

    def take_apart(self) -> Parts:
        """Return tensors by name, and plain facts."""
        state = {
            f"{number}/{name}": each
            for number, network in enumerate(self.networks)
            for name, each in network.state_dict().items()
        }
        state |= {"slope": self.ridge.slope, "intercept": self.ridge.intercept}
        return state, {"penalty": self.ridge.penalty, "same": self.same}

    def rank(self, candidates: Candidates, size: int) -> Tensor:
        """Return the places (B, P) of the candidates: k = ``size`` chosen ones, then by probability."""
        logits = torch.stack([network(candidates.features) for network in self.networks]).mean(0)
        slope, intercept = self.same
        chosen = most_facets(
            logits, (slope * candidates.cosines + intercept).sigmoid(), min(size, logits.shape[1])
        )
        order = logits.argsort(dim=1, descending=True, stable=True)
        return distinct_first(torch.cat([chosen, order], dim=1), logits.shape[1])


def fit_chooser(memory: TrainingSets) -> Chooser:
    """Fit both models on training sets; the same on every call.

    The map that describes a training query was fitted on other folds: one of its own would know its
    items.

    Args:
        memory: The training sets.
    """
    describe = CandidateFeatures(memory.searcher, memory.vectors)
    queries, targets = memory.queries, mean_references(memory.searcher, memory.queries)
    mapped = memory.vectors.clone()
    parts = torch.tensor([fold(query) for query in queries])
    for part in parts.unique():
        others = parts != part
        if int(others.sum()) > 1:
            ridge = fit_ridge(memory.vectors[others], targets[others])
            mapped[~others] = normalize(ridge(memory.vectors[~others]))
    own = memory.own(queries)
    described = [
        describe(memory.vectors[rows], mapped[rows], [own[row] for row in rows.tolist()])
        for rows in torch.arange(len(queries)).split(AT_ONCE)
    ]
    items, features, cosines = (
        torch.cat([getattr(part, name) for part in described])
        for name in ("items", "features", "cosines")
    )
    facets = _facets(memory, items)
    belonging = facets.any(1).float()
    networks = [
        _fitted(features, belonging, seed)
        for seed in progress("fit the learned choice", range(MODELS))
    ]
    same = _fit_same(cosines, facets)
    return Chooser(fit_ridge(memory.vectors, targets), networks, same)


def _facets(memory: TrainingSets, items: Tensor) -> Tensor:
    """Return which candidates (n, P) each facet of a query holds: (n, G, P) bool.

    Without facets, each reference is one of its own.
    """
    catalog, tables = memory.searcher.catalog, []
    for query, row in zip(memory.queries, items):
        groups = query.facets or tuple((item,) for item in query.references)
        held = [torch.isin(row, torch.tensor(catalog.rows(group))) for group in groups]
        tables.append(torch.stack(held))
    return pad_sequence(tables, batch_first=True)


def _fitted(features: Tensor, belonging: Tensor, seed: int) -> Belongs:
    """Fit a network to tell which candidates (n, P, F) belong (n, P): the mean log-loss of all."""
    flat = features.flatten(0, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = Belongs(flat.mean(0), flat.std(0, correction=0) + 1e-6)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
        for step in range(STEPS):
            share = min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / STEPS)) / 2
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * share
            rows = torch.randperm(len(features), generator=generator)[:BATCH]
            loss = binary_cross_entropy_with_logits(network(features[rows]), belonging[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
            optimizer.step()
    return network.eval().requires_grad_(False)


def _fit_same(cosines: Tensor, facets: Tensor) -> tuple[float, float]:
    """Fit the logit that two belonging items are of one facet: its slope by cosine, and intercept."""
    from sklearn.linear_model import LogisticRegression

    belongs = facets.any(1)
    pairs = belongs.unsqueeze(2) & belongs.unsqueeze(1)
    pairs &= ~torch.eye(pairs.shape[1], dtype=torch.bool)
    alike = (facets.float().mT @ facets.float() > 0)[pairs]
    if alike.all() or not alike.any():
        return 0.0, SURE if len(alike) and alike.all() else -SURE
    fitted = LogisticRegression(C=100.0).fit(cosines[pairs].unsqueeze(1).numpy(), alike.numpy())
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


class LearnedChoice(Ranking):
    """The nearest items of a query that are expected to hold most facets.

    If the training sets have no facets, those that most probably belong. It chooses out of the
    ``CANDIDATES`` items nearest to the query and to where its items are expected. They come first in
    the pool, the chosen ones before the others by probability; all other items follow by closeness.

    Args:
        memory: The training sets that fitted the chooser.
        chooser: What they taught.
        set_size: Number k of items.
        pool_size: Number P of distinct items.

    Raises:
        InputError: When called, if a query is one of the training queries.
    """

    def __init__(
        self,
        memory: TrainingSets,
        chooser: Chooser,
        set_size: int = 10,
        pool_size: int = 150,
        key: str = "learned-choice",
        name: str = "Learned choice",
    ) -> None:
        super().__init__(memory.searcher, set_size, pool_size, key=key, name=name)
        self.chooser = chooser
        self._describe = CandidateFeatures(memory.searcher, memory.vectors)
        self._seen = all_keys(memory.queries)

    @torch.no_grad()
    def rank(self, queries: Sequence[Query], vectors: Tensor) -> Tensor:
        """Rank by the choice, then by probability, then by closeness."""
        check_unseen(self.name, queries, self._seen)
        return torch.cat([self._rank(part) for part in vectors.split(AT_ONCE)])

    def _rank(self, vectors: Tensor) -> Tensor:
        mapped = normalize(self.chooser.ridge(vectors))
        candidates = self._describe(vectors, mapped)
        places = self.chooser.rank(candidates, self.set_size)
        ranked = [candidates.items.gather(1, places)]
        if self.pool_size > ranked[0].shape[1]:
            ranked.append(self.searcher.nearest(normalize(vectors + mapped), self.pool_size)[1])
        return distinct_first(torch.cat(ranked, dim=1), self.pool_size)
