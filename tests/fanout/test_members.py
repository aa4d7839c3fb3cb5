"""Which tokens wrote which member: spans of entries by hand, and tokenizers whose pieces are known."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from r4t.fanout.few_shot import FewShot
from r4t.fanout.formats import Full, JsonList, Lines
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel, Fanouts


def written(list_format, completion):
    """The characters of each entry's span; None for an entry without one."""
    spans = list_format.spans(completion)
    assert len(spans) == len(list_format.read(completion))
    return [span and completion[slice(*span)] for span in spans]


@pytest.mark.parametrize(
    "text, spans",
    [
        ("linen shirt\nhat\n", [(0, 11), (12, 15)]),
        ("\n  hat \t\n\nstraw hat\nhat", [(3, 6), (10, 19), (20, 23)]),
        ("ha</think>t\nhat", [(0, 11), (12, 15)]),  # a line format knows no thoughts
        ("hat\r\nhat\x0bhat", [(0, 3), (5, 8), (9, 12)]),  # whatever ends a line
        (" \n", []),
    ],
)
def test_spans_of_lines(text, spans):
    assert Lines().spans(text) == spans
    assert written(Lines(), text) == Lines().read(text)


@pytest.mark.parametrize(
    "text, entries",
    [
        ('<queries>["linen shirt", "hat"]</queries>', ["linen shirt", "hat"]),
        # Escaped, or in other white space: read, but not so written.
        (r'<queries>["caf\u00e9", "5\" heel", "hat"]</queries>', [None, None, "hat"]),
        ('<queries>["linen\t shirt", "a  b", "hat"]</queries>', [None, None, "hat"]),
        # An entry is not part of a key or of another entry.
        ('<queries>[{"query": "er"}, {"query": "hat"}]</queries>', ["er", "hat"]),
        (r'<queries>["h\u0061t", "hats", "straw hat"]</queries>', [None, "hats", "straw hat"]),
        # Cut off: half an entry is not read.
        ('<queries>["linen shirt", "ha', ["linen shirt"]),
        ("<queries>\n1. linen shirt\n2. hat\n</que", ["linen shirt", "hat"]),
        ("no list", []),
    ],
)
def test_what_the_spans_of_a_json_list_hold(text, entries):
    assert written(JsonList(), text) == entries


@pytest.mark.parametrize(
    "before, after",
    [
        ("<think>hat or belt?</think>", ""),
        ("a hat?</think>", ""),  # the chat template began the thought
        ("Say, a hat and a belt: ", " The hat goes well."),
        ('<think>a</think> <queries>[]</queries> hat ', "<think>hat</think>"),
        ("", ' or <queries>["hat"]</queries>'),
    ],
)  # fmt: skip
def test_thoughts_and_drafts_are_not_where_an_entry_stands(before, after):
    text = f'{before}<queries>["hat", "belt"]</queries>{after}'
    start = len(before) + len('<queries>["')
    assert JsonList().spans(text) == [(start, start + 3), (start + 7, start + 11)]


def test_a_thought_within_a_list_is_part_of_the_entry_around_it():
    text = '<queries>["straw<think>?</think> hat", "belt"]</queries>'
    assert written(JsonList(), text) == ["straw<think>?</think> hat", "belt"]


@pytest.fixture(scope="module")
def lm():
    """A language model that never runs."""
    return TinyQwen3(width=32, layers=1, vocabulary=400).build(["red linen shirt"], None)[0]


def wrap(tokenizer):
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")


def owners(lm, tokenizer, form, ids, opening=""):
    """The member of each token that the model wrote, −2 for padding."""
    if opening:
        tokenizer.chat_template = "{{ messages[0].content }}" + opening
    model = FanoutModel(lm, tokenizer, form, 100)
    eos = tokenizer.eos_token_id
    completion = torch.tensor([ids, [eos] + [tokenizer.pad_token_id] * (len(ids) - 1)])
    prompt = torch.zeros(2, 1, dtype=torch.long)
    fanouts: Fanouts = model._fanouts(prompt, prompt + 1, completion, ["", ""])
    found = model.members(fanouts)
    assert found.shape == completion.shape
    assert (found[1] == -1).all()  # nothing was written
    return found[0].where(fanouts.completion_mask[0] > 0, -2).tolist()


def of_pieces(lm, form, pieces, opening=""):
    """Owners of tokens that are the given pieces of text, and read back as they are."""
    words = list(dict.fromkeys(["<end>", "<pad>", *pieces]))
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, words[0]))
    tokenizer.decoder = decoders.Fuse()
    ids = [words.index(piece) for piece in pieces]
    return owners(lm, wrap(tokenizer), form, ids, opening)


def test_lines_of_several_tokens(lm):
    pieces = ["lin", "en", " shirt", "\n", " ", "straw", " ", "hat", "\n", "belt", "<end>"]
    # The space before the entry is format, the one within it is the entry's.
    expected = [0, 0, 0, -1, -1, 1, 1, 1, -1, 2, -1]
    assert of_pieces(lm, Full(Lines(), 3), pieces) == expected
    # Of two members only, the third line is not one; the list is complete before it.
    assert of_pieces(lm, Full(Lines(), 2), pieces) == [*expected[:9], -1, -2]


def test_a_token_of_several_entries_belongs_to_the_one_with_most_of_it(lm):
    # "t\nbe" has one character of the first and two of the second; "t\nc" one of each.
    pieces = ["ha", "t\nbe", "lt\n"]
    assert of_pieces(lm, Full(Lines(), 2), pieces) == [0, 1, 1]
    assert of_pieces(lm, Full(Lines(), 2), ["ha", "t\nc", "ap\n"]) == [0, 0, 1]


def test_json_with_a_thought_and_an_entry_that_is_escaped(lm):
    pieces = ["<think>", "a hat", "</think>", '<queries>["', "straw", ' hat", "', "caf", "\\u00e9"]
    pieces += ['", "', "be", 'lt"', "]</queries>"]
    assert of_pieces(lm, Full(JsonList(), 5), pieces) == [-1] * 4 + [0, 0, -1, -1, -1, 2, 2, -1]


def test_a_list_that_is_cut_off(lm):
    pieces = ['<queries>["', "hat", '", "', "be"]
    assert of_pieces(lm, Full(JsonList(), 5), pieces) == [-1, 0, -1, -1]
    assert of_pieces(lm, Full(JsonList(), 5), ["<que", "ries>"]) == [-1, -1]


def test_a_thought_that_the_chat_template_begins(lm):
    pieces = ["hat", "</think>", '<queries>["', "hat", '"]</queries>']
    expected = [-1, -1, -1, 0, -1]
    assert of_pieces(lm, Full(JsonList(), 5), pieces, opening="<think>") == expected


def of_bytes(lm, form, text, end=False):
    """Owners of the tokens of a text, one for each byte of its UTF-8."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = wrap(tokenizer)
    ids = wrapped(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.encode())
    return owners(lm, wrapped, form, ids + [wrapped.eos_token_id] * end)


def test_characters_of_several_tokens(lm):
    # é takes two bytes, ☃ three and 👒 four; all of them wrote the character.
    assert of_bytes(lm, Full(Lines(), 3), "é\n☃ 👒\nhat\n") == (
        [0] * 2 + [-1] + [1] * 3 + [1] + [1] * 4 + [-1] + [2] * 3 + [-1]
    )
    # The end token after an entry wrote nothing of it.
    assert of_bytes(lm, Full(Lines(), 3), "a\né", end=True) == [0, -1, 1, 1, -1]
    assert of_bytes(lm, Full(Lines(), 3), "é\nhat", end=True) == [0, 0, -1, 1, 1, 1, -1]
    text = '<queries>["é", "👒"]</queries>'
    start, tail = len('<queries>["'), len('"]</queries>')
    expected = [-1] * start + [0] * 2 + [-1] * 4 + [1] * 4 + [-1] * tail
    assert of_bytes(lm, Full(JsonList(), 3), text) == expected


def test_a_character_that_is_cut_off_belongs_to_its_entry(lm):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    assert of_bytes(lm, Full(Lines(), 3), "hat\nca") == [0, 0, 0, -1, 1, 1]
    tokenizer = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = wrap(tokenizer)
    ids = wrapped("hat\n👒", add_special_tokens=False)["input_ids"][:-1]  # its last byte is missing
    assert owners(lm, wrapped, Full(Lines(), 3), ids) == [0, 0, 0, -1, 1, 1, 1]


def test_a_decoder_that_writes_the_spaces_itself(lm):
    """WordPiece joins words by spaces and drops those before a comma."""
    words = ["<end>", "<pad>", "[UNK]", "<queries>", "</queries>", '["', '"]', '",', '"', "straw"]
    words += ["ha", "##t", "belt"]
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}))
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    pieces = ["<queries>", '["', "straw", "ha", "##t", '",', '"', "belt", '"]', "</queries>"]
    ids = [words.index(piece) for piece in pieces]
    found = owners(lm, wrap(tokenizer), Full(JsonList(), 3), ids)
    assert found == [-1, -1, 0, 0, 0, -1, -1, 1, -1, -1]


@pytest.mark.parametrize(
    "lists, text, pieces",
    [
        # What is written with each member, and what ends a list of two of three.
        (
            Lines(),
            "hat\nbelt\n<eos>",
            ["hat", "belt", "<eos>"],
        ),  # each entry ends with a line break
        (Lines(), "hat\nbelt\nshoe\n", ["hat", "belt", "shoe"]),
        (Lines(), "hat\nbelt", ["hat", "belt", ""]),  # cut off: nobody chose to end it
        (Lines(), "<eos>", ["", "", ""]),  # no member
        (FewShot(), " hat; belt\n", ["hat", "; belt", "\n"]),
        (FewShot(), " hat; belt<eos>", ["hat", "; belt", "<eos>"]),
        (FewShot(), " hat; belt; shoe;", ["hat", "; belt", "; shoe"]),
        (JsonList(), '<queries>["hat", "belt"]</queries>', ["hat", '", "belt', '"]</queries>']),
    ],
)
def test_the_tokens_that_decide_on_a_member(lists, text, pieces):
    lm, tokenizer = TinyQwen3(32, 1, 300).build(["hat belt shoe"] * 3, None)
    model = FanoutModel(lm, tokenizer, Full(lists, 3), 60)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    texts = [tokenizer.decode(ids[0], skip_special_tokens=True)]
    prompt, mask = model.prompt_tokens(["q"])
    parsed = [model.form.parse("q", each) for each in texts]
    fanouts = Fanouts(prompt, mask, ids, torch.ones_like(ids), texts, parsed)
    owners = model.deciders(fanouts)[0]
    for member, piece in enumerate(pieces):
        written = "".join(tokenizer.decode([token]) for token in ids[0][owners == member])
        assert written.replace(" ", "") == piece.replace(" ", "")
