"""What models really write → entries: by hand, and round trips through each decoration."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r4t.fanout.formats import Full, JsonList
from r4t.fanout.reading import list_ends, outside_thoughts, read_entries, without_tags

read = JsonList().read
write = JsonList().write
FEW = settings(max_examples=40)


def inside(block):
    return f"<queries>{block}</queries>"


@pytest.mark.parametrize(
    "block, entries",
    [
        ('["a b", "c"]', ["a b", "c"]),
        ('["a", "c"] Good luck with ["b"]!', ["a", "c"]),
        ('Sure, here is [the list]: ["a", "c"]', ["a", "c"]),
        # Commas and quotes.
        ('["a", "c",]', ["a", "c"]),
        ('["a",, "c"; "d"]', ["a", "c", "d"]),
        ('["a" "c"\n"d"]', ["a", "c", "d"]),
        ("['women's shoes', 'hat']", ["women's shoes", "hat"]),
        ('["5" heels", "hat"]', ['5" heels', "hat"]),
        ("[“linen shirt”, ‘women’s hat’, «cap»]", ["linen shirt", "women’s hat", "cap"]),
        ("[u'a', b'c']", ["a", "c"]),
        ('["linen,\n"hat"]', ["linen", "hat"]),
        ('["a", "c]', ["a", "c"]),
        ("[linen shirt, women's hat, 7, null]", ["linen shirt", "women's hat"]),
        # What is no text.
        ('["a", 3, " ", "", 1e5, true, null, ...]', ["a"]),
        ('["a", // casual\n"c" # other\n]', ["a", "c"]),
        ("[]", []),
        ("...", []),
        # Numbers and bullets.
        ('[1. "a", 2. "c"]', ["a", "c"]),
        ('["1. a", "2) c"]', ["a", "c"]),
        ('["- a", "- c"]', ["a", "c"]),
        ('["1. a", "c"]', ["1. a", "c"]),  # no numbering: it does not go on
        ('["7. a", "8. c"]', ["7. a", "8. c"]),
        ("1. linen shirt\n2) hat\n(3) cap\n[4] belt", ["linen shirt", "hat", "cap", "belt"]),
        ('Here they are:\n- "a"\n* **c**,\n• d\nEnjoy.', ["a", "c", "d"]),
        ("[\n- linen shirt\n- hat\n]", ["linen shirt", "hat"]),
        ("1.5 inch heel", ["1.5 inch heel"]),
        # No brackets.
        ("a, c", ["a", "c"]),
        ("a\nc, d\n", ["a", "c, d"]),
        ('"a", "c"', ["a", "c"]),
        ("<query>a</query>\n<query>c</query>", ["a", "c"]),
        # Fences.
        ('```json\n["a", "c"]\n```', ["a", "c"]),
        ("```\na\nc\n```", ["a", "c"]),
        # Objects and nested lists.
        ('[{"query": "a"}, {"query": "c"}]', ["a", "c"]),
        ('[{"reason": "r", "query": "a"}, {"why": "c"}]', ["a", "c"]),
        ('{"queries": ["a", "c"], "note": "n"}', ["a", "c"]),
        ('{"note": "n", "list": ["a", "c"]}', ["a", "c"]),
        ('{"1": "a", "2": "c"}', ["a", "c"]),
        ('{"query1": "a", "query2": "c"}', ["a", "c"]),
        ('{query: "a"}\n{query: "c"}', ["a", "c"]),
        ('["query": "a", "query": "c"]', ["a", "c"]),
        ('[["a"], ["c", ["d"]]]', ["a", "c", "d"]),
        # Escapes, white space, repeats.
        (r'["caf\u00e9\n au  lait", "\ud83d\ude00"]', ["café au lait", "😀"]),
        (r'["half \ud83d"]', ["half \ufffd"]),  # a lone surrogate could not be encoded
        ('["a", "a", "A"]', ["a", "a", "A"]),
    ],
)
def test_a_list_by_hand(block, entries):
    assert read_entries(inside(block)) == entries


@pytest.mark.parametrize(
    "completion, entries",
    [
        ('<queries>["a", "c"]', ["a", "c"]),
        ('<queries>["a", "c"', ["a", "c"]),
        ('<queries>["a", "c', ["a"]),  # the last one is cut off
        ('<queries>["a", "c</queries>', ["a", "c"]),  # there the quote was forgotten
        ('<queries>["a", "c"]</quer', ["a", "c"]),
        ('<queries>["a", "c"</', ["a", "c"]),
        ('<queries>[{"query": "a"}, {"query": "c', ["a"]),
        ("<queries>[linen, ha", ["linen"]),
        ('<queries>["a', []),
        ("<queries>1. a\n2. c", ["a", "c"]),  # nothing tells that this is cut off
        ("<queries>", []),
        ("", []),
    ],
)
def test_a_completion_that_was_cut_off(completion, entries):
    assert read_entries(completion) == entries


@pytest.mark.parametrize(
    "completion, entries",
    [
        ('["a"]', []),  # without the tag it may be anything
        ('Inside <queries>...</queries>: <queries>["a"]</queries>', ["a"]),
        ('<queries>["a"]\n<queries>["b"]</queries>', ["a"]),
        ('< Queries >["a"]< / QUERIES >', ["a"]),
        ('<think>["no"] <queries>["no"]</queries></think><queries>["a"]</queries>', ["a"]),
        ('<queries>["no"]</queries></think><queries>["a"]</queries>', ["a"]),
        ('<think>never ends <queries>["no"]</queries>', []),
        ('<THINK>no</Think><think>no</think><queries>["a"]</queries>', ["a"]),
    ],
)
def test_only_the_answer_is_read(completion, entries):
    assert read_entries(completion) == entries


def test_the_end_is_the_closing_tag_outside_of_a_thought():
    assert list_ends('<queries>["a"]</queries>')
    assert list_ends("<think>a</think> <queries>[</queries> and more")
    assert not list_ends("<think>I shall write <queries>[]</queries>")
    assert not list_ends('<queries>["a"]</queries')
    assert outside_thoughts("a<think>b</think>c<think>d") == "ac"


# Any text as an entry comes out of reading: white space single, nothing that cannot be encoded.
CLEAN = st.text().map(lambda text: " ".join(text.split())).filter(bool)


def numbered(entries):
    """Whether all entries begin with a number or a bullet, which then is taken for one."""
    return len(entries) > 1 and read(write(entries)) != entries


TEXTS = st.lists(CLEAN, min_size=1, max_size=12).filter(lambda entries: not numbered(entries))
WORDS = st.lists(
    st.from_regex(r"[a-zé]{2,8}('[a-z])?( [a-z]{1,6}('s)?| [0-9]{1,2})?", fullmatch=True).filter(
        lambda text: text.split()[0] not in ("null", "none", "true", "false", "nan", "undefined")
    ),
    min_size=1,
    max_size=12,
)


@given(st.lists(CLEAN, max_size=12))
def test_what_is_filtered_above_is_numbering_and_no_more(entries):
    found = read(write(entries))
    assert len(found) == len(entries)
    assert all(entry.endswith(part) for entry, part in zip(entries, found))


@pytest.mark.parametrize(
    "decorated",
    [
        pytest.param(write, id="written here"),
        pytest.param(lambda e: inside(without_tags(json.dumps(e))), id="ascii"),
        pytest.param(lambda e: inside(without_tags(json.dumps(e, indent=2))), id="indented"),
        pytest.param(
            lambda e: inside(f"```json\n{without_tags(json.dumps(e))}\n```"), id="in a fence"
        ),
        pytest.param(
            lambda e: inside(without_tags(json.dumps(e))[:-1] + ",\n]"), id="trailing comma"
        ),
        pytest.param(lambda e: f"Sure!\n{write(e)}\nAnything else?", id="prose around"),
        pytest.param(
            lambda e: f'<think>["no"] <queries>["no"]</queries></think>{write(e)}', id="a thought"
        ),
        pytest.param(lambda e: write(e).removesuffix("</queries>"), id="no closing tag"),
        pytest.param(lambda e: write(e).removesuffix("]</queries>"), id="no closing bracket"),
        pytest.param(lambda e: write(e).replace("]</queries>", "</queries>"), id="bracket open"),
        pytest.param(lambda e: write(e)[:-4], id="half a closing tag"),
        pytest.param(
            lambda e: inside(without_tags(json.dumps([{"query": text} for text in e]))),
            id="objects",
        ),
        pytest.param(
            lambda e: inside(without_tags(json.dumps({"queries": e, "note": "n"}))), id="an object"
        ),
        pytest.param(
            lambda e: inside(f"[{' '.join(without_tags(json.dumps(text)) for text in e)}]"),
            id="no commas",
        ),
    ],
)
@FEW
@given(TEXTS)
def test_any_texts_survive(decorated, entries):
    assert read(decorated(entries)) == entries


@pytest.mark.parametrize(
    "decorated",
    [
        pytest.param(repr, id="Python"),
        pytest.param(lambda e: "[" + ", ".join(f"“{text}”" for text in e) + "]", id="smart quotes"),
        pytest.param(lambda e: "[" + ", ".join(f"'{text}'" for text in e) + "]", id="single"),
        pytest.param(
            lambda e: "".join(f"{n}. {text}\n" for n, text in enumerate(e, 1)), id="numbered"
        ),
        pytest.param(lambda e: "".join(f'{n}) "{t}"\n' for n, t in enumerate(e, 1)), id="quoted"),
        pytest.param(lambda e: "".join(f"- {text}\n" for text in e), id="bullets"),
        pytest.param(lambda e: "[" + ", ".join(e) + "]", id="no quotes"),
        pytest.param(lambda e: "\n".join(e), id="lines"),
        pytest.param(lambda e: "".join(f"<query>{text}</query>" for text in e), id="elements"),
        pytest.param(lambda e: "```\n" + "\n".join(f"* {t}," for t in e) + "\n```", id="fenced"),
    ],
)
@FEW
@given(WORDS)
def test_words_survive(decorated, entries):
    assert read(inside(decorated(entries))) == entries


@FEW
@given(WORDS.filter(lambda entries: len(entries) > 1))
def test_numbers_within_texts_are_taken_off(entries):
    assert read(write([f"{n}. {text}" for n, text in enumerate(entries, 1)])) == entries


PIECES = [*"[]{}\"'`“”,:;\\-.\n #<>/1", "```json", "<queries>", "</queries>", "<think>"]
PIECES += ["</think>", '"linen shirt"', "hat", '"query"', "null", "\\u", "\\ud83d", "//", "]\n["]
MESS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


@given(MESS, st.integers(1, 4), st.booleans())
def test_no_completion_breaks_reading(mess, size, tagged):
    completion = f"<queries>{mess}" if tagged else mess
    entries = read(completion)
    for entry in entries:
        assert entry
        assert entry == " ".join(entry.split())
        entry.encode("utf-8")
    assert read(write(entries)) == entries  # once read, nothing is left to clean
    assert Full(JsonList(), size).parse("q", completion) == entries[:size]


@given(WORDS, st.data())
def test_what_was_complete_survives_any_cut(entries, data):
    text = write(entries)
    cut = data.draw(st.integers(0, len(text)))
    found = read(text[:cut])
    assert found == entries[: len(found)]
    # An entry is complete once its closing quote is there.
    closed = text[:cut].removeprefix("<queries>").count('"') // 2
    assert len(found) == (closed if cut >= len("<queries>") else 0)


def test_long_nonsense_is_read_in_time():
    for piece in ("[", '"', '["', "<think>", "<queries>", "{a:", "'\\", "< ", " \t", "1. "):
        read_entries("<queries>" + piece * 20_000)
