import random

import pytest

from r4t.data.queries import Query
from r4t.errors import InputError
from r4t.fanout.formats import Full
from r4t.fanout.teachers import NearbyWords, ReferenceItems, ReferenceWords, span, words

QUERIES = [
    Query("q1", "red linen", "set", ("i3", "i57")),  # red linen coat … by the order of the fixture
    Query("q2", "blue wool", "set", ("i9",)),
]


@pytest.fixture
def searcher(small_run):
    return small_run.searcher()


def write(teacher, searcher, size=6, seed=0, queries=QUERIES):
    vectors = searcher.encode_queries([query.text for query in queries])
    return teacher.additions(searcher, queries, vectors, size, seed)


def in_a_row(addition, text):
    """Whether the words of ``addition`` stand next to each other in ``text``."""
    return f" {addition} " in f" {' '.join(words(text))} "


def without(text, query):
    """``text`` without the query's words."""
    taken = words(query)
    return " ".join(word for word in words(text) if word not in taken)


def test_nearby_words_come_from_the_nearest_items(searcher):
    written = write(NearbyWords(near=4, words=2), searcher, size=30)
    for query, additions in zip(QUERIES, written):
        assert len(additions) == 30
        _, rows = searcher.index.search(searcher.encode([query.text]), 4)
        near = [searcher.catalog.texts[row] for row in rows[0].tolist()]
        left = [without(text, query.text) or text for text in near]
        assert all(any(in_a_row(words, text) for text in left) for words in additions)
        assert {len(added.split()) for added in additions} <= {1, 2}
        # All four items have been drawn: something of each is among the additions.
        assert all(any(in_a_row(words, text) for words in additions) for text in left)


def test_nearby_words_of_one_item_repeat_it(searcher):
    # The nearest item of an item's own text is that item; "coat" is all that it adds.
    query = Query("q", "green silk", "mood")
    _, rows = searcher.index.search(searcher.encode(["green silk"]), 1)
    text = searcher.catalog.texts[rows.item()]
    (additions,) = write(NearbyWords(near=1, words=1), searcher, 5, queries=[query])
    left = without(text, query.text).split()
    assert set(additions) <= set(left)
    # Asked for more items than exist: the whole catalog is near.
    assert len(write(NearbyWords(near=10_000), searcher, 3)[0]) == 3


@pytest.mark.parametrize("teacher", [NearbyWords(), ReferenceWords()])
def test_draws_depend_on_query_and_seed_alone(searcher, teacher):
    both = write(teacher, searcher, size=8)
    assert write(teacher, searcher, size=8) == both
    assert write(teacher, searcher, size=8, queries=QUERIES[1:]) == both[1:]
    assert write(teacher, searcher, size=8, seed=1) != both


def test_every_reference_item_gets_its_turn(searcher):
    texts = searcher.catalog.texts
    written = write(ReferenceWords(words=2), searcher, size=6)
    for query, additions in zip(QUERIES, written):
        left = [without(texts[row], query.text) for row in searcher.catalog.rows(query.references)]
        fits = [[in_a_row(added, text) for added in additions] for text in left]
        # In turns: each of n items gives at least ⌊6/n⌋ of the additions.
        assert all(sum(fit) >= 6 // len(left) for fit in fits)
        assert all(map(any, zip(*fits)))
    # A set with more items than additions gives as many different items as fit.
    wide = Query("q", "yellow", "set", tuple(f"i{row}" for row in range(0, 200, 7)))
    ((one, two),) = write(ReferenceWords(words=3), searcher, 2, queries=[wide])
    assert one != two


def test_reference_items_are_whole_texts_none_twice(searcher):
    texts = searcher.catalog.texts
    for size in (1, 2, 40):
        written = write(ReferenceItems(), searcher, size)
        for query, items in zip(QUERIES, written):
            known = [texts[row] for row in searcher.catalog.rows(query.references)]
            assert len(items) == len(set(items)) == min(size, len(known))
            assert set(items) <= set(known)
    wide = Query("q", "yellow", "set", tuple(f"i{row}" for row in range(0, 200, 20)))
    orders = {tuple(write(ReferenceItems(), searcher, 10, seed, [wide])[0]) for seed in range(5)}
    assert len(orders) == 5


def test_whole_additions_are_written_as_they_are():
    assert Full().completion("beach", ["linen hat"], whole=True) == "linen hat\n"
    assert Full().completion("beach", ["linen hat"]) == "beach linen hat\n"
    assert ReferenceItems().whole
    assert not ReferenceWords().whole


def test_reference_teachers_need_references(searcher):
    bare = Query("q9", "red linen", "mood")
    with pytest.raises(InputError, match="found none for query 'q9'. Use NearbyWords"):
        write(ReferenceWords(), searcher, queries=[*QUERIES, bare])
    with pytest.raises(InputError, match="found none for query 'q9'. Use NearbyWords"):
        write(ReferenceItems(), searcher, queries=[*QUERIES, bare])


def test_spans_leave_out_stop_words_and_the_query():
    draws = {span("A coat of Red wool with silk", "red", 3, random.Random(n)) for n in range(200)}
    # Free words: coat, wool, silk; every run of one to three of them, and nothing else.
    assert draws == {"coat", "wool", "silk", "coat wool", "wool silk", "coat wool silk"}


def test_a_text_that_adds_nothing_is_used_whole():
    draws = {span("Red wool", "wool red", 1, random.Random(n)) for n in range(50)}
    assert draws == {"red", "wool"}
    assert span("!!!", "red", 2, random.Random(0)) == "!!!"
