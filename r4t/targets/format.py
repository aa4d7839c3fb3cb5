"""What a batch of target sets and the manifest of a folder of them consist of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
SCORE = "score."


@dataclass(frozen=True)
class TargetBatch:
    """n target sets in memory.

    Attributes:
        condition: Query embeddings z_q (n, d), unit length.
        rows: Target rows Z (n, L, d).
        items: Catalog row number of each row (n, L), −1 where a row is no item.
        scores: Objective name → (n,).
        query_ids: Which query each set answers.
        queries: Its text.
        texts: The sub-queries that the set came from.
        item_ids: Catalog ids of the items, "" where a row is no item; none where they are not known.

    Raises:
        InputError: The parts do not count the same sets, rows or coordinates, or a condition or row
            is not finite.
    """

    condition: Tensor
    rows: Tensor
    items: Tensor
    scores: dict[str, Tensor]
    query_ids: Sequence[str]
    queries: Sequence[str]
    texts: Sequence[Sequence[str]]
    item_ids: Sequence[Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.rows.ndim != 3:
            raise InputError(
                f"Target rows have the shape (n, L, d), found {tuple(self.rows.shape)}: stack the "
                "sets."
            )
        n, length, dim = self.rows.shape
        found = {
            "condition": (tuple(self.condition.shape), (n, dim)),
            "items": (tuple(self.items.shape), (n, length)),
            "query_ids": ((len(self.query_ids),), (n,)),
            "queries": ((len(self.queries),), (n,)),
            "texts": ((len(self.texts),), (n,)),
            **{SCORE + name: (tuple(s.shape), (n,)) for name, s in self.scores.items()},
        }
        if self.item_ids is not None:
            found["item_ids"] = ((len(self.item_ids),), (n,))
        for name, (shape, expected) in found.items():
            if shape != expected:
                raise InputError(
                    f"Target rows of shape {(n, length, dim)} need {name} of shape {expected}, "
                    f"found {shape}: give one entry per set."
                )
        for name in ("condition", "rows"):
            finite = getattr(self, name).isfinite().flatten(1).all(1)
            if not finite.all():
                row = int((~finite).nonzero()[0])
                raise InputError(
                    f"Target sets hold finite numbers, found NaN or infinity in the {name} of set "
                    f"{row} (query {self.query_ids[row]!r}): look at the embeddings of its items and "
                    "sub-queries."
                )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "TargetBatch":
        return TargetBatch(
            condition=self.condition[part],
            rows=self.rows[part],
            items=self.items[part],
            scores={name: score[part] for name, score in self.scores.items()},
            query_ids=self.query_ids[part],
            queries=self.queries[part],
            texts=self.texts[part],
            item_ids=None if self.item_ids is None else self.item_ids[part],
        )

    @classmethod
    def concatenate(cls, batches: Sequence["TargetBatch"]) -> "TargetBatch":
        """Put batches (at least one, all with the same objectives) one after the other."""
        return cls(
            condition=torch.cat([b.condition for b in batches]),
            rows=torch.cat([b.rows for b in batches]),
            items=torch.cat([b.items for b in batches]),
            scores={n: torch.cat([b.scores[n] for b in batches]) for n in batches[0].scores},
            query_ids=[i for b in batches for i in b.query_ids],
            queries=[q for b in batches for q in b.queries],
            texts=[t for b in batches for t in b.texts],
            item_ids=None
            if any(b.item_ids is None for b in batches)
            else [i for b in batches for i in b.item_ids or ()],
        )


@dataclass(frozen=True)
class Origin:
    """Where target sets come from: two folders of one origin hold sets of the same kind.

    Attributes:
        fingerprint: Of the catalog that ``items`` counts in.
        encoder: Name of the encoder of conditions and rows.
        model: The fan-out model that was sampled.
        dim: d.
        set_size: L.
        encoder_fingerprint: Of the encoder's files; empty where there are none.
        model_fingerprint: Of the model's files.
        config: How sets were sampled, scored and filtered, as plain values.
    """

    fingerprint: str
    encoder: str
    model: str
    dim: int
    set_size: int
    encoder_fingerprint: str = ""
    model_fingerprint: str = ""
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest(Origin):
    """What a folder of target sets holds and where it came from.

    Attributes:
        config_fingerprint: Of ``config``.
        asked: Queries that were sampled for.
        queries: Those of them with at least one set.
        sets: Sets written.
        drawn: Samples drawn before any filter.
        dropped: Reason → samples dropped for it.
        objectives: What the objectives tell of their scores (a judge's model and cost), by name.
        shards: ``{"name", "sets", "bytes", "texts_bytes"}`` of each shard, in order.
        format_version: Of this layout.
    """

    config_fingerprint: str = ""
    asked: int = 0
    queries: int = 0
    sets: int = 0
    drawn: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    objectives: dict[str, Any] = field(default_factory=dict)
    shards: list[dict[str, Any]] = field(default_factory=list)
    format_version: int = FORMAT_VERSION
