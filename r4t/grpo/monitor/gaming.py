"""Sub-queries of one rollout → how much of them games a reward: repeats, copies, universal answers."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from r4t.support.text import normalize_text

spelled = lru_cache(maxsize=2**16)(normalize_text)


def gaming(queries: Sequence[str], subqueries: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return shares of the sub-queries written for one batch, by log key.

    Texts are compared by their words (``r4t.support.text``). What a sub-query *adds* is its words that
    its query lacks, in their order: formats that repeat the query and those that do not are
    measured alike.

    Args:
        queries: B texts.
        subqueries: B·G lists; list b·G + g is fan-out g of query b, empty where unparsable.

    Returns:
        ``train/subqueries/mean``: sub-queries a fan-out, unparsable ones (0) among them.
        ``train/duplicate_subqueries/share``: repeats an earlier one of its fan-out.
        ``train/query_copies/share``: has the words of its query and no other.
        ``train/universal_subqueries/share``: adds what more than half of the queries get in more
        than half of their G fan-outs; NaN for fewer than two distinct queries.
        ``train/commonest_word/share``: adds the one word that most sub-queries add.
        The four shares lie in [0, 1] and are NaN where no sub-query was written.

    Examples:
        >>> found = gaming(["red hat", "blue coat"], [["red hat", "Red hat!"], ["blue coat wool"]])
        >>> found["train/duplicate_subqueries/share"], found["train/query_copies/share"]
        (0.3333333333333333, 0.6666666666666666)
    """
    asked = [spelled(query) for query in queries]
    owners = [asked[place] for place in _owners(len(asked), len(subqueries))]
    written = [[spelled(text) for text in texts] for texts in subqueries]
    added = [[addition(query, text) for text in texts] for query, texts in zip(owners, written)]
    count = sum(map(len, written))
    pairs = [(query, text) for query, texts in zip(owners, written) for text in texts]
    repeats = sum(len(texts) - len(set(texts)) for texts in written)
    copies = sum(set(query.split()) == set(text.split()) for query, text in pairs)
    common = universal(owners, added)
    spread = sum(text in common for texts in added for text in texts)
    word = Counter(word for texts in added for text in texts for word in set(text.split()))
    several = len(set(asked)) > 1
    return {
        "train/subqueries/mean": count / len(written),
        "train/duplicate_subqueries/share": _share(repeats, count),
        "train/query_copies/share": _share(copies, count),
        "train/universal_subqueries/share": _share(spread, count if several else 0),
        "train/commonest_word/share": _share(max(word.values(), default=0), count),
    }


def addition(query: str, text: str) -> str:
    """Return the words of ``text`` that ``query`` lacks; both spelled by ``words``.

    Examples:
        >>> addition("red hat", "wool hat red warm")
        'wool warm'
    """
    known = set(query.split())
    return " ".join(word for word in text.split() if word not in known)


def universal(owners: Sequence[str], added: Sequence[Sequence[str]]) -> set[str]:
    """Return the additions with which the model answers whatever it is asked.

    Args:
        owners: Query of each fan-out; fan-outs of equal queries are one group.
        added: What each fan-out adds; "" stands for nothing and is never universal.

    Returns:
        Additions that stand in more than half of the fan-outs of more than half of the queries.

    Examples:
        >>> universal(["a", "a", "b", "b"], [["x"], ["x", "y"], ["x"], ["x"]])
        {'x'}
    """
    sizes = Counter(owners)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for query, texts in zip(owners, added):
        found[query].update({text for text in texts if text})
    habits = Counter(
        text
        for query, counts in found.items()
        for text, count in counts.items()
        if 2 * count > sizes[query]
    )
    return {text for text, count in habits.items() if 2 * count > len(sizes)}


def _owners(queries: int, fanouts: int) -> Iterator[int]:
    group = fanouts // queries
    return (place for place in range(queries) for _ in range(group))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
