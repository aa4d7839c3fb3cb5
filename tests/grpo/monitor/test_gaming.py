import math

import pytest

from r4t.grpo.monitor.gaming import addition, gaming, universal


def shares_of(queries, subqueries):
    """Shares by the middle of their log keys."""
    return {name.split("/")[1]: value for name, value in gaming(queries, subqueries).items()}


def test_by_hand():
    # Two queries, two fan-outs each; the last one could not be parsed.
    shares = shares_of(
        ["red hat", "blue coat"],
        [
            ["red hat wool", "Red hat, wool!", "red hat"],  # a repeat, a copy
            ["hat red red", "straw"],  # a copy in other order
            ["blue coat wool", "blue coat wool"],  # a repeat
            [],
        ],
    )
    assert shares["subqueries"] == 7 / 4
    assert shares["duplicate_subqueries"] == pytest.approx(2 / 7)
    assert shares["query_copies"] == pytest.approx(2 / 7)
    # "wool" is in 1 of the 2 fan-outs of each query: half, not more.
    assert shares["universal_subqueries"] == 0
    assert shares["commonest_word"] == pytest.approx(4 / 7)  # wool, in four of the seven


def test_only_all_words_of_the_query_and_no_others_are_a_copy():
    shares = shares_of(["red hat"], [["hat", "red hat wool", "", "HAT red"]])
    assert shares["query_copies"] == 1 / 4


def test_universal_is_what_more_than_half_get_in_more_than_half_of_their_fanouts():
    queries = ["red hat", "blue coat", "green shirt"]
    # "gift" in 2 of 3 fan-outs of 2 of 3 queries; "sale" in all fan-outs of one; "new" in 1 of 3.
    fanouts = [
        ["red hat gift", "red hat sale", "red hat new"],
        ["gift", "sale"],
        ["sale"],
        ["blue coat gift"],
        ["gift", "gift", "new"],
        ["wool"],
        ["green shirt wool"],
        ["silk"],
        ["linen", "new"],
    ]
    shares = shares_of(queries, fanouts)
    # 5 of 3 + 2 + 1 + 1 + 3 + 1 + 1 + 1 + 2 sub-queries add "gift".
    assert shares["universal_subqueries"] == pytest.approx(5 / 15)


@pytest.mark.parametrize(
    "added, expected",
    [
        ([["x"], ["x"], ["x"], []], set()),  # all of a's fan-outs, half of b's
        ([["x"], ["x"], ["x"], ["x"]], {"x"}),
        ([["x"], ["x"], [], []], set()),  # one of two queries
        ([["", "x"], ["", "y"], [""], [""]], set()),  # nothing added is not universal
    ],
)
def test_universal_near_misses(added, expected):
    assert universal(["a", "a", "b", "b"], added) == expected


def test_queries_of_equal_words_are_one_query():
    shares = shares_of(["Red hat", "red hat!"], [["gift"], ["gift"]])
    assert math.isnan(shares["universal_subqueries"])
    assert shares["commonest_word"] == 1


def test_without_subqueries_the_shares_are_nan():
    shares = shares_of(["a", "b"], [[], [], [], []])
    assert shares.pop("subqueries") == 0
    assert all(math.isnan(value) for value in shares.values())


def test_what_a_subquery_adds_ignores_how_the_format_writes_it():
    assert addition("red hat", "red hat wool") == addition("red hat", "wool") == "wool"
    expand = shares_of(["red hat", "blue coat"], [["red hat gift"], ["blue coat gift"]])
    full = shares_of(["red hat", "blue coat"], [["gift"], ["gift"]])
    assert expand == full
    assert full["universal_subqueries"] == 1
