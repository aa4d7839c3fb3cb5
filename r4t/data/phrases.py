"""Texts and metadata of any catalog → broad queries of the paper's eight kinds, written offline."""

import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r4t.data.queries import SPLITS, Query
from r4t.encoder.lsa import STOP_WORDS, terms
from r4t.errors import InputError

_TABLES = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text(encoding="utf-8"))
KINDS = tuple(_TABLES)  # the paper's eight kinds of broad query (§7)
CUES = {kind: tuple(row["cues"].split()) for kind, row in _TABLES.items() if "cues" in row}
"""Kind → cue words; "hybrid" joins two of these kinds."""
TEMPLATES = {kind: tuple(row["templates"]) for kind, row in _TABLES.items()}
PLAIN = ("plain", ("{detail} {thing}", "{thing}"))
"""Kind and templates for a catalog that uses no cue word."""
WORDS = (2, 6)  # fewest and most words of a broad query (paper, §7)
THING_COLUMNS = ("category", "type", "genre", "slot", "kind")
DETAIL_COLUMNS = ("color", "colour", "material", "pattern", "style", "season", "tags", "mood")
THINGS, DETAILS = 300, 40  # most frequent things, and details of each thing
TRIES = 50  # drawn queries without a new one, after which a kind is exhausted

Metadata = Mapping[str, Sequence[Any]]
Entries = dict[frozenset[str], tuple[str, str]]  # terms of a query → its text and kind


@dataclass(frozen=True)
class Phrases:
    """What a catalog talks about; each number counts items."""

    things: dict[str, int]  # what items are
    details: dict[str, dict[str, int]]  # thing → what such items are like
    cues: dict[str, dict[str, int]]  # kind → the cue words that the catalog uses


def find_phrases(texts: Sequence[str], metadata: Metadata) -> Phrases:
    """Find the most frequent things of a catalog, of two items or more, and their details.

    Things are the values of the columns in `THING_COLUMNS` or, without such values, one to three
    neighboring words of the texts. Details are the values of `DETAIL_COLUMNS` or single words. They
    are counted for each thing, so that queries join a thing only to details that it has.

    Raises:
        InputError: If no phrase occurs in two items.

    Examples:
        >>> category = ["Hats & Caps", "Hats", "Hats"]
        >>> phrases = find_phrases(["red vintage hat", "wool hat", "red hat"], {"category": category})
        >>> phrases.things, phrases.details, phrases.cues["aesthetic"]
        ({'hats': 3}, {'hats': {'hat': 3, 'red': 2}}, {'vintage': 1})
    """
    grams = [_grams(text) for text in texts]
    things = _column_phrases(metadata, THING_COLUMNS, grams)
    words = [{gram for gram in phrases if " " not in gram} for phrases in grams]
    details = _column_phrases(metadata, DETAIL_COLUMNS, words)
    counts = _frequent(Counter(thing for phrases in things for thing in phrases), THINGS)
    if not counts:
        raise InputError(
            expected="phrases that two or more items share, to write queries",
            found=f"none in {len(texts)} texts",
            remedy="Use a larger catalog or --endpoint.",
        )
    by_thing: dict[str, Counter[str]] = {thing: Counter() for thing in counts}
    for item_things, item_details in zip(things, details, strict=True):
        for thing in item_things & counts.keys():
            by_thing[thing].update(item_details)
    frequent = {thing: _frequent(tally, DETAILS) for thing, tally in by_thing.items()}
    cells = (value for column in metadata.values() for value in column)
    strings = (text for text in (*texts, *cells) if isinstance(text, str))
    uses = Counter(term for text in strings for term in set(terms(text)))
    cues = {
        kind: {cue: uses[terms(cue)[0]] for cue in cues if terms(cue)[0] in uses}
        for kind, cues in CUES.items()
    }
    return Phrases(counts, frequent, cues)


def _column_phrases(
    metadata: Metadata, names: Sequence[str], default: list[set[str]]
) -> list[set[str]]:
    """Phrases of each item in the columns of these names; the default if no item has any."""
    phrases: list[set[str]] = [set() for _ in default]
    for name in names:
        for row, value in enumerate(metadata.get(name, ())):
            phrases[row].update(_parts(value))
    return phrases if any(phrases) else default


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
    grams = set()
    for run in re.split(r"[^\w\s'-]+", text.lower()):
        words = run.split()
        for gram in (
            words[i : i + size] for size in (1, 2, 3) for i in range(len(words) - size + 1)
        ):
            if all(len(w) > 2 and w not in STOP_WORDS and w.isalpha() for w in gram):
                grams.add(" ".join(gram))
    return grams


def _frequent(counts: Counter[str], keep: int) -> dict[str, int]:
    """Phrases of two items or more, most frequent first; ties in alphabetical order."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return {phrase: count for phrase, count in ordered[:keep] if count >= 2}


def make_queries(phrases: Phrases, count: int, seed: int) -> tuple[list[Query], str]:
    """Fill the templates of the eight kinds in turn with phrases and cue words of the catalog.

    Frequent phrases are drawn more often (by the square root of their count). No two queries
    consist of the same terms, in any order. Kinds without a cue word in the catalog give nothing;
    without any cue word, queries are plain: a thing, or a detail and a thing.

    Returns:
        ``count`` queries in random order, fewer if the phrases give no more, and a note of what
        could not be made. The same seed gives the same queries.
    """
    rng = random.Random(seed)
    filled = {"thing", "detail", *(kind for kind, cues in phrases.cues.items() if cues)}
    templates: dict[str, Sequence[str]] = {
        kind: usable
        for kind in KINDS
        if (usable := [t for t in TEMPLATES[kind] if filled.issuperset(_slots(t))])
    }
    silent = [kind for kind in KINDS if kind not in templates]
    templates = templates or dict([PLAIN])
    entries: Entries = {}
    while templates and len(entries) < count:
        for kind in list(templates):
            if len(entries) < count and not _add(rng, kind, templates[kind], phrases, entries):
                del templates[kind]
    ordered = list(entries.values())
    rng.shuffle(ordered)
    queries = [Query(f"q{n:05d}", text, kind) for n, (text, kind) in enumerate(ordered)]
    notes = [f"no word of the catalog cues the kinds {', '.join(silent)}"] if silent else []
    if len(queries) < count:
        notes.append(f"the catalog's phrases gave {len(queries)} of {count} queries")
    return queries, "; ".join(notes)


def _slots(template: str) -> list[str]:
    return re.findall(r"{(\w+)}", template)


def _add(
    rng: random.Random, kind: str, templates: Sequence[str], phrases: Phrases, entries: Entries
) -> bool:
    """Add one new query of the kind to ``entries``; False if `TRIES` gave nothing new."""
    for _ in range(TRIES):
        template = rng.choice(templates)
        thing = _draw(rng, phrases.things)
        options = {"detail": phrases.details[thing], **phrases.cues}
        words = {"thing": thing, "detail": _draw(rng, options["detail"])}
        slots = _slots(template)
        words |= {slot: _draw(rng, options[slot]) for slot in slots if slot not in words}
        text = template.format(**words)
        folded = [term for slot in slots for term in terms(words[slot])]
        key = frozenset(folded)
        # A thing without details leaves a slot empty; one that names its detail repeats a term.
        complete = all(words[slot] for slot in slots) and len(key) == len(folded)
        if complete and WORDS[0] <= len(text.split()) <= WORDS[1] and key not in entries:
            entries[key] = (text, kind)
            return True
    return False


def _draw(rng: random.Random, counts: Mapping[str, int]) -> str:
    """One phrase, likelier by the square root of its count; '' of none."""
    return rng.choices(list(counts), [n**0.5 for n in counts.values()])[0] if counts else ""


def split_queries(queries: Sequence[Query], seed: int) -> dict[str, list[Query]]:
    """Deal queries 8:1:1 to train, val and test, each kind alike.

    Raises:
        InputError: If there are too few for three splits.
    """
    if len(queries) < 10:
        raise InputError(
            expected="at least 10 queries, to split them 8:1:1",
            found=f"{len(queries)}",
            remedy="Ask for more.",
        )
    order = random.Random(seed).sample(list(queries), len(queries))
    order.sort(key=lambda query: query.kind)
    splits: dict[str, list[Query]] = {split: [] for split in SPLITS}
    for place, query in enumerate(order):
        splits[{8: "val", 9: "test"}.get(place % 10, "train")].append(query)
    return splits
