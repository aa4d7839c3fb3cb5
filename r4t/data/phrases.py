"""Texts and metadata of any catalog → broad queries of the paper's eight kinds, made offline."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r4t.data.kinds import CUES, KINDS, PLAIN, TEMPLATES
from r4t.data.queries import SPLITS, Query
from r4t.encoder.lsa import STOP_WORDS, terms
from r4t.errors import InputError

THING_COLUMNS = ("category", "type", "genre", "slot", "kind")
DETAIL_COLUMNS = ("color", "colour", "material", "pattern", "style", "season", "tags", "mood")
WORDS = (2, 6)  # length of a broad query (paper, §7)


@dataclass(frozen=True)
class Phrases:
    """What a catalog talks about.

    Attributes:
        things: What items are → the number of items.
        details: Thing → what such items are like → the number of items.
        cues: Kind → the cue words that the catalog knows → the number of items.
    """

    things: dict[str, int]
    details: dict[str, dict[str, int]]
    cues: dict[str, dict[str, int]]


def find_phrases(
    texts: Sequence[str], metadata: Mapping[str, Sequence[Any]], keep: int = 300
) -> Phrases:
    """Find what a catalog talks about: the ``keep`` most frequent things, of two items or more.

    Things are the values of the columns in ``THING_COLUMNS`` and, where there are none, one to
    three neighboring words of the texts; details are the values of ``DETAIL_COLUMNS`` and else
    single words, kept apart by thing, so that they are said only of things that have them.

    Raises:
        InputError: No phrase occurs in two items.

    Examples:
        >>> category = ["Hats & Caps", "Hats", "Hats"]
        >>> found = find_phrases(["red vintage hat", "wool hat", "red hat"], {"category": category})
        >>> found.things, found.details, found.cues["aesthetic"]
        ({'hats': 3}, {'hats': {'hat': 3, 'red': 2}}, {'vintage': 1})
    """
    grams = [_grams(text) for text in texts]
    things = _column_phrases(metadata, THING_COLUMNS, len(texts))
    details = _column_phrases(metadata, DETAIL_COLUMNS, len(texts))
    if not any(things):
        things = grams
    if not any(details):
        details = [{gram for gram in found if " " not in gram} for found in grams]
    counts = _frequent(Counter(thing for found in things for thing in found), keep)
    if not counts:
        raise InputError(
            "Broad queries are made of phrases that occur in two items or more — found none in "
            f"{len(texts)} texts — use a larger catalog or --endpoint."
        )
    by_thing: dict[str, Counter[str]] = {thing: Counter() for thing in counts}
    for found, described in zip(things, details, strict=True):
        for thing in found & counts.keys():
            by_thing[thing].update(described)
    return Phrases(
        counts, {thing: _frequent(by_thing[thing], 40) for thing in counts}, _cues(texts, metadata)
    )


def _column_phrases(
    metadata: Mapping[str, Sequence[Any]], names: Sequence[str], count: int
) -> list[set[str]]:
    """Phrases of each item in the columns of these names."""
    found: list[set[str]] = [set() for _ in range(count)]
    for name in names:
        for phrases, value in zip(found, metadata.get(name, ()), strict=False):
            phrases.update(_parts(value))
    return found


def _cues(texts: Sequence[str], metadata: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, int]]:
    """Cue words of each kind that the texts or the metadata use, with their counts."""
    cells = (value for column in metadata.values() for value in column)
    spoken = (text for text in (*texts, *cells) if isinstance(text, str))
    counts = Counter(term for text in spoken for term in set(terms(text)))
    return {
        kind: {cue: counts[terms(cue)[0]] for cue in cues if terms(cue)[0] in counts}
        for kind, cues in CUES.items()
    }


def _parts(value: Any) -> Iterable[str]:
    """Metadata value → lower-case phrases of one to three words; lists and "A & B" give several."""
    if isinstance(value, str):
        for part in re.split(r"\s*(?:&|,|/|\band\b)\s*", value.lower()):
            if re.search(r"[^\W\d]", part) and len(part.split()) <= 3:
                yield part
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _parts(entry)


def _grams(text: str) -> set[str]:
    """One to three neighboring words, none of them a function word or a number."""
    found = set()
    for run in re.split(r"[^\w\s'-]+", text.lower()):
        words = run.split()
        for size in (1, 2, 3):
            for gram in zip(*(words[start:] for start in range(size))):
                if all(len(w) > 2 and w not in STOP_WORDS and w.isalpha() for w in gram):
                    found.add(" ".join(gram))
    return found


def _frequent(counts: Counter[str], keep: int) -> dict[str, int]:
    """Phrases of two items or more, most frequent first; ties in the order of the alphabet."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {phrase: count for phrase, count in ordered[:keep] if count >= 2}


def make_queries(phrases: Phrases, count: int, seed: int) -> tuple[list[Query], str]:
    """Fill the templates of the eight kinds in turn with phrases and with cues the catalog knows.

    Frequent phrases are drawn more often (by the square root of their count). No two queries
    consist of the same terms, in whatever order. Kinds without a known cue give nothing, which the
    note says; where there is no cue at all, queries are plain: a thing, or a thing and a detail.

    Args:
        phrases: What the catalog talks about.
        count: How many queries; fewer come where the phrases give no more.
        seed: The same seed gives the same queries.

    Returns:
        Queries in random order, and a note of what could not be made.
    """
    rng = random.Random(seed)
    known = {"thing", "detail", *(kind for kind, cues in phrases.cues.items() if cues)}
    templates = {
        kind: [t for t in TEMPLATES[kind] if known.issuperset(_slots(t))] for kind in KINDS
    }
    open_kinds = [kind for kind in KINDS if templates[kind]]
    made: dict[frozenset[str], tuple[str, str]] = {}
    while open_kinds and len(made) < count:
        for kind in list(open_kinds):
            if len(made) == count:
                break
            if not _add(rng, kind, templates[kind], phrases, made):
                open_kinds.remove(kind)
    while not any(templates.values()) and len(made) < count:
        if not _add(rng, *PLAIN, phrases, made):
            break
    entries = list(made.values())
    rng.shuffle(entries)
    queries = [Query(f"q{n:05d}", text, kind) for n, (text, kind) in enumerate(entries)]
    silent = [kind for kind in KINDS if not templates[kind]]
    return queries, _note(len(queries), count, silent)


def _slots(template: str) -> list[str]:
    return re.findall(r"{(\w+)}", template)


def _add(
    rng: random.Random,
    kind: str,
    templates: Sequence[str],
    phrases: Phrases,
    made: dict[frozenset[str], tuple[str, str]],
    tries: int = 50,
) -> bool:
    """Add one new query of the kind to ``made``; False after ``tries`` that gave nothing new."""
    for _ in range(tries):
        template = rng.choice(templates)
        thing = _draw(rng, phrases.things)
        drawn = {"thing": thing, "detail": _draw(rng, phrases.details[thing])}
        words = {
            slot: drawn[slot] if slot in drawn else _draw(rng, phrases.cues[slot])
            for slot in _slots(template)
        }
        text = template.format(**words)
        folded = [term for slot in words.values() for term in terms(slot)]
        key = frozenset(folded)
        # Shorter: a thing without details, or one that says its detail or cue already.
        if (
            "" in words.values()
            or len(key) < len(folded)
            or not WORDS[0] <= len(text.split()) <= WORDS[1]
        ):
            continue
        if key not in made:
            made[key] = (text, kind)
            return True
    return False


def _draw(rng: random.Random, counts: Mapping[str, int]) -> str:
    """One phrase, likelier by the square root of its count; '' of none."""
    return rng.choices(list(counts), [n**0.5 for n in counts.values()])[0] if counts else ""


def _note(found: int, wanted: int, silent: Sequence[str]) -> str:
    parts = []
    if silent:
        parts.append(f"no word of the catalog cues the kinds {', '.join(silent)}")
    if found < wanted:
        parts.append(f"the catalog's phrases gave {found} of {wanted} queries")
    return "; ".join(parts)


def split_queries(queries: Sequence[Query], seed: int) -> dict[str, list[Query]]:
    """Deal queries 8:1:1 to train, val and test, each kind alike.

    Raises:
        InputError: There are too few for three splits.
    """
    if len(queries) < 10:
        raise InputError(
            f"A split 8:1:1 needs at least 10 queries — found {len(queries)} — ask for more."
        )
    order = random.Random(seed).sample(list(queries), len(queries))
    order.sort(key=lambda query: query.kind)
    splits: dict[str, list[Query]] = {split: [] for split in SPLITS}
    for place, query in enumerate(order):
        splits[{8: "val", 9: "test"}.get(place % 10, "train")].append(query)
    return splits
