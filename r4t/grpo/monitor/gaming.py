"""Sub-queries of one rollout → how many of them game a reward: repeats, copies, universal answers."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache

from r4t.support.text import normalize_text

normalized = lru_cache(maxsize=2**16)(normalize_text)


def gaming(queries: Sequence[str], subqueries: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return shares of the sub-queries written for one batch, by log key.

    Texts are compared by their normalized words. What a sub-query *adds* is the words that its query
    lacks, so that formats that repeat the query and formats that do not are measured alike.

    Args:
        queries: B texts.
        subqueries: B·G lists; list b·G + g is fan-out g of query b, empty where unparsable.

    Returns:
        ``train/subqueries/mean``: sub-queries per fan-out; unparsable ones count 0.
        ``train/duplicate_subqueries/share``: repeat an earlier one of their fan-out.
        ``train/query_copies/share``: have the words of their query and no others.
        ``train/universal_subqueries/share``: add what more than half of the queries get in more
        than half of their G fan-outs; NaN for fewer than two distinct queries.
        ``train/commonest_word/share``: add the word that most sub-queries add.
        The four shares are in [0, 1], or NaN if there is no sub-query.

    Examples:
        >>> shares = gaming(["red hat", "blue coat"], [["red hat", "Red hat!"], ["blue coat wool"]])
        >>> shares["train/duplicate_subqueries/share"], shares["train/query_copies/share"]
        (0.3333333333333333, 0.6666666666666666)
    """
    group = len(subqueries) // len(queries)
    owners = [normalized(query) for query in queries for _ in range(group)]
    written = [[normalized(text) for text in texts] for texts in subqueries]
    added = [[addition(query, text) for text in texts] for query, texts in zip(owners, written)]
    pairs = [(query, text) for query, texts in zip(owners, written) for text in texts]
    repeats = sum(len(texts) - len(set(texts)) for texts in written)
    copies = sum(set(query.split()) == set(text.split()) for query, text in pairs)
    common = universal(owners, added)
    spread = sum(text in common for texts in added for text in texts)
    words = Counter(word for texts in added for text in texts for word in set(text.split()))
    count, several = len(pairs), len(set(owners)) > 1
    return {
        "train/subqueries/mean": count / len(written),
        "train/duplicate_subqueries/share": _share(repeats, count),
        "train/query_copies/share": _share(copies, count),
        "train/universal_subqueries/share": _share(spread, count if several else 0),
        "train/commonest_word/share": _share(max(words.values(), default=0), count),
    }


def addition(query: str, text: str) -> str:
    """Return the words of ``text`` that ``query`` lacks, in their order; both are normalized.

    Examples:
        >>> addition("red hat", "wool hat red warm")
        'wool warm'
    """
    query_words = set(query.split())
    return " ".join(word for word in text.split() if word not in query_words)


def universal(owners: Sequence[str], added: Sequence[Sequence[str]]) -> set[str]:
    """Return the additions in more than half of the fan-outs of more than half of the queries.

    Takes the query of each fan-out, equal ones being one group, and what each fan-out adds; "" means
    nothing and is never universal.

    Examples:
        >>> universal(["a", "a", "b", "b"], [["x"], ["x", "y"], ["x"], ["x"]])
        {'x'}
    """
    sizes = Counter(owners)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for query, texts in zip(owners, added):
        counts[query].update({text for text in texts if text})
    habits = Counter(
        text
        for query, fanouts in counts.items()
        for text, number in fanouts.items()
        if 2 * number > sizes[query]
    )
    return {text for text, number in habits.items() if 2 * number > len(sizes)}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
