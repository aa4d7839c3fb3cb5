"""The check of objectives passes a good one and names the rule that each broken one breaks."""

import math
import threading

import pytest
import torch
from r4t_objectives.diversity import Diversity

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import OPTIONAL, SetBatch
from r4t.testing import ContractError, check_objective, example_sets
from r4t.testing.examples import masked, members_at, moved_on, padded, repeated


class Presence(Objective):
    """Share of members that cost at most 12."""

    bounds = (0.0, 1.0)
    needs = frozenset({"catalog"})

    def score(self, sets):
        cheap = (sets.catalog.numbers("price") <= 12)[sets.items.clamp(min=0)]
        return (cheap & sets.mask).sum(-1) / sets.set_size


def test_a_good_objective_passes_as_object_class_and_name():
    check_objective(Presence())
    check_objective(Presence)
    check_objective("diversity")
    check_objective(Diversity, arguments={"q": 2.0})
    check_objective(Presence(), sets=[example_sets(7, members=6, width=4), example_sets(8)])


class Unbounded(Presence):
    """No highest score."""

    bounds = (0.0, math.inf)


class Unknown(Presence):
    """Needs a field that no sets have."""

    needs = frozenset({"pictures"})


class Undecided(Presence):
    """Leaves a flag open."""

    differentiable = None


class Undocumented(Presence):
    __doc__ = None


class Composite(Presence):
    """Has a reserved name."""


class Unread(Presence):
    """Reads the catalog without declaring it."""

    needs = frozenset()


class Beyond(Presence):
    """Exceeds its bounds."""

    def score(self, sets):
        return super().score(sets) * 3


class Holey(Presence):
    """Divides by zero if a set has one item."""

    def score(self, sets):
        distinct = torch.tensor([len(set(row) - {-1}) for row in sets.items.tolist()])
        return super().score(sets) * torch.where(distinct == 1, math.nan, 1.0)


class Alone(Presence):
    """Exceeds its bounds if all members are one item."""

    def score(self, sets):
        alike = sets.mask.all(-1) & (sets.items == sets.items[:, :1]).all(-1)
        return torch.where(alike, 2.0, super().score(sets))


class Empty(Presence):
    """Raises if no query has a member."""

    def score(self, sets):
        if len(sets) > 1 and not sets.mask.any():
            raise KeyError("season")
        return super().score(sets)


class Shapeless(Presence):
    """Returns a number."""

    def score(self, sets):
        return super().score(sets).mean()


class Raising(Presence):
    """Raises."""

    def score(self, sets):
        raise KeyError("season")


class Constant(Presence):
    """Gives every set the same score."""

    def score(self, sets):
        return sets.mask.any(-1) * 0.5


class Batchwise(Presence):
    """Compares a query with the rest of its batch."""

    def score(self, sets):
        scores = super().score(sets)
        return scores / scores.max().clamp(min=0.01)


class Ranked(Presence):
    """Weighs members by their position."""

    def score(self, sets):
        cheap = (sets.catalog.numbers("price") <= 12)[sets.items.clamp(min=0)] & sets.mask
        return (cheap / torch.arange(2, 2 + sets.set_size)).sum(-1) / 4


class Unmasked(Presence):
    """Counts missing members as the last item of the catalog."""

    def score(self, sets):
        named = torch.tensor(["9" in text for text in sets.catalog.texts])  # of 49 too
        return named[sets.items].sum(-1) / sets.set_size


class Meddling(Presence):
    """Changes what it reads."""

    def score(self, sets):
        sets.items.clamp_(min=0)
        sets.catalog.embeddings.mul_(0.5)
        return super().score(sets)


class Restless(Presence):
    """Draws at random."""

    def score(self, sets):
        return super().score(sets) * torch.rand(len(sets))


class Smooth(Objective):
    """Cosine of the members with the query, in [−1, 1]."""

    bounds = (-1.0, 1.0)
    differentiable = True

    def score(self, sets):
        cosine = torch.einsum("bkd,bd->bk", sets.item_embeddings, sets.query)
        return cosine.sum(-1) / sets.mask.sum(-1).clamp(min=1)


class Hidden(Smooth):
    """Has a gradient without declaring it."""

    differentiable = False


class Detached(Smooth):
    """Declares a gradient that it does not have."""

    def score(self, sets):
        return super().score(sets).detach()


class Flat(Smooth):
    """Has a gradient that is 0."""

    def score(self, sets):
        return super().score(sets).detach() + 0 * super().score(sets)


class Untrue(Smooth):
    """Has half of its true gradient."""

    def score(self, sets):
        return (super().score(sets).detach() + super().score(sets)) / 2


class Doubled(Presence):
    """Returns another number when called."""

    def __call__(self, sets):
        return 2 * super().__call__(sets)


class Columned(Presence):
    """Returns a column when called."""

    def __call__(self, sets):
        return super().__call__(sets).unsqueeze(-1)


class Counting(Presence):
    """Returns another number at each call."""

    calls = 0

    def __call__(self, sets):
        self.calls += 1
        return super().__call__(sets) / self.calls


class Terse(Presence):
    """Gives a reason for only one set."""

    def reasons(self):
        return ["because"]


class Unstorable(Presence):
    """Has facts that JSON cannot hold."""

    def facts(self):
        return {"tensor": torch.ones(1)}


class Locked(Presence):
    """Cannot be copied."""

    def __init__(self):
        self.lock = threading.Lock()


BROKEN = [
    (Unbounded, "declarations", r"declare bounds, .* but found \(0.0, inf\)\. Write, for example"),
    (
        Unknown,
        "declarations",
        r"found \['pictures'\] in its needs\. Choose from bank, catalog, dir",
    ),
    (Undecided, "declarations", "declare differentiable, but found None. Set it to True or False"),
    (Undocumented, "docstring", "say in its docstring what it measures, but found none. Write a"),
    (
        Composite,
        "name",
        "found 'composite'",
    ),
    (
        Unread,
        "fields",
        r"only the optional fields that it needs, but found Attr.* on sets with only \[\]\. Add",
    ),
    (
        Shapeless,
        "score",
        r"shape \(4,\), one score per query, but found \(\)\. Reduce over the members",
    ),
    (
        Raising,
        "score",
        "to pass the check 'score', but found KeyError: 'season'. See the traceback",
    ),
    (
        Beyond,
        "scoring",
        r"within \[0.0, 1.0\], but found 1.8.* happens with the sets given and sets of one item k times\.",
    ),
    (
        Holey,
        "scoring",
        r"found nan .* with the sets given, sets of one member and sets of one item k times\.",
    ),
    (
        Alone,
        "scoring",
        r"This happens with sets of one item k times\. See the policy .* of r4t.sets.SetBatch\.",
    ),
    (
        Empty,
        "scoring",
        "to score sets without a member, but found KeyError: 'season'. See the policy for such",
    ),
    (
        Constant,
        "distinction",
        "different scores, but found 0.5 for all 9 sets with members.* sets=",
    ),
    (
        Batchwise,
        "batch",
        r"a query alone as within a batch, but found .* and .*\. Score each query",
    ),
    (Ranked, "order", r"ignore the order of the members, but found .*\. Use sums, means"),
    (
        Unmasked,
        "missing members",
        r"ignore missing members, but found .* instead of .*\. Multiply by",
    ),
    (
        Meddling,
        "inputs",
        "the sets unchanged, but found items, catalog.embeddings changed. Work on",
    ),
    (Restless, "score", r"same sets alike each time, but found .* and .*\. Seed its random draws"),
    (Hidden, "gradient", "found one that it does not declare. Set differentiable = True"),
    (
        Detached,
        "gradient",
        "the gradient that differentiable declares, but found scores without one",
    ),
    (Flat, "gradient", "the gradient that differentiable declares, but found 0 everywhere"),
    (Untrue, "gradient", "but found other values than finite differences: .*Jacobian"),
    (
        Doubled,
        "use as reward",
        r"its weight multiplies its score, but found .* for weight 2 and .*\. Define score",
    ),
    (
        Columned,
        "use as filter",
        r"serve as a filter, .* found scores of shape \(4, 1\) for 4 sets\. D",
    ),
    (
        Counting,
        "use as metric",
        r"the mean of its scores, but found .* instead of .*\. Keep no state",
    ),
    (Terse, "reasons", "or one for each set of the last call, but found 1 for 4 sets. Correct"),
    (Unstorable, "facts", "facts that JSON can hold, but found .*Tensor.* Return numbers"),
    (Locked, "copies", "by copy.deepcopy or pickle, .* found TypeError: .*lock.* Define its class"),
]


@pytest.mark.parametrize("broken, rule, sentence", BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_a_broken_objective_is_reported_by_its_rule(broken, rule, sentence):
    with pytest.raises(ContractError, match=sentence) as caught:
        check_objective(broken())
    assert rule in caught.value.faults
    sentences = [line for lines in caught.value.faults.values() for line in lines]
    assert str(caught.value).split("\n")[1:] == sentences
    others = {
        Doubled: {"scoring"},
        Columned: {"use as reward", "use as metric"},
        Counting: {"use as reward", "use as filter"},
    }
    assert set(caught.value.faults) - {rule} <= others.get(broken, set())


def test_one_error_reports_every_broken_rule():
    class Three(Ranked):
        def reasons(self):
            return ["because"]

    with pytest.raises(ContractError, match=r"'three' breaks 4 rule\(s\)") as caught:
        check_objective(Three)
    assert list(caught.value.faults) == ["docstring", "order", "copies", "reasons"]
    assert "Can't" in caught.value.faults["copies"][0]  # pickle a local class


def test_one_fault_is_reported_once():
    class Negative(Presence):
        """Is below its bounds for every set, by different amounts."""

        def score(self, sets):
            return super().score(sets) - 2

    with pytest.raises(ContractError) as caught:
        check_objective(Negative)
    (sentence,) = caught.value.faults["scoring"]
    assert sentence.startswith(
        "Expected objective 'negative' to return finite scores within [0.0, "
    )
    assert sentence.endswith(
        " Correct its score() or its bounds. This happens with the sets given, sets of one member "
        "and sets of one item k times."
    )


def test_what_the_objective_raises_is_the_cause():
    with pytest.raises(ContractError) as caught:
        check_objective(Raising)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_partial_objective_may_return_nan():
    class Silent(Presence):
        """Leaves some sets unscored."""

        partial = True

        def score(self, sets):
            scores = super().score(sets)
            return torch.where(scores > 0.7, math.nan, scores)

    with pytest.raises(ContractError) as caught:
        check_objective(Silent)
    assert list(caught.value.faults) == ["copies"]  # a local class
    Silent.partial = False
    with pytest.raises(
        ContractError, match="finite scores .* but found nan .* happens with sets of one item"
    ):
        check_objective(Silent)


def test_sets_and_columns_of_ones_own():
    class InSeason(Objective):
        """Share of the members of this season."""

        bounds = (0.0, 1.0)
        needs = frozenset({"catalog"})

        def score(self, sets):
            codes, values = sets.catalog.codes("season")
            return ((codes == values.index("summer"))[sets.items.clamp(min=0)] & sets.mask).sum(
                -1
            ) / sets.set_size

    sets = example_sets(columns={"season": ["summer", None, "winter"]})
    with pytest.raises(ContractError) as caught:
        check_objective(InSeason, sets=sets)
    assert list(caught.value.faults) == ["copies"]
    with pytest.raises(ContractError, match="metadata columns .* found 'season'. Choose one"):
        check_objective(InSeason)
    bare = SetBatch(sets.query, sets.items, sets.item_embeddings, sets.mask)
    with pytest.raises(ContractError, match=r"found sets without \['catalog'\]\. Pass .*sets="):
        check_objective(InSeason, sets=bare)


def test_the_right_score_of_a_longer_set_may_be_passed():
    class Pairs(Objective):
        """Share of the k(k − 1)/2 pairs that are present."""

        bounds = (0.0, 1.0)

        def score(self, sets):
            count, k = sets.mask.sum(-1), sets.set_size
            return count * (count - 1) / (k * (k - 1))

    with pytest.raises(
        ContractError, match=r"found \[0.6667, 0.0, 0.4\] instead of \[1.0, 0.0, 0.6\] or "
    ):
        check_objective(Pairs)
    with pytest.raises(ContractError) as caught:
        check_objective(Pairs, padded=lambda scores, sets: scores * 4 / 6)
    assert list(caught.value.faults) == ["copies"]


def test_an_object_takes_no_arguments():
    with pytest.raises(
        InputError, match="class or installed name with arguments, .*Diversity.* with"
    ):
        check_objective(Diversity(), arguments={"q": 2.0})


class Costly(Presence):
    """Needs a limit."""

    def __init__(self, limit, field="price"):
        if limit <= 0:
            raise TypeError("of its own")


def test_a_class_is_built_with_its_arguments():
    check_objective(Costly, arguments={"limit": 3})
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'limit'"):
        check_objective(Costly)
    with pytest.raises(TypeError, match="unexpected keyword argument 'fields'"):
        check_objective(Costly, arguments={"limit": 3, "fields": "cost"})
    with pytest.raises(TypeError, match="of its own"):  # its own traceback helps most
        check_objective(Costly, arguments={"limit": 0})


def test_anything_but_an_objective_is_refused():
    sentence = (
        "an objective, or its class or installed name with .* but found {}. Pass one of these"
    )
    for other in (3, dict, None):
        with pytest.raises(InputError, match=sentence.format(other)):
            check_objective(other)

    class Bare(Objective):
        """Defines no score."""

        bounds = (0.0, 1.0)

    with pytest.raises(TypeError, match="abstract class Bare .*score"):
        check_objective(Bare)


def test_there_must_be_sets():
    with pytest.raises(
        InputError,
        match="sets to check the objective on, but found an empty list. .* leave sets= out",
    ):
        check_objective(Diversity(), sets=[])


def test_example_sets_are_seeded_and_whole():
    one, again, other = example_sets(3), example_sets(3), example_sets(4)
    assert torch.equal(one.items, again.items)
    assert torch.equal(one.item_embeddings, again.item_embeddings)
    assert not torch.equal(one.items, other.items)
    assert one.mask.sum(-1).tolist() == [5, 0, 1, 4]
    assert one.present == OPTIONAL
    assert one.items[3, 0] == one.items[3, 3]
    assert one.catalog.numbers("price")[one.items[3, 4]].isnan()
    embeddings = one.catalog.embeddings[one.items.clamp(min=0)]
    assert torch.equal(one.item_embeddings, embeddings * one.mask.unsqueeze(-1))
    with pytest.raises(InputError, match="members .*at least 4.*found 3"):
        example_sets(members=3)
    with pytest.raises(
        InputError, match="each column of the example catalog, but found none for 'season'. Pass"
    ):
        example_sets(columns={"season": []})


def test_variants_of_sets_by_hand():
    sets = example_sets(0)
    turned = members_at(sets, torch.arange(4, -1, -1).expand(4, -1))
    assert turned.items.tolist() == [row[::-1] for row in sets.items.tolist()]
    assert turned.texts[2] == ["", "", "", "boots", ""]
    assert padded(sets).items[:, :5].equal(sets.items)
    assert padded(sets).items[:, 5].tolist() == [-1] * 4
    only = masked(sets, torch.tensor([[True] + [False] * 4] * 4))
    assert only.mask.sum(-1).tolist() == [1, 0, 0, 1]
    assert (only.item_embeddings[0, 1:] == 0).all()
    copies = repeated(sets)
    assert copies.items[0].tolist() == sets.items[0, :1].tolist() * 5
    assert copies.items[2].tolist() == sets.items[2, 1:2].tolist() * 5  # its only member
    assert copies.texts == [["hat"] * 5, [""] * 5, ["boots"] * 5, ["a"] * 5]
    assert copies.mask.sum(-1).tolist() == [5, 0, 5, 5]


@pytest.mark.parametrize("limit", [5, 12, 20, 30])
@pytest.mark.parametrize("clamped", [True, False])
def test_an_unmasked_member_is_found_whatever_it_costs(limit, clamped):
    class Careless(Objective):
        """Share of cheap members, missing ones included."""

        bounds = (0.0, 1.0)
        needs = frozenset({"catalog"})

        def score(self, sets):
            rows = sets.items.clamp(min=0) if clamped else sets.items
            return (sets.catalog.numbers("price") < limit)[rows].float().mean(-1)

    with pytest.raises(ContractError) as caught:
        check_objective(Careless())
    assert "missing members" in caught.value.faults


def test_moving_the_rows_keeps_the_items_of_the_sets():
    sets = example_sets()
    moved = moved_on(sets, 7)
    mask = sets.mask
    for name in ("category", "price"):
        was, now = (one.catalog.column(name) for one in (sets, moved))
        assert [was[row] for row in sets.items[mask]] == [now[row] for row in moved.items[mask]]
    assert torch.equal(moved.catalog.embeddings[moved.items[mask]], sets.item_embeddings[mask])
    counts = [one.popularity.counts[one.items[mask]].tolist() for one in (sets, moved)]
    assert counts[0] == counts[1]
    assert moved.catalog.column("price")[-1] != sets.catalog.column("price")[-1]
