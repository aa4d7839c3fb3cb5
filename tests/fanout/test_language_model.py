"""Layers that are computed again in the backward pass: the same gradients with less memory."""

import pytest
import torch

from r4t.errors import InputError
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import Pretrained, TinyQwen3
from r4t.fanout.lora import LoRA
from r4t.fanout.model import FanoutModel

TEXTS = ["red linen shirt", "blue wool coat", "green silk dress", "beach day"] * 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a saved model in ``start``."""
    folder = tmp_path_factory.mktemp("run")
    lm, tokenizer = TinyQwen3(width=32, layers=2, vocabulary=400).build(TEXTS, folder)
    FanoutModel(lm, tokenizer, Expand(set_size=3), 12).save(folder / "start")
    return folder


def passes(source, run):
    """The model; how often a layer begins in a training step, and the gradients."""
    model = FanoutModel(*source.build([], run), Expand(set_size=3), max_new_tokens=12)
    calls = []
    # A pre-hook: computing again ends as soon as the last value that is needed is known.
    model.lm.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    taught = model.teach(["beach day", "red"], [["red linen", "wool"], ["green"]])
    model.log_probs(taught, 0.9).sum().backward()
    grads = [weight.grad for weight in model.parameters() if weight.requires_grad]
    return model, len(calls), torch.cat([grad.flatten() for grad in grads])


@pytest.mark.parametrize("wrap", [lambda base: base, lambda base: LoRA(base, rank=2)])
def test_checkpointed_layers_go_forward_twice_and_give_the_same_gradients(run, wrap):
    _, once, expected = passes(wrap(Pretrained("start")), run)
    model, twice, found = passes(wrap(Pretrained("start", gradient_checkpointing=True)), run)
    assert (once, twice) == (1, 2)
    assert expected.abs().max() > 1e-2
    assert torch.allclose(found, expected, atol=1e-6)
    plain = FanoutModel.load(run / "start")
    written = model.sample(["red linen"], seeds=[3], group_size=4)  # with a cache, in between
    assert written.texts == plain.sample(["red linen"], seeds=[3], group_size=4).texts
    assert model.lm.training


def test_a_model_that_cannot_checkpoint_is_refused(run, monkeypatch):
    model, _ = Pretrained("start").build([], run)
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(InputError, match="off for Qwen3.*, which cannot do it, but found it on"):
        Pretrained("start", gradient_checkpointing=True).build([], run)
