import pytest
import torch
from r4t_objectives.constraint import AtMost, Budget, Constraint, MustInclude, Rule

from r4t.errors import InputError
from r4t.objective import load_objective


@pytest.fixture
def catalog(catalog_of):
    return catalog_of(
        torch.eye(5),
        brand=["ora", "ora", "ora", "lund", None],
        price=[0.1, 0.2, 5.0, 3.0, None],
        category=["shoe", "hat", "hat", "coat", None],
    )


def shares(rule, sets):
    return Constraint([rule])(sets).tolist()


def test_at_most_counts_each_item_once(catalog, chosen):
    rows = [
        [0, 1, 3],  # two of ora
        [0, 1, 2],  # three
        [0, 0, 1],  # two, because the repeated item counts once
        [4, 3, -1],  # an item without a brand does not count
        [-1, -1, -1],
    ]
    assert shares(AtMost("brand", 2), chosen(catalog, rows)) == [1, 0, 1, 1, 0]
    assert shares(AtMost("brand", 1), chosen(catalog, rows)) == [0, 0, 0, 1, 0]


def test_budget_sums_each_item_once_and_needs_every_price(catalog, chosen):
    rows = [
        [0, 1, -1],  # 0.1 + 0.2 is 0.30000000000000004 in floats
        [0, 0, 1],
        [0, 1, 3],  # 3.3
        [0, 4, -1],  # one price is unknown
        [-1, -1, -1],
    ]
    assert shares(Budget("price", 0.3), chosen(catalog, rows)) == [1, 1, 0, 0, 0]
    assert shares(Budget("price", 3.3), chosen(catalog, rows)) == [1, 1, 1, 0, 0]


def test_must_include_finds_a_value(catalog, chosen):
    rows = [[0, 3, -1], [1, 2, -1], [4, -1, -1], [3, 3, 3]]
    assert shares(MustInclude("category", "hat"), chosen(catalog, rows)) == [0, 1, 0, 0]
    assert shares(MustInclude("category", "coat"), chosen(catalog, rows)) == [1, 0, 0, 1]
    assert shares(MustInclude("price", 3.0), chosen(catalog, rows)) == [1, 0, 0, 1]


def test_a_value_may_be_written_as_text(catalog_of, chosen):
    catalog = catalog_of(torch.eye(2), year=[2003, 1], old=[True, False], size=["42", "43"])
    sets = chosen(catalog, [[0], [1]])
    assert shares(MustInclude("year", "2003"), sets) == [1, 0]
    assert shares(MustInclude("year", 2003.0), sets) == [1, 0]
    assert shares(MustInclude("size", 42), sets) == [1, 0]
    assert shares(MustInclude("old", True), sets) == [1, 0]
    for field, value, options in (("year", True, "1, 2003"), ("old", 1, "False, True")):
        with pytest.raises(
            InputError, match=rf"field '{field}' \({options}\), but found {value}\."
        ):
            shares(MustInclude(field, value), sets)
    with pytest.raises(
        InputError, match=r"found '2004'\. Choose one of them\. Did you mean '2003'\?"
    ):
        shares(MustInclude("year", "2004"), sets)


def test_constraint_is_the_share_of_rules_kept(catalog, chosen):
    rules = [AtMost("brand", 1), Budget("price", 4), MustInclude("category", "shoe")]
    # Two brands, 3.1, a shoe: 3 of 3. Ora twice, 0.3, a shoe: 2. Ora twice, 5.2, no shoe: 0.
    scores = load_objective("constraint", rules=rules)(chosen(catalog, [[0, 3], [0, 1], [1, 2]]))
    assert scores.tolist() == pytest.approx([1, 2 / 3, 0])


def test_a_rule_of_your_own(catalog, chosen):
    class AtLeastTwo(Rule):
        def kept(self, sets, chosen):
            return chosen.sum(-1) >= 2

    assert shares(AtLeastTwo(), chosen(catalog, [[0, 1], [0, 0], [0, -1]])) == [1, 0, 0]


def test_rules_are_built_from_yaml():
    from jsonargparse import ArgumentParser

    from r4t.objective import Objective

    parser = ArgumentParser()
    parser.add_argument("--objective", type=Objective)
    rule = "{class_path: r4t_objectives.constraint.%s, init_args: {%s}}"
    rules = ", ".join(
        [
            rule % ("AtMost", "field: brand, count: 2"),
            rule % ("Budget", "field: price, total: 80"),
            rule % ("MustInclude", "field: category, value: shoe"),
        ]
    )
    path = "r4t_objectives.constraint.Constraint"
    text = f"{{class_path: {path}, init_args: {{rules: [{rules}]}}}}"
    built = parser.instantiate_classes(parser.parse_args(["--objective", text])).objective
    assert [vars(rule) for rule in built.rules] == [
        {"field": "brand", "count": 2},
        {"field": "price", "total": 80.0},
        {"field": "category", "value": "shoe"},
    ]


def test_bad_rules_are_refused(catalog, chosen):
    sets = chosen(catalog, [[0, 1]])
    with pytest.raises(InputError, match=r"at least one rule .* found none\. .*constraint\.AtMost"):
        load_objective("constraint")
    with pytest.raises(
        InputError, match="count of at least 1 in AtMost for the field 'brand', but found 0"
    ):
        AtMost("brand", 0)
    with pytest.raises(InputError, match=r"found 'brnd'\. .* Did you mean 'brand'\?"):
        shares(AtMost("brnd", 1), sets)
    with pytest.raises(InputError, match=r"found 'prise'\. .* Did you mean 'price'\?"):
        shares(Budget("prise", 1), sets)
    with pytest.raises(InputError, match="numbers in column 'brand' of .* found 'ora'"):
        shares(Budget("brand", 1), sets)
    with pytest.raises(
        InputError,
        match=r"field 'category' \(coat, hat, shoe\), but found 'shoes'\. .* mean 'shoe'\?",
    ):
        shares(MustInclude("category", "shoes"), sets)
