"""Directions -> the catalog rows nearest to each, exactly: with torch alone or with FAISS."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from r4t.errors import InputError, nearest

BLOCK = 1 << 24  # scores held at a time: 64 MiB of float32


class Index(Protocol):
    """Exact search by inner product over N items of width d."""

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Find the best items of each direction.

        Args:
            directions: (n, d) float.
            top_k: 1..N.

        Returns:
            Scores (n, top_k) float32, the inner products, and rows (n, top_k) int64, best first.

        Raises:
            InputError: top_k is out of range or the width is not d.
        """
        ...


def _check(directions: Tensor, top_k: int, shape: tuple[int, int]) -> None:
    items, width = shape
    if directions.ndim != 2 or directions.shape[1] != width:
        raise InputError(
            f"Directions must have the shape (n, {width}), the width of the catalog "
            f"— found {tuple(directions.shape)} — encode them with the catalog's own encoder."
        )
    if not 1 <= top_k <= items:
        raise InputError(
            f"top_k must lie in 1..{items}, the number of items in the catalog — found {top_k} "
            "— ask for fewer items or use a larger catalog."
        )


class TorchIndex:
    """Exact search with torch, on the device of the embeddings, in blocks of bounded memory.

    Args:
        embeddings: (N, d) float.

    Examples:
        >>> index = TorchIndex(torch.eye(3))
        >>> scores, rows = index.search(torch.tensor([[0.6, 0.8, 0.0]]), top_k=2)
        >>> rows.tolist()
        [[1, 0]]
    """

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """See `Index.search`; results lie on the device of the directions."""
        items, width = self.embeddings.shape
        _check(directions, top_k, (items, width))
        queries = directions.to(self.embeddings)
        item_block = min(items, max(BLOCK // 64, top_k))
        query_block = max(1, BLOCK // item_block)
        found = [self._best(part, top_k, item_block) for part in queries.split(query_block)]
        if not found:
            empty = directions.new_empty(0, top_k, dtype=torch.float32)
            return empty, empty.long()
        scores, rows = (
            torch.cat(parts).to(directions.device) for parts in zip(*found, strict=True)
        )
        return scores.float(), rows

    def _best(self, queries: Tensor, top_k: int, block: int) -> tuple[Tensor, Tensor]:
        """Keep the best of what was kept and of each next block of items."""
        scores = queries.new_empty(len(queries), 0)
        rows = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
        for start in range(0, len(self.embeddings), block):
            fresh = queries @ self.embeddings[start : start + block].T
            best, places = fresh.topk(min(top_k, fresh.shape[1]))
            scores, rows = torch.cat([scores, best], 1), torch.cat([rows, places + start], 1)
            if scores.shape[1] > top_k:
                scores, chosen = scores.topk(top_k)
                rows = rows.gather(1, chosen)
        return scores, rows


class FaissIndex:
    """Exact search with FAISS (`IndexFlatIP`), on the CPU.

    Args:
        embeddings: (N, d) float.

    Raises:
        InputError: FAISS is not installed.
    """

    def __init__(self, embeddings: Tensor) -> None:
        try:
            import faiss
        except ImportError as error:
            raise InputError(
                "The index 'faiss' needs the FAISS library — found none installed — install the "
                "extra cpu or gpu (pip install 'r4t[cpu]') or use the index 'torch'."
            ) from error
        self.index: Any = faiss.IndexFlatIP(embeddings.shape[1])
        self.index.add(embeddings.detach().float().cpu().numpy())

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """See `Index.search`; results lie on the device of the directions."""
        _check(directions, top_k, (self.index.ntotal, self.index.d))
        queries = directions.detach().float().cpu().contiguous().numpy()
        scores, rows = self.index.search(queries, top_k)
        device = directions.device
        return torch.from_numpy(scores).to(device), torch.from_numpy(rows).to(device)


BACKENDS: dict[str, type[TorchIndex] | type[FaissIndex]] = {
    "torch": TorchIndex,
    "faiss": FaissIndex,
}


def build_index(embeddings: Tensor, backend: str = "torch") -> Index:
    """Build the index of that name over embeddings (N, d).

    Raises:
        InputError: The backend is unknown or not installed.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"The index must be one of {', '.join(sorted(BACKENDS))} — found {backend!r} "
            f"— name one of these.{nearest(backend, BACKENDS)}"
        )
    return BACKENDS[backend](embeddings)
