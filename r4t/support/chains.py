"""Things with keys → groups of things that share a key, in chains."""

from collections.abc import Hashable, Iterable, Sequence


def chained(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """Return the number of each thing's group, from 0 in order of appearance.

    Two things with a key in common are in one group, and so are things that a chain of such pairs
    connects. A thing without keys is a group of its own.

    Examples:
        >>> chained([["red", 1], ["blue"], [1, 2], [], [2]])
        [0, 1, 0, 2, 0]
    """
    from scipy.cluster.hierarchy import DisjointSet

    groups = DisjointSet(range(len(keys)))
    first: dict[Hashable, int] = {}
    for place, own in enumerate(keys):
        for key in own:
            groups.merge(place, first.setdefault(key, place))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(groups[place], len(numbers)) for place in range(len(keys))]
