"""A random BERT of two layers becomes a decoder: causal, cached, and with texts that read back."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, BertConfig, BertModel, BertTokenizerFast, RobertaConfig

from r4t.errors import InputError
from r4t.fanout.encoder_as_decoder import EncoderAsDecoder
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import Pretrained
from r4t.fanout.model import FanoutModel

TEXTS = ["Women's red T-shirt (slim), 3.5 oz", "blue wool coat", "green silk dress: beach day"] * 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with an encoder's checkpoint in ``encoder``."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder / "encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def model(run):
    lm, tokenizer = EncoderAsDecoder("encoder", whole_vocabulary=True).build([], run)
    assert lm.training
    return FanoutModel(lm.eval(), tokenizer, Expand(set_size=3), max_new_tokens=12)


def test_it_has_the_encoders_weights_and_one_more_token(run, model):
    encoder, decoder = BertModel.from_pretrained(run / "encoder"), model.lm
    embedded = decoder.get_input_embeddings().weight
    assert torch.equal(embedded[:-1], encoder.get_input_embeddings().weight)
    assert model.tokenizer.convert_tokens_to_ids("\n") == len(embedded) - 1
    assert decoder.get_output_embeddings().weight is embedded
    ours, theirs = decoder.bert.encoder.state_dict(), encoder.encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    again, _ = EncoderAsDecoder("encoder").build([], run)
    other, _ = EncoderAsDecoder("encoder", seed=1).build([], run)
    assert torch.equal(embedded[-1], embedded[:-1].mean(0))
    heads = [lm.cls.predictions.transform.dense.weight for lm in (decoder, again, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_later_token_does_not_change_earlier_logits(run, model):
    ids, other = torch.arange(5, 25).view(1, 20), torch.arange(5, 25).view(1, 20)
    other[0, 12] = 50
    with torch.no_grad():
        first, second = model.lm(ids).logits, model.lm(other).logits
        encoder = BertModel.from_pretrained(run / "encoder").eval()
        both = [encoder(x).last_hidden_state[0, 0] for x in (ids, other)]
    assert torch.equal(first[:, :12], second[:, :12])
    assert (first[:, 12:] - second[:, 12:]).abs().amax(-1).min() > 1e-3
    assert (both[0] - both[1]).abs().max() > 1e-2  # as an encoder it saw what comes after


def test_padding_and_the_batch_change_nothing(model):
    queries = ["red", "women's blue wool coat, beach day"]
    both = model.sample(queries, seeds=[5, 6], group_size=3)
    assert both.prompt_mask[0].tolist() == [0] * (both.prompt_mask.shape[1] - 3) + [1] * 3
    found = model.log_probs(both, temperature=0.8)
    for row, query in enumerate(queries):
        alone = model.sample([query], seeds=[5 + row], group_size=3)
        rows = slice(3 * row, 3 * row + 3)
        assert alone.texts == both.texts[rows]
        mask = alone.completion_mask.bool()
        expected = model.log_probs(alone, temperature=0.8)
        assert torch.allclose(found[rows][:, : mask.shape[1]][mask], expected[mask], atol=1e-5)


def test_log_probs_are_those_of_a_loop_over_tokens_without_a_cache(model):
    fanouts = model.sample(["red coat", "women's beach day"], seeds=[1, 2], group_size=2)
    found = model.log_probs(fanouts, temperature=0.8)
    for row in range(4):
        prompt = fanouts.prompt_ids[row][fanouts.prompt_mask[row].bool()]
        tokens = fanouts.completion_ids[row]
        for position in range(int(fanouts.completion_mask[row].sum())):
            seen = torch.cat([prompt, tokens[:position]])[None]
            with torch.no_grad():
                logits = model.lm(input_ids=seen, use_cache=False).logits[0, -1] / 0.8
            expected = logits.log_softmax(-1)[tokens[position]]
            assert found[row, position].item() == pytest.approx(expected.item(), abs=1e-4)


def test_texts_read_back(model):
    tokenizer = model.tokenizer
    ids, _ = model.prompt_tokens(["red coat"])
    assert tokenizer.convert_ids_to_tokens(ids[0])[0] == "[CLS]"
    assert tokenizer.convert_ids_to_tokens(ids[0])[-1] == "\n"  # no [SEP], which ends completions
    taught = model.teach(["Beach day"], [["Women's t-shirt", "coat, 3.5 oz", "(slim) silk: red"]])
    assert taught.subqueries == [
        ["Beach day Women's t-shirt", "Beach day coat, 3.5 oz", "Beach day (slim) silk: red"]
    ]
    kept = taught.completion_ids[0][taught.completion_mask[0].bool()]
    assert tokenizer.convert_ids_to_tokens(kept)[-1] == "[SEP]"
    text = tokenizer.decode(kept, skip_special_tokens=True)
    assert text == "women's t-shirt\ncoat, 3.5 oz\n(slim) silk: red\n"
    assert model.form.complete(text)


def test_by_default_it_writes_only_the_tokens_of_the_catalog(run, model):
    lm, tokenizer = EncoderAsDecoder("encoder").build(["red coat", "wool"], run)
    words = {token for token in tokenizer.get_vocab() if len(token.removeprefix("##")) > 1}
    old = set(model.tokenizer.get_vocab())
    needed = {*model.tokenizer.tokenize("red coat wool"), *SPECIAL}
    assert words == {token for token in needed if len(token.removeprefix("##")) > 1}
    assert len(tokenizer) < len(old)
    table, whole = (m.get_input_embeddings().weight for m in (lm, model.lm))
    assert len(table) == len(tokenizer)
    for token, number in tokenizer.get_vocab().items():
        if token != "\n":
            assert torch.equal(table[number], whole[model.tokenizer.convert_tokens_to_ids(token)])
    small = FanoutModel(lm, tokenizer, Expand(set_size=2), max_new_tokens=12)
    # A word of no item is spelled, and reads back.
    taught = small.teach(["green"], [["blue", "red"]])
    assert tokenizer.decode(taught.completion_ids[0], skip_special_tokens=True) == "blue\nred\n"
    ids, _ = small.prompt_tokens(["green"])
    assert tokenizer.convert_ids_to_tokens(ids[0]) == [
        "[CLS]", "g", "##r", "##e", "##e", "##n", "\n"
    ]  # fmt: skip


def test_saved_it_stays_a_decoder(run, model, tmp_path):
    model.save(tmp_path / "model")
    assert AutoConfig.from_pretrained(tmp_path / "model").is_decoder
    lm, tokenizer = Pretrained("model").build([], tmp_path)
    loaded = FanoutModel(lm.eval(), tokenizer, Expand(set_size=3), 12)
    fanouts = model.sample(["red coat"], seeds=[3], group_size=4)
    again = loaded.sample(["red coat"], seeds=[3], group_size=4)
    assert again.texts == fanouts.texts
    assert torch.equal(again.completion_ids, fanouts.completion_ids)
    assert torch.equal(loaded.log_probs(again, 0.9), model.log_probs(fanouts, 0.9))


def test_a_model_that_is_not_a_bert_is_refused(tmp_path, run):
    with pytest.raises(
        InputError, match="folder with config.json.*'no/such', which could not be loaded"
    ):
        EncoderAsDecoder("no/such").build([], tmp_path)
    EncoderAsDecoder("encoder").build([], run)[1].save_pretrained(tmp_path)
    RobertaConfig().save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match="of type bert.*found roberta at '.*'. Load a causal model with Pretrained"
    ):
        EncoderAsDecoder(str(tmp_path)).build([], tmp_path)
