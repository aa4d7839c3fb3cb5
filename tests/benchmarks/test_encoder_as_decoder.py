"""benchmarks.encoder_as_decoder on the small run: a clock ends training, and sets are retrieved."""

import json

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from benchmarks import encoder_as_decoder
from r4t.fanout.language_model import TinyQwen3


@pytest.fixture
def encoder(tmp_path, small_items):
    """Folder of a random BERT that knows the words of the items."""
    words = sorted({word for text in small_items.texts for word in text.split()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    folder = tmp_path / "encoder"
    BertTokenizerFast(vocab={token: row for row, token in enumerate(tokens)}).save_pretrained(
        folder
    )
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"intermediate_size": 32, "max_position_embeddings": 160}
    config = BertConfig(vocab_size=len(tokens), **shape)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


def test_the_clock_ends_training_and_sets_the_rate(small_run):
    lm = TinyQwen3(width=32, layers=1, vocabulary=300)
    module, clock = encoder_as_decoder.warm_start(small_run, lm, 3e-3, 0.5, batch_size=8)
    steps = len(clock.losses)
    assert steps > 5
    assert 0.5 <= clock.spent < 2  # seconds of this process alone
    assert clock.losses[-1] < clock.losses[0]
    assert module.lr_schedulers().get_last_lr() == [0.0]


def test_all_models_are_measured_on_the_test_queries(small_run, encoder, tmp_path):
    out = tmp_path / "results.json"
    arguments = [str(small_run.folder), "--minutes", "0.005", "--batch_size", "4"]
    encoder_as_decoder.main([*arguments, "--encoder", str(encoder), "--out", str(out)])
    content = json.loads(out.read_text())
    assert content["settings"]["encoder"] == "encoder"
    assert content["settings"]["retrieval"] == "LsaEncoder"
    rows = content["models"]
    assert list(rows) == [
        "TinyQwen3",
        "encoder as decoder",
        "encoder as decoder, whole vocabulary",
    ]
    for row in rows.values():
        assert row["queries"] == 8
        assert row["steps"] >= 1
        # A pool of 150 of the 200 items has most of a set, whatever the model writes.
        assert 0.3 < row["recall"] <= 1
