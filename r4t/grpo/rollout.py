"""What a training step of a tuner wrote, and what it was worth."""

from dataclasses import dataclass

from torch import Tensor

from r4t.data.queries import Query
from r4t.fanout.model import Fanouts


@dataclass(frozen=True)
class Rollout:
    """G completions for each of B queries; row b·G + g is completion g of query b."""

    queries: list[Query]  # B
    fanouts: Fanouts  # tokens, texts and sub-queries of the B·G completions
    items: Tensor  # (B·G, k) catalog rows retrieved, −1 for a missing member
    truncated: Tensor  # (B·G,) bool, cut off at the limit
    rewards: Tensor  # (B·G,), NaN for not scored
    components: dict[str, Tensor]  # objective → raw scores (B·G,)
    advantages: Tensor  # (B·G,) of each set
    token_advantages: Tensor  # (B·G, T); those of a member's tokens follow the member's credit
    mask: Tensor  # (B·G, T), 1 for a token in the loss
