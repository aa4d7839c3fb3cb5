"""r4t.data.phrases: broad queries of the eight kinds from the words of a catalog."""

import pytest

from r4t.data.phrases import (
    CUES,
    KINDS,
    TEMPLATES,
    find_phrases,
    make_queries,
    split_queries,
)
from r4t.data.queries import Query
from r4t.encoder.lsa import terms
from r4t.errors import InputError

CUE_WORDS = "vintage boho gothic hiking party beach summer winter casual office cozy bold new slim"
TEXTS = [
    f"{cue} {color} {thing}"
    for cue in [*CUE_WORDS.split(), "waterproof", "warm", "stretch"]
    for color in ("red", "blue", "green")
    for thing in ("hat", "boots", "scarf", "dress", "coat")
]
METADATA = {
    "category": [text.split()[2] for text in TEXTS],
    "color": [text.split()[1] for text in TEXTS],
    "brand": ["Acme"] * len(TEXTS),
}


def test_phrases_by_hand():
    # 17 cues × 3 colors give 51 items of each of 5 things, 17 for each color of a thing
    phrases = find_phrases(TEXTS, METADATA)
    assert phrases.things == dict.fromkeys(["boots", "coat", "dress", "hat", "scarf"], 51)
    assert phrases.details["hat"] == {"blue": 17, "green": 17, "red": 17}
    assert phrases.cues["season"] == {"summer": 15, "winter": 15}


def test_without_metadata_neighboring_words_are_the_phrases():
    phrases = find_phrases(["old oak table", "old oak chair", "of the table 12"], {})
    assert phrases.things == {"oak": 2, "old": 2, "old oak": 2, "table": 2}


def test_queries_keep_to_the_rules():
    queries, note = make_queries(find_phrases(TEXTS, METADATA), 160, seed=0)
    assert note == ""
    assert {kind: sum(q.kind == kind for q in queries) for kind in KINDS} == dict.fromkeys(
        KINDS, 20
    )
    assert all(2 <= len(query.text.split()) <= 6 for query in queries)
    assert len({frozenset(terms(query.text)) for query in queries}) == 160
    spoken = {term for text in TEXTS for term in terms(text)} | {"style"}  # "in vintage style"
    assert all(spoken.issuperset(terms(query.text)) for query in queries)
    assert not any(query.references for query in queries)
    assert len({query.id for query in queries}) == 160


def test_each_query_of_a_kind_has_a_cue_of_it():
    queries, _ = make_queries(find_phrases(TEXTS, METADATA), 300, seed=0)
    for query in queries:
        cued = [kind for kind, cues in CUES.items() if set(cues) & set(query.text.split())]
        assert len(cued) >= 2 if query.kind == "hybrid" else query.kind in cued


def test_same_seed_same_queries():
    phrases = find_phrases(TEXTS, METADATA)
    assert make_queries(phrases, 50, seed=1) == make_queries(phrases, 50, seed=1)
    assert make_queries(phrases, 50, seed=1) != make_queries(phrases, 50, seed=2)


def test_the_note_says_what_could_not_be_made():
    phrases = find_phrases(["summer hat", "winter hat", "red coat", "red coat"], {})
    queries, note = make_queries(phrases, 1000, seed=0)
    assert {query.kind for query in queries} == {"season"}
    assert note == (
        "no word of the catalog cues the kinds aesthetic, activity, lifestyle, mood, trend, "
        f"function, hybrid; the catalog's phrases gave {len(queries)} of 1000 queries"
    )


def test_split_takes_a_tenth_of_each_kind():
    queries = [Query(f"{n}", f"query {n}", KINDS[n % 8]) for n in range(800)]
    splits = split_queries(queries, seed=0)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 640,
        "val": 80,
        "test": 80,
    }
    assert {q.id for part in splits.values() for q in part} == {q.id for q in queries}
    for kind in KINDS:
        assert sum(query.kind == kind for query in splits["test"]) == 10
    with pytest.raises(InputError, match=r"at least 10 queries, .* found 9\. Ask for more"):
        split_queries(queries[:9], seed=0)


def test_a_catalog_without_repeated_phrases():
    with pytest.raises(InputError, match=r"found none in 2 texts\. Use a larger catalog or --endp"):
        find_phrases(["red hat", "blue coat"], {})


def test_every_template_is_of_its_kind():
    for kind, templates in TEMPLATES.items():
        for template in templates:
            slots = template.count("{") - template.count("{thing}") - template.count("{detail}")
            assert slots == 2 if kind == "hybrid" else f"{{{kind}}}" in template or slots == 2


def test_a_catalog_without_any_cue_gives_plain_queries():
    colors, stuffs, kinds = ("teal", "sage", "ochre"), ("oak", "steel"), ("chair", "lamp", "desk")
    texts = [f"{s} {k} {c}" for c in colors for s in stuffs for k in kinds for _ in range(2)]
    phrases = find_phrases(texts, {})
    assert not any(phrases.cues.values())
    queries, note = make_queries(phrases, 30, 0)
    assert len(queries) == 30
    assert {query.kind for query in queries} == {"plain"}
    known = {*colors, *stuffs, *kinds}
    assert all(2 <= len(query.text.split()) <= 6 for query in queries)
    assert all(set(query.text.split()) <= known for query in queries)
    assert "no word of the catalog cues the kinds aesthetic, activity" in note
