import pytest
import torch
from transformers import AutoModelForCausalLM

from r4t.errors import InputError
from r4t.fanout import backend
from r4t.fanout.backend import Prompts, Transformers
from r4t.fanout.decoding import write
from r4t.fanout.formats import Expand, Full, JsonList
from r4t.fanout.language_model import Pretrained, TinyQwen3
from r4t.fanout.model import FanoutModel


@pytest.fixture(scope="module")
def model():
    texts = ["red linen shirt", "blue wool coat", "green silk dress", "beach day"] * 3
    lm, tokenizer = TinyQwen3(width=32, layers=2, vocabulary=400).build(texts, None)
    return FanoutModel(lm, tokenizer, Expand(set_size=3), max_new_tokens=12)


def test_a_query_samples_the_same_alone_and_in_a_batch(model):
    both = model.sample(["red linen", "beach day in green"], seeds=[5, 6], group_size=3)
    alone = model.sample(["red linen"], seeds=[5], group_size=3)
    assert both.texts[:3] == alone.texts
    assert len(set(both.texts)) == 6  # G samples differ, and so do the queries
    other = model.sample(["red linen"], seeds=[7], group_size=3)
    assert other.texts != alone.texts


@pytest.mark.parametrize(
    "at_once, calls", [(None, [6]), (100, [6]), (5, [3, 3]), (3, [3, 3]), (2, [2, 1, 2, 1])]
)
def test_completions_are_the_same_however_many_are_written_together(
    model, monkeypatch, at_once, calls
):
    arguments = {"queries": ["red linen", "beach day in green"], "seeds": [5, 6], "group_size": 3}
    whole, rows = model.sample(**arguments), []

    def counted(lm, prompts, group_size, *settings):
        rows.append(len(prompts[0]) * group_size)
        return write(lm, prompts, group_size, *settings)

    monkeypatch.setattr(backend, "write", counted)
    monkeypatch.setattr(model, "backend", Transformers(at_once))
    parts = model.sample(**arguments)
    assert rows == calls
    assert torch.equal(parts.completion_ids, whole.completion_ids)
    assert torch.equal(parts.completion_mask, whole.completion_mask)
    assert parts.texts == whole.texts


def test_completions_of_parts_are_padded_to_the_longest(model, monkeypatch):
    written = iter([[[7, 8]], [[9]]])
    monkeypatch.setattr(backend, "write", lambda *_: torch.tensor(next(written)))
    prompts = Prompts(torch.tensor([[1], [1]]), torch.ones(2, 1), "", [0, 1], 1, 0.9)
    pad = model.tokenizer.pad_token_id
    assert Transformers(1).generate(model, prompts).tolist() == [[7, 8], [9, pad]]
    with pytest.raises(InputError, match="at_once"):
        Transformers(0)


def test_a_copy_in_low_precision_writes_with_the_current_weights(model, monkeypatch):
    arguments = {"queries": ["red linen", "beach day in green"], "seeds": [5, 6], "group_size": 3}
    backend = Transformers(at_once=2, dtype="bfloat16")
    monkeypatch.setattr(model, "backend", backend)
    fanouts = model.sample(**arguments)
    assert next(backend._copy.parameters()).dtype == torch.bfloat16
    assert next(model.lm.parameters()).dtype == torch.float32
    # What it sampled from is what the copy, and nearly what the model, says of these tokens.
    own = model.log_probs(fanouts, 0.9) * fanouts.completion_mask
    gaps = (backend.log_probs * fanouts.completion_mask - own).abs()
    assert 1e-5 < gaps.max() < 0.05
    monkeypatch.setattr(model, "backend", Transformers())
    assert model.backend.log_probs is None
    # A change of the weights is seen at once, also one that their versions do not show.
    monkeypatch.setattr(model, "backend", backend)
    weight = next(model.lm.parameters())
    before = weight.detach().clone()
    weight.data = -before
    changed = model.sample(**arguments)
    own = model.log_probs(changed, 0.9) * changed.completion_mask
    assert (backend.log_probs * changed.completion_mask - own).abs().max() < 0.05
    weight.data = before
    with pytest.raises(InputError, match="dtype bfloat16 or float16, or none .* found 'int8'"):
        Transformers(dtype="int8")


def test_sampling_follows_the_softmax_at_its_temperature(model):
    fanouts = model.sample(["red linen"], seeds=[0], group_size=4000, temperature=0.7)
    first = fanouts.completion_ids[:, 0]
    ids, mask = model.prompt_tokens(["red linen"])
    with torch.no_grad():
        logits = model.lm(input_ids=ids, attention_mask=mask).logits[0, -1]
    expected = (logits / 0.7).softmax(-1)
    found = torch.bincount(first, minlength=len(expected)) / 4000
    # Total variation of 4000 draws over ~400 tokens: about 0.5 sqrt(400/4000) = 0.16 for uniform.
    assert (found - expected).abs().sum() / 2 < 0.16


def test_log_probs_equal_a_loop_over_tokens(model):
    fanouts = model.sample(["red linen", "beach day in green"], seeds=[1, 2], group_size=2)
    found = model.log_probs(fanouts, temperature=0.8)
    for row in range(4):
        prompt = fanouts.prompt_ids[row][fanouts.prompt_mask[row].bool()]
        tokens = fanouts.completion_ids[row]
        for position in range(int(fanouts.completion_mask[row].sum())):
            seen = torch.cat([prompt, tokens[:position]])[None]
            with torch.no_grad():
                logits = model.lm(input_ids=seen).logits[0, -1] / 0.8
            expected = logits.log_softmax(-1)[tokens[position]]
            assert found[row, position].item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_end_of_sequence_counts_and_what_follows_does_not(model):
    eos, pad = model.tokenizer.eos_token_id, model.tokenizer.pad_token_id
    a = model.tokenizer("red")["input_ids"][0]
    completion = torch.tensor([[a, eos, pad], [a, a, a]])
    ids = torch.zeros(2, 1, dtype=torch.long)
    fanouts = model._fanouts(ids, ids + 1, completion, ["beach", "beach"])
    assert fanouts.completion_mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert fanouts.subqueries == [["beach red"], ["beach red red red"]]


def test_a_pad_token_that_was_sampled_leaves_no_hole(model):
    eos, pad = model.tokenizer.eos_token_id, model.tokenizer.pad_token_id
    a = model.tokenizer("red")["input_ids"][0]
    completion = torch.tensor([[a, pad, a, pad, pad], [pad, eos, pad, pad, pad], [a, eos, a, a, a]])
    ids, mask = model.prompt_tokens(["beach"] * 3)
    fanouts = model._fanouts(ids, mask, completion, ["beach"] * 3)
    assert fanouts.completion_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]
    # The third token's probability is that after both earlier tokens.
    seen = torch.cat([ids[0], completion[0, :2]])[None]
    with torch.no_grad():
        expected = model.lm(seen).logits[0, -1].log_softmax(-1)[a]
        found = model.log_probs(fanouts, temperature=1.0)[0, 2]
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)


def test_words_that_occur_together_begin_near_each_other():
    texts = ["red linen shirt", "red linen dress", "blue wool coat", "blue wool hat"] * 5
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=400).build(texts, None)
    plain, _ = TinyQwen3(width=32, layers=1, vocabulary=400, word_length=0).build(texts, None)

    def cosine(model, first, second):
        ids = [tokenizer(word)["input_ids"][0] for word in (first, second)]
        rows = model.get_input_embeddings().weight[ids]
        return torch.cosine_similarity(rows[0], rows[1], dim=0).item()

    assert cosine(lm, "red", "linen") > 0.9 > 0.2 > abs(cosine(lm, "red", "wool"))
    assert abs(cosine(plain, "red", "linen")) < 0.6
    row = lm.get_input_embeddings().weight[tokenizer("red")["input_ids"][0]]
    # Eight words have seven singular directions; the other coordinates stay random.
    assert row[:7].norm().item() == pytest.approx(0.5, abs=1e-5)


def test_a_complete_list_stops_the_model(model):
    fanouts = model.sample(["red linen", "beach day"], seeds=[1, 2], group_size=40)
    newline = model.tokenizer("\n")["input_ids"][0]
    lines = (fanouts.completion_ids == newline).sum(1)
    assert lines.max() <= 3
    for row in (lines == 3).nonzero().flatten().tolist():
        kept = fanouts.completion_ids[row][fanouts.completion_mask[row].bool()]
        assert kept[-1] == newline


def test_fanouts_to_imitate_read_back(model):
    taught = model.teach(["beach day"], [["red linen", "wool coat"]])
    assert taught.subqueries == [["beach day red linen", "beach day wool coat"]]
    kept = taught.completion_ids[0][taught.completion_mask[0].bool()]
    assert kept[-1] == model.tokenizer.eos_token_id
    assert model.form.parse("beach day", model.tokenizer.decode(kept[:-1])) == taught.subqueries[0]


def test_an_unparsable_completion_is_an_empty_fanout(model):
    model_json = FanoutModel(model.lm, model.tokenizer, Full(JsonList(), 3), 12)
    fanouts = model_json.sample(["red linen"], seeds=[0], group_size=2)
    assert fanouts.subqueries == [[], []]


def test_a_stop_string_ends_the_mask_where_padding_is_the_end_token(model):
    eos = model.tokenizer.eos_token_id
    stop = model.tokenizer('<queries>["red"]</queries>')["input_ids"]
    completion = torch.tensor([[*stop, eos, eos]])
    ids = torch.zeros(1, 1, dtype=torch.long)
    model_json = FanoutModel(model.lm, model.tokenizer, Full(JsonList(), 3), 12)
    fanouts = model_json._fanouts(ids, ids + 1, completion, ["beach"])
    assert fanouts.completion_mask.sum() == len(stop)
    assert fanouts.subqueries == [["red"]]


def test_saved_models_load_here_and_in_transformers(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = FanoutModel.load(tmp_path / "model")
    assert loaded.form.spec() == model.form.spec()
    before = model.sample(["red linen"], seeds=[3], group_size=2)
    after = loaded.sample(["red linen"], seeds=[3], group_size=2)
    assert before.texts == after.texts
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").num_parameters() > 0
    assert Pretrained("model").saved_form(tmp_path).entry == "expand"  # found inside the run


def test_a_chat_template_wraps_the_prompt(model):
    model.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
    )
    try:
        ids, _ = model.prompt_tokens(["beach"])
        assert model.tokenizer.decode(ids[0]).strip().startswith("[user] beach")
    finally:
        model.tokenizer.chat_template = None


def test_what_cannot_be_loaded_or_sampled_is_refused(model, tmp_path):
    with pytest.raises(InputError, match="folder with fanout.json, but found none in"):
        FanoutModel.load(tmp_path)
    with pytest.raises(
        InputError, match="hub name or .* folder.*'no/such-model', which could not be loaded"
    ):
        Pretrained("no/such-model").build([], tmp_path)
    with pytest.raises(InputError, match="dtype float32, bfloat16 or float16, but found 'int8'"):
        Pretrained("x", dtype="int8")
    with pytest.raises(InputError, match="multiple of 32, but found 100"):
        TinyQwen3(width=100)
    with pytest.raises(InputError, match="temperature above 0, but found 0"):
        model.sample(["red"], seeds=[0], temperature=0)
