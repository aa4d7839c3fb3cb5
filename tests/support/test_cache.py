"""The cache: what it keeps, what it drops, and what it computes."""

import pytest

from r4t.errors import InputError
from r4t.support.cache import Cache


def test_the_least_recently_used_value_is_dropped_first():
    cache, calls = Cache(capacity=2), []

    def make(keys):
        calls.append(keys)
        return [key.upper() for key in keys]

    assert cache.get(["a", "b"], make) == ["A", "B"]
    assert cache.get(["a"], make) == ["A"]
    assert cache.get(["c"], make) == ["C"]  # drops b
    assert cache.get(["a", "b"], make) == ["A", "B"]
    assert calls == [["a", "b"], ["c"], ["b"]]
    assert cache.take() == (6, 4)
    assert cache.take() == (0, 0)


def test_more_keys_than_the_capacity_are_answered():
    cache = Cache(capacity=1)
    assert cache.get(list("abca"), lambda keys: [key * 2 for key in keys]) == [
        "aa",
        "bb",
        "cc",
        "aa",
    ]
    assert len(cache) == 1
    assert cache.get([], lambda keys: 1 / 0) == []


def test_a_forgotten_value_is_made_again():
    cache, made = Cache(capacity=2), iter([[1], [2]])
    assert cache.get(["a"], lambda keys: next(made)) == [1]
    cache.forget("a")
    cache.forget("b")  # never there
    assert cache.get(["a"], lambda keys: next(made)) == [2]


def test_a_capacity_of_0_is_refused():
    with pytest.raises(InputError, match="capacity .*at least 1.*found 0"):
        Cache(capacity=0)
