"""What a batch of target sets, and the manifest of a folder of them, consist of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from r4t.errors import InputError

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
SCORE = "score."
BLOCK = 1024  # sets checked together


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
        item_ids: Catalog ids of the items, "" where a row is no item; None if they are unknown.

    Raises:
        InputError: If the parts differ in sets, rows or coordinates, or a condition or row is not
            finite.
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
        shape = tuple(self.rows.shape)
        if len(shape) != 3:
            raise InputError(
                expected="target rows of shape (n, L, d)",
                found=f"{shape}",
                remedy="Stack the sets.",
            )
        n, length, dim = shape
        expected = {"condition": (n, dim), "items": (n, length)}
        shapes = {name: tuple(getattr(self, name).shape) for name in expected}
        shapes |= {SCORE + name: tuple(score.shape) for name, score in self.scores.items()}
        for name in ("query_ids", "queries", "texts", "item_ids"):
            if (values := getattr(self, name)) is not None:
                shapes[name] = (len(values),)
        for name, actual in shapes.items():
            if actual != expected.get(name, (n,)):
                raise InputError(
                    expected=f"{name} of shape {expected.get(name, (n,))} for target rows of {shape}",
                    found=f"{actual}",
                    remedy="Give one entry for each set.",
                )
        check_finite(vars(self), lambda row: f"query {self.query_ids[row]!r}")

    def __len__(self) -> int:
        return len(self.rows)


def check_finite(tensors: Mapping[str, Any], origin: Callable[[int], str]) -> None:
    """Refuse target sets whose ``condition`` or ``rows`` (n, …) are not finite.

    The message says that the set of a number came from ``origin(number)``.
    """
    for name in ("condition", "rows"):
        for start in range(0, len(tensors[name]), BLOCK):
            finite = tensors[name][start : start + BLOCK].isfinite().flatten(1).all(1)
            if not finite.all():
                row = start + int((~finite).nonzero()[0])
                raise InputError(
                    expected="finite numbers in target sets",
                    found=f"NaN or infinity in the {name} of set {row} ({origin(row)})",
                    remedy="Check the embeddings of its items and sub-queries, and synthesize again.",
                )


@dataclass(frozen=True)
class Origin:
    """Where target sets come from: two folders of one origin hold sets of the same kind."""

    fingerprint: str  # of the catalog whose rows ``items`` numbers
    encoder: str  # name of the encoder of conditions and rows
    model: str  # the fan-out model that was sampled
    dim: int  # d
    set_size: int  # L
    encoder_fingerprint: str = ""  # of its files, if there are any
    model_fingerprint: str = ""  # of its files
    config: dict[str, Any] = field(default_factory=dict)  # how sets were sampled, scored, filtered


@dataclass(frozen=True)
class Manifest(Origin):
    """What a folder of target sets holds, and where it came from."""

    config_fingerprint: str = ""
    asked: int = 0  # queries that were sampled for
    queries: int = 0  # those of them with at least one set
    sets: int = 0
    drawn: int = 0  # samples before any filter
    dropped: dict[str, int] = field(default_factory=dict)  # reason → samples
    objectives: dict[str, Any] = field(default_factory=dict)  # a judge's model and cost, by name
    shards: list[dict[str, Any]] = field(default_factory=list)  # name, sets, bytes, texts_bytes
    format_version: int = FORMAT_VERSION
