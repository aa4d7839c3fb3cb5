"""Directions → the nearest catalog rows, searched exactly with torch alone or with FAISS."""

from typing import Any, Protocol

import torch
from torch import Tensor

from r4t.errors import InputError, nearest

BLOCK = 1 << 24  # scores held at a time: 64 MiB of float32


class Index(Protocol):
    """Exact search by inner product over N items of width d."""

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Find the best items of each direction (n, d).

        Returns:
            Inner products (n, top_k) float32 and rows (n, top_k) int64, best first, both on the
            device of the directions.

        Raises:
            InputError: If ``top_k`` is not in 1..N or the width is not d.
        """
        ...


def _check(directions: Tensor, top_k: int, items: int, width: int) -> None:
    if directions.ndim != 2 or directions.shape[1] != width:
        raise InputError(
            expected=f"directions of shape (n, {width}), as wide as the catalog",
            found=str(tuple(directions.shape)),
            remedy="Encode them with the catalog's own encoder.",
        )
    if not 1 <= top_k <= items:
        raise InputError(
            expected=f"top_k within 1..{items}, the number of items in the catalog",
            found=str(top_k),
            remedy="Ask for fewer items or use a larger catalog.",
        )


class TorchIndex:
    """Exact search over embeddings (N, d) with torch, on their device, in blocks of bounded memory.

    Examples:
        >>> index = TorchIndex(torch.eye(3))
        >>> scores, rows = index.search(torch.tensor([[0.6, 0.8, 0.0]]), top_k=2)
        >>> rows.tolist()
        [[1, 0]]
    """

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """See ``Index.search``."""
        items, width = self.embeddings.shape
        _check(directions, top_k, items, width)
        block = min(items, max(BLOCK // 64, top_k))
        # An empty tensor splits into one empty part, so zero directions are no special case.
        parts = directions.to(self.embeddings).split(max(1, BLOCK // block))
        best = zip(*(self._best(part, top_k, block) for part in parts), strict=True)
        scores, rows = (torch.cat(blocks).to(directions.device) for blocks in best)
        return scores.float(), rows

    def _best(self, queries: Tensor, top_k: int, block: int) -> tuple[Tensor, Tensor]:
        """Merge the best of each block of items into the best so far."""
        scores = queries.new_empty(len(queries), 0)
        rows = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
        for start in range(0, len(self.embeddings), block):
            products = queries @ self.embeddings[start : start + block].T
            best, places = products.topk(min(top_k, products.shape[1]))
            scores, rows = torch.cat([scores, best], 1), torch.cat([rows, places + start], 1)
            if scores.shape[1] > top_k:
                scores, chosen = scores.topk(top_k)
                rows = rows.gather(1, chosen)
        return scores, rows


class FaissIndex:
    """Exact search over embeddings (N, d) with FAISS (``IndexFlatIP``), on the CPU.

    Raises:
        InputError: If FAISS is not installed.
    """

    def __init__(self, embeddings: Tensor) -> None:
        try:
            import faiss
        except ImportError as error:
            raise InputError(
                expected="the FAISS library for the index 'faiss'",
                found="none installed",
                remedy="Install it with pip install 'r4t[cpu]' (or gpu), or use the index 'torch'.",
            ) from error
        self.index: Any = faiss.IndexFlatIP(embeddings.shape[1])
        self.index.add(embeddings.detach().float().cpu().numpy())

    def search(self, directions: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """See ``Index.search``."""
        _check(directions, top_k, self.index.ntotal, self.index.d)
        queries = directions.detach().float().cpu().contiguous().numpy()
        scores, rows = map(torch.from_numpy, self.index.search(queries, top_k))
        return scores.to(directions.device), rows.to(directions.device)


BACKENDS: dict[str, type[TorchIndex | FaissIndex]] = {"torch": TorchIndex, "faiss": FaissIndex}


def build_index(embeddings: Tensor, backend: str = "torch") -> Index:
    """Build an index over embeddings (N, d).

    Raises:
        InputError: If the backend is unknown or not installed.
    """
    if backend not in BACKENDS:
        raise InputError(
            expected=f"an index named {' or '.join(sorted(BACKENDS))}",
            found=repr(backend),
            remedy=f"Choose one of these.{nearest(backend, BACKENDS)}",
        )
    return BACKENDS[backend](embeddings)
