import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, product

import pytest

from r4t.data.queries import SPLITS
from r4t.data.source import ReferenceSet
from r4t.data.wardrobe import OPEN_QUERIES, Truth, generate
from r4t.data.wardrobe.queries import KINDS
from r4t.data.wardrobe.vocabulary import (
    CATEGORIES,
    FACETS,
    FAMILIES,
    FAMILY_OF,
    MATERIAL_SEASONS,
    OCCASIONS,
    SHARED_DETAILS,
    SLOTS,
    STYLES,
    facet_words,
    style_details,
)
from r4t.errors import InputError

STOP_WORDS = {"for", "in", "and"}


@pytest.fixture(scope="module")
def wardrobe():
    return generate(seed=3)


@pytest.fixture(scope="module")
def small():
    return generate(seed=3, size=2000)


def words(text):
    return re.findall(r"\w+", text.lower())


def facet_pairs(wardrobe, queries):
    """Every pair of facet values that some query names together."""
    facets = (wardrobe.truth.queries[query.id] for query in queries)
    return {frozenset(pair) for f in facets for pair in combinations(f.items(), 2)}


class TestVocabulary:
    def test_sizes(self):
        assert (len(STYLES), len(OCCASIONS), len(FAMILIES)) == (16, 12, 6)
        assert (len(CATEGORIES), len(SLOTS)) == (32, 8)
        assert Counter(c.slot for c in CATEGORIES.values()) == dict.fromkeys(SLOTS, 4)

    def test_every_style_has_ten_details_of_which_it_shares_five(self):
        shared = Counter(style for pair in SHARED_DETAILS.values() for style in pair)
        assert shared == dict.fromkeys(STYLES, 5)
        assert {len(set(style_details(style))) for style in STYLES} == {10}

    def test_no_word_has_two_meanings(self):
        uses = [words(word) for f, vs in FACETS.items() for v in vs for word in facet_words(f, v)]
        uses += [[w] for style in STYLES.values() for w in style.details]
        uses += [[w.lower()] for style in STYLES.values() for w in style.brands]
        uses += [[w] for w in SHARED_DETAILS]
        uses += [[w] for w in {c for o in OCCASIONS.values() for c in o.cues}]
        uses += [[w] for c in CATEGORIES.values() for w in c.nouns]
        uses += [[w] for w in (*FAMILY_OF, *MATERIAL_SEASONS)]
        assert {len(use) for use in uses} == {1}
        assert [w for w, n in Counter(use[0] for use in uses).items() if n > 1] == []

    def test_tables_name_only_what_exists(self):
        for style in STYLES.values():
            assert set(style.categories) <= set(CATEGORIES)
            assert set(style.materials) <= set(MATERIAL_SEASONS)
            assert set(style.families) <= set(FAMILIES)
        for category in CATEGORIES.values():
            assert set(category.materials) <= set(MATERIAL_SEASONS)
        for occasion in OCCASIONS.values():
            assert set(occasion.categories) <= set(CATEGORIES)


class TestItems:
    def test_size_and_public_columns(self, wardrobe):
        assert len(wardrobe.items) == 6000
        assert set(wardrobe.items.metadata) == {"category", "color", "material", "price", "brand"}

    def test_facet_words_are_rare_in_titles_of_fitting_items(self, wardrobe):
        truth = wardrobe.truth.items
        for facet, low, high in (("style", 0.12, 0.21), ("occasion", 0.12, 0.21)):
            named = sum(
                any(w in words(text) for v in truth[item][facet] for w in facet_words(facet, v))
                for item, text in zip(wardrobe.items.ids, wardrobe.items.texts)
            )
            assert low < named / 6000 < high

    def test_near_duplicates(self, wardrobe):
        """Items of one design share all but color, size, season and filler words: 1 to 10 each."""
        columns = ("category", "material", "price", "brand")
        rows = zip(*(wardrobe.items.metadata[name] for name in columns))
        sizes = Counter(rows).values()
        assert 1500 < len(sizes) < 1900
        assert max(sizes) == 10
        shares = Counter(sizes)
        assert shares[1] > shares[2] > shares[4] > shares[8]

    def test_title_shows_category_material_and_color(self, wardrobe):
        columns = wardrobe.items.metadata
        for text, category, material, color in zip(
            wardrobe.items.texts, columns["category"], columns["material"], columns["color"]
        ):
            said = words(text)
            assert set(CATEGORIES[category].nouns) & set(said)
            assert material in said
            assert color in said


class TestOutfits:
    def test_complementary_and_mostly_of_one_kind(self, wardrobe):
        truth, queries = wardrobe.truth.items, wardrobe.truth.queries
        agree = Counter()
        for outfit in wardrobe.outfits:
            facets = queries[outfit.id]
            slots = [truth[item]["slot"][0] for item in outfit.items]
            assert 4 <= len(slots) <= 6
            assert len(set(slots)) == len(slots)
            assert not {"onepiece", "top"} <= set(slots)
            assert all(facets["occasion"] in truth[item]["occasion"] for item in outfit.items)
            for item in outfit.items:
                agree["style"] += facets["style"] in truth[item]["style"]
                agree["all"] += 1
        assert 0.93 < agree["style"] / agree["all"] < 0.99
        assert len(wardrobe.outfits) == 2400
        assert len({frozenset(outfit.items) for outfit in wardrobe.outfits}) == 2400


@pytest.mark.parametrize("task", ["oar", "wscr"])
class TestQueries:
    def test_training_holds_no_tested_combination_even_within_a_larger_one(
        self, wardrobe, small, task
    ):
        for benchmark in (wardrobe, small):
            splits, facets = getattr(benchmark, task), benchmark.truth.queries
            for one, others in (("test", ("train", "val")), ("val", ("train", "test"))):
                held = {frozenset(facets[query.id].items()) for query in splits[one]}
                other = {
                    frozenset(facets[query.id].items()) for name in others for query in splits[name]
                }
                train = {frozenset(facets[query.id].items()) for query in splits["train"]}
                assert not held & other
                assert not any(combination <= seen for combination in held for seen in train)

    def test_each_single_value_occurs_in_training(self, wardrobe, small, task):
        for benchmark in (wardrobe, small):
            splits, facets = getattr(benchmark, task), benchmark.truth.queries
            seen = {value for query in splits["train"] for value in facets[query.id].items()}
            for name in ("val", "test"):
                asked = {value for query in splits[name] for value in facets[query.id].items()}
                assert asked <= seen

    def test_texts_stay_in_one_split(self, wardrobe, task):
        splits = getattr(wardrobe, task)
        texts = [{query.text for query in splits[name]} for name in SPLITS]
        assert not any(a & b for a, b in combinations(texts, 2))

    def test_shares(self, wardrobe, task):
        sizes = [len(getattr(wardrobe, task)[name]) for name in SPLITS]
        total = {"oar": OPEN_QUERIES, "wscr": 2400}[task]
        assert sum(sizes) == pytest.approx(total, rel=0.05)
        assert [size / sum(sizes) for size in sizes] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)

    def test_every_word_is_known_from_titles_and_says_a_facet(self, wardrobe, small, task):
        for benchmark in (wardrobe, small):
            said = {word for text in benchmark.items.texts for word in words(text)}
            for queries in getattr(benchmark, task).values():
                for query in queries:
                    asked = set(words(query.text)) - STOP_WORDS
                    assert asked <= said
                    assert 2 <= len(words(query.text)) <= (6 if task == "oar" else 8)
                    for facet, value in benchmark.truth.queries[query.id].items():
                        assert asked & set(facet_words(facet, value))


def test_open_queries_are_of_eight_kinds(wardrobe):
    kinds = Counter()
    for queries in wardrobe.oar.values():
        for query in queries:
            kinds[query.kind] += 1
            assert set(wardrobe.truth.queries[query.id]) == set(KINDS[query.kind][0])
            assert not query.references
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) > 200


def test_items_of_several_slots_fit_every_open_query(small):
    offered = {}
    for facets in small.truth.items.values():
        for names, _ in KINDS.values():
            for values in product(*(facets[name] for name in names)):
                offered.setdefault(frozenset(zip(names, values)), set()).add(facets["slot"])
    for query in (query for queries in small.oar.values() for query in queries):
        assert len(offered[frozenset(small.truth.queries[query.id].items())]) >= 2


def test_pinned(small):
    """The same in every process and on every machine; a new digest is a new benchmark."""
    parts = (
        small.items.ids, small.items.texts, small.items.metadata, small.truth.items,
        small.truth.queries,
        [[(q.id, q.text, q.references) for q in split] for split in small.oar.values()],
        [[(q.id, q.text, q.references) for q in split] for split in small.wscr.values()],
    )  # fmt: skip
    digests = [hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12] for part in parts]
    assert digests == [
        "7882624d27f8",
        "854df7725ea6",
        "5a0b7cbdfc1e",
        "4924e7be7d6a",
        "d87144706273",
        "8787f49f0645",
        "aad3b2fee33a",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_smallest_size_names_every_facet_value(seed):
    said = {word for text in generate(seed, 2000).items.texts for word in words(text)}
    for facet, values in FACETS.items():
        assert all(said & set(facet_words(facet, value)) for value in values)


def test_seeds_differ(wardrobe, small):
    assert generate(seed=4, size=2000).items.texts != small.items.texts
    assert generate(seed=3, size=2000) == small


def test_too_small():
    with pytest.raises(InputError, match=r"at least 2000 items.*found size 1999\. Ask for more"):
        generate(seed=0, size=1999)


def test_truth_is_written_apart(small, tmp_path):
    path = small.write_truth(tmp_path / "truth")
    held = json.loads(path.read_text())
    assert set(held) == {"items", "queries", "texts", "splits"}
    assert held["items"][small.items.ids[0]]["style"][0] in STYLES
    for task in (small.oar, small.wscr):
        for split, queries in task.items():
            assert all(held["splits"][query.id] == split for query in queries)
            assert all(held["texts"][query.id] == query.text for query in queries)
    assert held["splits"].keys() == held["queries"].keys()


def test_truth_of_outfits_holds_what_their_queries_name(small, tmp_path):
    truth = small.outfit_truth()
    assert truth.items.keys() == {outfit.id for outfit in small.outfits}
    assert truth.queries == small.truth.queries
    for outfit in small.outfits:
        for facet, value in truth.queries[outfit.id].items():
            assert value in truth.items[outfit.id][facet]
    held = json.loads(small.write_truth(tmp_path, outfits=True).read_text())
    assert held["items"].keys() == truth.items.keys()


def test_truth_of_an_outfit_by_hand(small):
    # Of five items, three match b and c, which is more than half, and two match a.
    facets = {f"i{n}": {"style": ("a",) if n < 2 else ("b", "c")} for n in range(5)}
    outfit = ReferenceSet("o", "q", tuple(facets))
    drawn = replace(small, truth=Truth(facets, {}), outfits=[outfit])
    assert drawn.outfit_truth() == Truth({"o": {"style": ("b", "c"), "slot": ("outfit",)}}, {})
