"""Exact search gives the same results with torch, with FAISS and with a full sort."""

import sys

import pytest
import torch

from r4t import index as index_module
from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.index import FaissIndex, TorchIndex, build_index


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def test_scores_and_rows_by_hand():
    # 0.6·1 = 0.6, 0.8·1 = 0.8, and −0.6 for the opposite of the first axis
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    scores, rows = TorchIndex(items).search(torch.tensor([[0.6, 0.8]]), top_k=3)
    torch.testing.assert_close(scores, torch.tensor([[0.8, 0.6, -0.6]]))
    assert rows.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("top_k", [1, 7, 300])
def test_torch_equals_a_full_sort_with_any_block_size(monkeypatch, top_k):
    items, queries = unit(300, 8), unit(50, 8, seed=1)
    full, order = (queries @ items.T).sort(descending=True)
    for block in (1 << 24, 64 * 20, 64):  # all at once, 20 items at a time, one query at a time
        monkeypatch.setattr(index_module, "BLOCK", block)
        scores, rows = TorchIndex(items).search(queries, top_k)
        torch.testing.assert_close(scores, full[:, :top_k], atol=1e-6, rtol=0)
        assert torch.equal(rows, order[:, :top_k])


def test_the_block_bounds_the_memory(monkeypatch):
    monkeypatch.setattr(index_module, "BLOCK", 64 * 16)
    seen = []
    original = torch.Tensor.topk

    def topk(self, *args, **kwargs):
        seen.append(self.numel())
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "topk", topk)
    TorchIndex(unit(200, 4)).search(unit(500, 4, seed=1), top_k=5)
    assert max(seen) <= 64 * 16


def test_faiss_equals_torch():
    pytest.importorskip("faiss", reason="the extra cpu is not installed")
    items, queries = unit(500, 16), unit(40, 16, seed=1)
    ours, ours_rows = TorchIndex(items).search(queries, 20)
    theirs, their_rows = FaissIndex(items).search(queries, 20)
    torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)
    assert torch.equal(their_rows, ours_rows)  # random vectors: no ties
    assert theirs.dtype == torch.float32
    assert their_rows.dtype == torch.int64


def test_no_directions_give_no_results():
    scores, rows = TorchIndex(unit(5, 4)).search(torch.zeros(0, 4), 2)
    assert scores.shape == rows.shape == (0, 2)


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_wrong_directions_and_top_k_are_refused(backend):
    if backend == "faiss":
        pytest.importorskip("faiss", reason="the extra cpu is not installed")
    index = build_index(unit(5, 4), backend)
    with pytest.raises(InputError, match=r"top_k within 1\.\.5, .* but found 6\. Ask for fewer"):
        index.search(unit(1, 4), 6)
    with pytest.raises(InputError, match=r"top_k within 1\.\.5, .* but found 0"):
        index.search(unit(1, 4), 0)
    with pytest.raises(InputError, match=r"shape \(n, 4\), .* but found \(1, 3\)\. Encode them"):
        index.search(unit(1, 3), 1)


def test_unknown_backend_and_missing_faiss(monkeypatch):
    with pytest.raises(
        InputError, match=r"named faiss or torch, but found 'fais'\. .*mean 'faiss'\?"
    ):
        build_index(unit(2, 2), "fais")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        InputError, match=r"the FAISS library .* found none installed\. .*r4t\[cpu\]"
    ):
        build_index(unit(2, 2), "faiss")
