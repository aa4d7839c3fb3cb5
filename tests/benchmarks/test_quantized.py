"""benchmarks.quantized: llama.cpp's tokens end where lists do, and weights reach a GGUF file."""

import sys
from itertools import count
from types import SimpleNamespace

import pytest

from benchmarks.quantized import LlamaCpp, gguf_weights, write_gguf
from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Full
from r4t.fanout.language_model import Pretrained
from r4t.fanout.model import FanoutModel
from tests import gguf_file

A, B, SEMICOLON, LINE_END = (gguf_file.WORDS.index(word) for word in ("a", "b", ";", "Ċ"))


@pytest.fixture
def llama(monkeypatch):
    """A module llama_cpp whose model writes the tokens ``script``, for any prompt."""
    seen = []

    class Llama:
        script = ()

        def __init__(self, file, **settings):
            seen.append((file, settings))

        def close(self):
            pass

        def set_seed(self, seed):
            seen.append(seed)

        def generate(self, tokens, **settings):
            seen.append((tokens, settings))
            yield from self.script

    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(Llama=Llama))
    return Llama, seen


@pytest.fixture
def model(tmp_path):
    """A model that lists three entries in at most eight tokens."""
    lm, tokenizer = Pretrained(str(tmp_path), gguf_file=gguf_file.write(tmp_path).name).build(
        [], tmp_path
    )
    tokenizer.pad_token = tokenizer.eos_token
    return FanoutModel(lm.eval(), tokenizer, Full(FewShot("Q", "L"), 3), 8)


@pytest.mark.parametrize(
    ("script", "written"),
    [
        ([A, SEMICOLON, B, SEMICOLON, A, SEMICOLON, B], 6),  # to the third separator
        ([A, SEMICOLON, B, LINE_END, A], 4),  # to the line's end
        ([A, 0, B], 2),  # to the end token
        ([A] * 20, 8),  # to the limit
    ],
)
def test_a_completion_ends_where_its_list_does(llama, model, script, written):
    kind, seen = llama
    kind.script = script
    model.backend = LlamaCpp("file", threads=2)
    fanouts = model.sample(["a", "longer"], [5, 2**40 + 6], temperature=0.7)
    assert fanouts.completion_ids.tolist() == [script[:written]] * 2
    (file, settings), *calls = seen
    assert (file, settings["n_threads"], settings["n_threads_batch"]) == ("file", 2, 2)
    assert [calls[0], calls[2]] == [5, 6]  # seeds, of 31 bits
    prompts = [model.tokenizer(model.form.prompt(query))["input_ids"] for query in ("a", "longer")]
    assert [calls[1][0], calls[3][0]] == prompts  # without padding
    whole = {"temp": 0.7, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
    assert calls[1][1] == whole


@pytest.mark.filterwarnings("ignore:No completion of the first rollout")
def test_each_completion_of_a_group_has_a_row_and_shorter_ones_are_padded(llama, model):
    kind, seen = llama
    lengths = count(1)
    kind.generate = lambda self, tokens, **settings: iter([A] * next(lengths) + [LINE_END])
    model.backend = LlamaCpp("file", threads=1, cut={"top_k": 40})
    fanouts = model.sample(["a", "b"], [7, 9], group_size=2, temperature=1.0)
    assert fanouts.completion_mask.sum(1).tolist() == [2, 3, 4, 5]
    assert seen[1:] == [7, 8, 9, 10]
    assert model.backend.cut["top_k"] == 40


@pytest.mark.parametrize(
    ("kind", "error"), [(None, 0.0), ("F16", 2**-11), ("Q8_0", 1 / 254 + 2**-11)]
)
def test_a_gguf_file_with_other_weights_reads_back(tmp_path, kind, error):
    """float32 holds them exactly, F16 to 11 bits, Q8_0 to 127 steps of a block's largest, kept in F16."""
    template = gguf_file.write(tmp_path)
    lm = gguf_file.model()
    for weight in lm.parameters():
        weight.data.mul_(2).add_(0.5)
    write_gguf(template, lm, tmp_path / "other.gguf", kind)
    found, tokenizer = Pretrained(str(tmp_path), gguf_file="other.gguf").build([], tmp_path)
    assert tokenizer.decode([1, 2]) == '!"'
    for name, expected in lm.state_dict().items():
        weight = found.state_dict()[name]
        within = error * 1.01 * expected.abs().max() if expected.ndim > 1 else 0.0
        assert (weight - expected).abs().max() <= within, name
    for name, array in gguf_file.tensors(lm).items():
        assert (gguf_weights(lm)[name] == array).all()
