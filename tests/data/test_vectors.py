"""r4t.data.vectors: the user's vectors from .npy and .safetensors."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from r4t.data.vectors import read_vectors
from r4t.errors import InputError

ROWS = torch.arange(6.0).view(2, 3)


def test_both_forms_give_the_same_float32_rows(tmp_path):
    np.save(tmp_path / "v.npy", ROWS.double().numpy())
    save_file({"image": ROWS.half()}, tmp_path / "one.safetensors")
    save_file({"other": torch.ones(1), "embeddings": ROWS}, tmp_path / "two.safetensors")
    for name in ("v.npy", "one.safetensors", "two.safetensors"):
        vectors = read_vectors(tmp_path / name)
        assert vectors.dtype == torch.float32
        assert torch.equal(vectors, ROWS)


def test_faulty_files(tmp_path):
    with pytest.raises(InputError, match=r"\.npy or \.safetensors file .* found no file at"):
        read_vectors(tmp_path / "v.npy")
    (tmp_path / "v.txt").write_text("1 2")
    with pytest.raises(InputError, match=r"found the suffix '\.txt' at"):
        read_vectors(tmp_path / "v.txt")
    np.save(tmp_path / "flat.npy", np.ones(3))
    with pytest.raises(
        InputError, match=r"shape \(items, width\), but found \(3,\) of torch\.float64"
    ):
        read_vectors(tmp_path / "flat.npy")
    np.save(tmp_path / "whole.npy", np.ones((2, 2), dtype=int))
    with pytest.raises(
        InputError, match=r"floating-point numbers .* found \(2, 2\) of torch\.int64"
    ):
        read_vectors(tmp_path / "whole.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "bad.npy").write_text("not numpy")
    for name in ("objects.npy", "bad.npy"):
        with pytest.raises(
            InputError, match=r"an array of numbers in .*\.npy, but found other content \("
        ):
            read_vectors(tmp_path / name)
    save_file({"a": ROWS, "b": ROWS + 1}, tmp_path / "two.safetensors")
    with pytest.raises(
        InputError, match=r"one called embeddings, but found \['a', 'b'\] in .*\. Rename"
    ):
        read_vectors(tmp_path / "two.safetensors")
    (tmp_path / "bad.safetensors").write_text("not tensors")
    with pytest.raises(
        InputError, match=r"tensors in .*bad\.safetensors, but found other content \("
    ):
        read_vectors(tmp_path / "bad.safetensors")
