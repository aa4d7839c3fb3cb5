"""What a training step of a tuner wrote, and what it was worth."""

from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.fanout.model import Fanouts


@dataclass(frozen=True)
class Rollout:
    """G completions for each of B queries; row b·G + g is completion g of query b.

    Attributes:
        queries: B queries.
        fanouts: Tokens, texts and sub-queries of the B·G completions.
        items: (B·G, k) catalog rows retrieved, −1 for a missing member.
        truncated: (B·G,) bool, completions cut off at the limit.
        rewards: (B·G,); NaN for a completion that was not scored.
        components: Objective → raw scores (B·G,).
        advantages: (B·G,).
        mask: (B·G, T), 1 for a token in the loss.
    """

    queries: list[Query]
    fanouts: Fanouts
    items: Tensor
    truncated: Tensor
    rewards: Tensor
    components: dict[str, Tensor]
    advantages: Tensor
    mask: Tensor
