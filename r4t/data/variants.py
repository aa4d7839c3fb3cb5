"""Titles → groups of variants: the same product in another color, size or season."""

import re
import tomllib
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

_TABLES = tomllib.loads(Path(__file__).with_name("variants.toml").read_text(encoding="utf-8"))
VARYING = frozenset(word for words in _TABLES.values() for word in words.split())
LEAST = 3  # words that must be left of a title: "red pepper" is no variant of "black pepper"


def product_title(text: str) -> str:
    """Return the words of a title without those in which variants differ.

    All its words are returned if fewer than three would be left.

    Examples:
        >>> product_title("Tiered viscose shirt, plus size, in Light Blue")
        'tiered viscose shirt'
        >>> product_title("black pepper")
        'black pepper'
    """
    words = re.findall(r"\w+", text.lower())
    kept = [word for word in words if word not in VARYING]
    return " ".join(kept if len(kept) >= LEAST else words)


def number_groups(values: Iterable[Hashable]) -> Tensor:
    """Number N values (N,) by the row of the first that is equal; None equals no other value.

    Examples:
        >>> number_groups(["a", "b", None, "a", None]).tolist()
        [0, 1, 2, 0, 4]
    """
    first: dict[Hashable, int] = {}
    return torch.tensor(
        [
            row if value is None else first.setdefault(value, row)
            for row, value in enumerate(values)
        ],
        dtype=torch.long,
    )


def variants_by_title(texts: Sequence[str]) -> Tensor:
    """Number N titles (N,): those of one product share a number; a title without words never does."""
    return number_groups(title if (title := product_title(text)) else None for text in texts)
