"""Items and sets → collections: items of a catalog that each stand for a whole set."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from r4t.data.source import Items, Source
from r4t.errors import InputError, nearest
from r4t.geometry import normalize


def collection_items(source: Source, titles: bool) -> Items:
    """Make one item of each set: id and text of the set, its metadata, its `size` and `items`.

    Sets with equal texts stay apart by their ids. A set without a text of its own gets the titles
    of its items; with ``titles``, they follow the set's own text as well: "name: title; title; …".

    Raises:
        InputError: If the source has no set, or a field of its sets has the name of a column that
            is added.

    Examples:
        >>> from r4t.data.source import ReferenceSet
        >>> items = Items(["a", "b"], ["red hat", "blue hat"])
        >>> source = Source("shop", items, [ReferenceSet("s", "hats", ("b", "a"), {"mood": "calm"})])
        >>> collections = collection_items(source, titles=True)
        >>> collections.ids, collections.texts
        (['s'], ['hats: blue hat; red hat'])
        >>> collections.metadata
        {'mood': ['calm'], 'size': [2], 'items': [['b', 'a']]}
    """
    if not source.sets:
        raise InputError(
            expected="at least one set of items, to make collections",
            found=f"none in {source.name}",
            remedy="Name a source with sets, or leave out --collections.",
        )
    metadata: dict[str, list[Any]] = {
        name: [entry.metadata.get(name) for entry in source.sets]
        for name in dict.fromkeys(name for entry in source.sets for name in entry.metadata)
    }
    added: dict[str, list[Any]] = {
        "size": [len(entry.items) for entry in source.sets],
        "items": [list(entry.items) for entry in source.sets],
    }
    if taken := sorted(metadata.keys() & added.keys()):
        raise InputError(
            expected=f"sets without the fields {' and '.join(added)}, which are added",
            found=f"a field {taken[0]!r} in the sets of {source.name}",
            remedy="Rename that field.",
        )
    title = dict(zip(source.items.ids, source.items.texts, strict=True))
    texts = []
    for entry in source.sets:
        listed = "; ".join(title[item] for item in entry.items)
        both = f"{entry.query}: {listed}"
        texts.append(both if entry.query and titles else entry.query or listed)
    return Items([entry.id for entry in source.sets], texts, metadata | added)


def mean_embeddings(embeddings: Tensor, members: Sequence[Sequence[int]]) -> Tensor:
    """Normalized mean (M, d) of M sets of at least one row of ``embeddings`` (N, d).

    A set whose members cancel each other out has a zero row.

    Examples:
        >>> mean_embeddings(torch.eye(2), [[0, 1], [1]]).tolist()
        [[0.7071067690849304, 0.7071067690849304], [0.0, 1.0]]
    """
    rows = torch.tensor([row for entry in members for row in entry])
    sizes = torch.tensor([len(entry) for entry in members])
    return normalize(embedding_bag(rows, embeddings, sizes.cumsum(0) - sizes, mode="mean"))


def first_values(items: Items, name: str) -> Items:
    """Add a column `first_NAME` with the first value of each list in a column of lists.

    Objectives compare items by single values; it is None where the list is empty or missing.

    Raises:
        InputError: If there is no such column.

    Examples:
        >>> songs = Items(["a", "b"], ["x", "y"], {"artists": [["Tom", "Ann"], []]})
        >>> first_values(songs, "artists").metadata["first_artists"]
        ['Tom', None]
    """
    if name not in items.metadata:
        raise InputError(
            expected=f"a metadata column of the source (one of {sorted(items.metadata)})",
            found=f"--first {name}",
            remedy=f"Name one of them.{nearest(name, items.metadata)}",
        )
    lists = [x if isinstance(x, list) else [x] for x in items.metadata[name]]
    firsts = [values[0] if values else None for values in lists]
    return Items(items.ids, items.texts, {**items.metadata, f"first_{name}": firsts})
