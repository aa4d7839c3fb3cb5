"""GGUF files become plain models; those that cannot are refused in one sentence."""

import importlib.util
import json
import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from r4t.errors import InputError
from r4t.fanout.formats import Full
from r4t.fanout.language_model import Pretrained
from r4t.fanout.model import FanoutModel
from tests import gguf_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    gguf_file.write(folder)
    return folder


def refused(folder, match, name=gguf_file.NAME):
    with pytest.raises(InputError, match=match) as caught:
        Pretrained(str(folder), gguf_file=name).build([], folder)
    assert "\n" not in str(caught.value)


def test_it_is_the_model_that_was_written_and_is_saved_as_safetensors(folder, tmp_path):
    lm, tokenizer = Pretrained(str(folder), gguf_file=gguf_file.NAME).build([], folder)
    ids = torch.arange(12).unsqueeze(0)
    with torch.no_grad():
        expected = gguf_file.model()(ids).logits
        assert torch.allclose(lm(ids).logits, expected, atol=1e-5)
    assert lm.training
    assert tokenizer.decode(tokenizer.encode("red hat;\n")) == "red hat;\n"
    FanoutModel(lm, tokenizer, Full(), 20).save(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert (tmp_path / "model.safetensors").is_file()
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, expected, atol=1e-5)
    assert FanoutModel.load(tmp_path).tokenizer.encode("red hat;\n") == tokenizer.encode(
        "red hat;\n"
    )


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_file_that_is_cut_is_refused(folder, tmp_path, share):
    whole = (folder / gguf_file.NAME).read_bytes()
    (tmp_path / gguf_file.NAME).write_bytes(whole[: int(share * len(whole))])
    refused(
        tmp_path, r"a whole GGUF file .*, but found one that could not be read \(.*Check the name"
    )


def test_other_files_and_architectures_are_refused(folder, tmp_path):
    (tmp_path / gguf_file.NAME).write_text("hello")
    refused(tmp_path, "not a GGUF file")
    refused(tmp_path, "missing.gguf in", "missing.gguf")
    gguf_file.write(tmp_path, "abacus")
    refused(tmp_path, "architecture that transformers reads, .*abacus")
    path = re.escape(str(folder / gguf_file.NAME))
    with pytest.raises(
        InputError, match=rf"the file {path}\. Write path: .* gguf_file: tiny\.gguf"
    ):
        Pretrained(str(folder / gguf_file.NAME))


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path):
    gguf_file.write(tmp_path, end=False)
    lm, tokenizer = Pretrained(str(tmp_path), gguf_file=gguf_file.NAME).build([], tmp_path)
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="a token that ends a completion, but found no eos_token"):
        FanoutModel(lm, tokenizer, Full(), 20)


def test_the_extra_is_named_where_it_is_missing(folder, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *a: None if n == "gguf" else find(n, *a)
    )
    refused(folder, r"package gguf, .* not installed\. Install it with pip install 'r4t\[gguf\]'")
