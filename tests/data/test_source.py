"""r4t.data.source: checked items, usable sets; nothing is dropped uncounted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r4t.data.source import Items, ReferenceSet, collect_sets
from r4t.errors import InputError


def test_faulty_items():
    with pytest.raises(
        InputError, match=r"names other than id and text, but found one called 'id'\. Rename"
    ):
        Items(["a"], ["x"], {"id": ["b"]})
    with pytest.raises(
        InputError, match=r"one value of 'color' for each of the 1 items, but found 2\. Give"
    ):
        Items(["a"], ["x"], {"color": ["b", "c"]})
    with pytest.raises(
        InputError, match=r"found 2 ids and 1 texts in the list of items\. Give both"
    ):
        Items(["a", "b"], ["x"])
    with pytest.raises(
        InputError, match=r"found 'a' at row 0 and again at row 1 of the list of items\."
    ):
        Items(["a", "a"], ["x", "y"])


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3), st.sampled_from(["q", " "]), st.lists(st.sampled_from("abxy"))
        )
    )
)
def test_every_reference_is_kept_or_counted(rows):
    sets = [ReferenceSet(name, query, tuple(items)) for name, query, items in rows]
    usable, note = collect_sets(sets, {"a", "b"})
    counts = {
        part.split(" ", 1)[1]: int(part.split(" ", 1)[0]) for part in note.split("; ") if part
    }
    kept = sum(len(entry.items) for entry in usable)

    def count(start: str) -> int:
        return sum(n for what, n in counts.items() if what.startswith(start))

    asked = [items for _, query, items in rows if query.strip()]
    assert kept + count("reference") + count("repeat") == sum(map(len, asked))
    assert len(usable) + count("set without") + count("sets without") == len(rows)
