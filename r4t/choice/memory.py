"""Target sets of training queries → the items that the sets of near queries hold."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from r4t.errors import InputError, check_least

NEAREST = 64  # training queries that answer
MEMORY_FILE = "memory.safetensors"  # beside a saved diffusion retriever


@dataclass(frozen=True, eq=False)
class SetMemory:
    """Training queries and, for each, how probable every item is in one of its target sets.

    A query asks the 64 training queries nearest to it, weighted by ``softmax(cos / τ)``, as a
    nearest-neighbor language model asks for the next word (Khandelwal et al., arXiv:1911.00172). What
    a small network smooths away, the ingredients of one rare dish, the memory still knows.

    Args:
        queries: (n, d) unit vectors.
        items: (n, L) row numbers in the catalog; −1 fills up.
        weights: (n, L) probabilities of the items, of sum 1 for each query; 0 for −1.
        fingerprint: Of the catalog.
    """

    queries: Tensor
    items: Tensor
    weights: Tensor
    fingerprint: str

    @classmethod
    def of(
        cls, sets: Iterable[tuple[str, str, Tensor, Sequence[int]]], fingerprint: str
    ) -> "SetMemory":
        """Collect target sets: each teacher of a query counts the same, and each set of a teacher.

        Args:
            sets: Of each set the query's id, the teacher, the query's unit vector (d,), and the items.
            fingerprint: Of the catalog.

        Raises:
            InputError: If no set holds an item.
        """
        vectors: dict[str, Tensor] = {}
        taught: dict[str, dict[str, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
        for query, teacher, vector, row in sets:
            if held := [item for item in dict.fromkeys(row) if item >= 0]:
                vectors[query] = vector
                taught[query][teacher].append(held)
        if not vectors:
            raise InputError(
                expected="target sets that hold items of the catalog",
                found="none",
                remedy="Synthesize sets, or leave the memory out.",
            )
        mixed = [_mixed(taught[query]) for query in vectors]
        longest = max(map(len, mixed))
        held_rows = [
            pad(torch.tensor([*each]), (0, longest - len(each)), value=-1) for each in mixed
        ]
        weights = [pad(torch.tensor([*each.values()]), (0, longest - len(each))) for each in mixed]
        queries, items, shares = map(torch.stack, ([*vectors.values()], held_rows, weights))
        return cls(queries, items, shares, fingerprint)

    def __len__(self) -> int:
        return len(self.queries)

    def recall(self, queries: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Return items (B, M), with repeats and −1, and their weights of sum 1, for queries (B, d)."""
        check_least({"temperature": (temperature, 1e-6)})
        cosines = queries @ self.queries.to(queries).T
        near, rows = cosines.topk(min(NEAREST, len(self)), dim=1)
        shares = (near / temperature).softmax(1).unsqueeze(2)
        rows = rows.to(self.items.device)
        return (
            self.items[rows].flatten(1).to(queries.device),
            (shares * self.weights[rows].to(queries)).flatten(1),
        )

    def check(self, fingerprint: str) -> None:
        """Refuse another catalog than that of the target sets."""
        if fingerprint != self.fingerprint:
            raise InputError(
                expected=f"the catalog {self.fingerprint}, whose items the model remembers",
                found=f"{fingerprint}",
                remedy="Synthesize and train on this catalog, or use the model with its own.",
            )

    def save(self, folder: Path) -> None:
        """Write ``memory.safetensors`` into a model's folder."""
        tensors = {
            "queries": self.queries.half().contiguous(),
            "items": self.items.int().contiguous(),
            "weights": self.weights.half().contiguous(),
        }
        save_file(tensors, folder / MEMORY_FILE, {"fingerprint": self.fingerprint})

    @classmethod
    def load(cls, folder: Path) -> "SetMemory":
        """Read what ``save`` wrote.

        Raises:
            InputError: If the file is damaged.
        """
        try:
            with safe_open(folder / MEMORY_FILE, framework="pt") as file:
                queries, items, weights = map(file.get_tensor, ("queries", "items", "weights"))
                fingerprint = file.metadata()["fingerprint"]
        except (SafetensorError, KeyError, TypeError) as error:
            raise InputError(
                expected=f"queries, items, weights and a fingerprint in {folder / MEMORY_FILE}",
                found=f"a damaged file ({type(error).__name__})",
                remedy="Train the step again.",
            ) from error
        return cls(queries.float(), items.long(), weights.float(), fingerprint)


def _mixed(taught: dict[str, list[list[int]]]) -> dict[int, float]:
    """Return item → probability: the mean over teachers of the mean over their sets."""
    found: dict[int, float] = defaultdict(float)
    for sets in taught.values():
        for held in sets:
            for item in held:
                found[item] += 1 / (len(taught) * len(sets) * len(held))
    return found
