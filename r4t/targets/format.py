"""Target sets and facts about them → a checked batch, and the manifest of a folder."""

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

    Raises:
        InputError: If the parts differ in sets, rows or coordinates, or a condition or row is not
            finite.
    """

    condition: Tensor  # query embeddings z_q (n, d), unit length
    rows: Tensor  # target rows Z (n, L, d)
    items: Tensor  # catalog row number of each row (n, L), −1 if a row is no item
    scores: dict[str, Tensor]  # objective name → (n,)
    query_ids: Sequence[str]  # the query that each set answers
    queries: Sequence[str]  # its text
    texts: Sequence[Sequence[str]]  # the sub-queries that each set came from
    item_ids: Sequence[Sequence[str]] | None = None  # in the catalog, "" if a row is no item
    teachers: Sequence[str] | None = None  # key of the method that each set comes from

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
        for name in ("query_ids", "queries", "texts", "item_ids", "teachers"):
            if (values := getattr(self, name)) is not None:
                shapes[name] = (len(values),)
        for name, actual in shapes.items():
            if actual != (wanted := expected.get(name, (n,))):
                raise InputError(
                    expected=f"{name} of shape {wanted} for target rows of {shape}",
                    found=f"{actual}",
                    remedy="Give one entry for each set.",
                )
        check_finite(vars(self), lambda row: f"query {self.query_ids[row]!r}")

    def __len__(self) -> int:
        return len(self.rows)


def check_finite(tensors: Mapping[str, Any], origin: Callable[[int], str]) -> None:
    """Refuse ``condition`` or ``rows`` (n, …) that are not finite; ``origin`` names set i's source."""
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
    """Where target sets come from: folders of equal origin hold sets of the same kind."""

    fingerprint: str  # of the catalog whose rows ``items`` numbers
    encoder: str  # name of the encoder of conditions and rows
    model: str  # the first model that was sampled; "none" if no teacher is a model
    dim: int  # d
    set_size: int  # L
    encoder_fingerprint: str = ""  # of its files, if it has any
    model_fingerprint: str = ""  # of its files
    config: dict[str, Any] = field(default_factory=dict)  # how sets were sampled, scored, filtered


@dataclass(frozen=True)
class Manifest(Origin):
    """What a folder of target sets holds, and its origin."""

    config_fingerprint: str = ""
    asked: int = 0  # queries that were sampled
    queries: int = 0  # those with at least one set
    sets: int = 0
    drawn: int = 0  # samples before any filter
    dropped: dict[str, int] = field(default_factory=dict)  # reason → samples
    # Key of a method → its "candidates", those "kept", and queries whose "best" set is its.
    teachers: dict[str, dict[str, int]] = field(default_factory=dict)
    objectives: dict[str, Any] = field(default_factory=dict)  # a judge's model and cost, by name
    shards: list[dict[str, Any]] = field(default_factory=list)  # name, sets, bytes, texts_bytes
    format_version: int = FORMAT_VERSION
