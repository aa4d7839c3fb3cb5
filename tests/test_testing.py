"""The check for objectives: a good one passes, each broken one is told by its rule."""

import math
import threading

import pytest
import torch
from r4t_objectives.diversity import Diversity

from r4t.errors import InputError
from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t.testing import ContractError, check_objective, example_sets
from r4t.testing.examples import masked, moved_on, padded, reordered, repeated


class Presence(Objective):
    """Share of members that are there and cost at most 12."""

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
    """Needs what no sets have."""

    needs = frozenset({"pictures"})


class Undecided(Presence):
    """Declares no flag."""

    differentiable = None


class Undocumented(Presence):
    __doc__ = None


class Composite(Presence):
    """Has a name that means something else."""


class Unread(Presence):
    """Reads the catalog and does not say so."""

    needs = frozenset()


class Beyond(Presence):
    """Exceeds its bounds."""

    def score(self, sets):
        return super().score(sets) * 3


class Holey(Presence):
    """Divides by nothing where a set is of one item."""

    def score(self, sets):
        distinct = torch.tensor([len(set(row) - {-1}) for row in sets.items.tolist()])
        return super().score(sets) * torch.where(distinct == 1, math.nan, 1.0)


class Alone(Presence):
    """Exceeds its bounds where all members are one item."""

    def score(self, sets):
        alike = sets.mask.all(-1) & (sets.items == sets.items[:, :1]).all(-1)
        return torch.where(alike, 2.0, super().score(sets))


class Empty(Presence):
    """Raises where no query has a member."""

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
    """Says the same of every set."""

    def score(self, sets):
        return sets.mask.any(-1) * 0.5


class Batchwise(Presence):
    """Compares a query with the others of its batch."""

    def score(self, sets):
        scores = super().score(sets)
        return scores / scores.max().clamp(min=0.01)


class Ranked(Presence):
    """Weights members by their place."""

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
    """Has a gradient and does not say so."""

    differentiable = False


class Detached(Smooth):
    """Has none and says that it has."""

    def score(self, sets):
        return super().score(sets).detach()


class Flat(Smooth):
    """Has a gradient that is 0."""

    def score(self, sets):
        return super().score(sets).detach() + 0 * super().score(sets)


class Untrue(Smooth):
    """Has a gradient of half its length."""

    def score(self, sets):
        return (super().score(sets).detach() + super().score(sets)) / 2


class Doubled(Presence):
    """Is called otherwise than it scores."""

    def __call__(self, sets):
        return 2 * super().__call__(sets)


class Columned(Presence):
    """Answers in a column when it is called."""

    def __call__(self, sets):
        return super().__call__(sets).unsqueeze(-1)


class Counting(Presence):
    """Answers otherwise each time that it is called."""

    calls = 0

    def __call__(self, sets):
        self.calls += 1
        return super().__call__(sets) / self.calls


class Terse(Presence):
    """Gives a reason for one set only."""

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
    (Unbounded, "declarations", r"both finite — found \(0.0, inf\); write for instance bounds"),
    (
        Unknown,
        "declarations",
        r"needs \['pictures'\], which no SetBatch has — .*correct its 'needs'",
    ),
    (Undecided, "declarations", "declare differentiable as True or False — found None — write"),
    (Undocumented, "docstring", "first line of its docstring .* — found none — write one"),
    (
        Composite,
        "name",
        "no other meaning in logs and tables, but found 'composite'.*Choose another",
    ),
    (
        Unread,
        "fields",
        r"but its needs, \[\] — found AttributeError .* — add what it reads to needs",
    ),
    (Shapeless, "score", r"shape \(4,\), one score a query — found \(\); reduce over the members"),
    (
        Raising,
        "score",
        "must pass the check 'score' — found KeyError: 'season' — see the traceback",
    ),
    (
        Beyond,
        "scoring",
        r"within \[0.0, 1.0\] — found 1.8.* Found with the sets given and sets of one item k times\.",
    ),
    (
        Holey,
        "scoring",
        r"found nan .* Found with the sets given, sets of one member and sets of one item k times\.",
    ),
    (
        Alone,
        "scoring",
        r"Found with sets of one item k times — see the policy .* of r4t.sets.SetBatch\.",
    ),
    (
        Empty,
        "scoring",
        "must score sets without a member — found KeyError: 'season' — see the policy for such",
    ),
    (Constant, "difference", "must tell sets apart — found 0.5 for all 9 that have .*sets="),
    (Batchwise, "batch", "score a query alone as within a batch — found .* — let no query see"),
    (Ranked, "order", "not depend on the order of the members — found .* — use sums, means"),
    (Unmasked, "missing members", r"must not count a missing member.* — found .* — multiply by"),
    (Meddling, "inputs", "as they are — found items, catalog.embeddings changed — work on a copy"),
    (Restless, "score", "the same sets alike each time — found .* and .* — seed what it draws"),
    (Hidden, "gradient", "found differentiable = False, and scores with a gradient — declare True"),
    (Detached, "gradient", "the gradient that it declares — found scores without one — compute"),
    (Flat, "gradient", "the gradient that it declares — found 0 everywhere — use smooth"),
    (Untrue, "gradient", "equals finite differences in float64 — found .*Jacobian.* — compute in"),
    (
        Doubled,
        "reward door",
        "its score times its weight — found .* for weight 2 .* — define score",
    ),
    (
        Columned,
        "filter door",
        r"serve as a filter: .* — found \(4, 1\) numbers for 4 sets — define",
    ),
    (Counting, "metric door", "the mean of its scores, .* — found .* — keep nothing from one call"),
    (Terse, "facts and reasons", "one reason for each of the 4 sets .* — found 1 — write reasons"),
    (
        Unstorable,
        "facts and reasons",
        "facts that JSON can hold — found .*Tensor.* — return numbers",
    ),
    (Locked, "copies", "must survive pickle.* — found TypeError .*lock.* — define its class"),
]


@pytest.mark.parametrize("broken, rule, sentence", BROKEN, ids=[row[0].__name__ for row in BROKEN])
def test_a_broken_one_is_told_by_its_rule(broken, rule, sentence):
    with pytest.raises(ContractError, match=sentence) as caught:
        check_objective(broken())
    assert rule in caught.value.faults
    told = [line for lines in caught.value.faults.values() for line in lines]
    assert str(caught.value).split("\n")[1:] == told
    others = {
        Doubled: {"scoring"},
        Columned: {"reward door", "metric door"},
        Counting: {"reward door", "filter door"},
    }
    assert set(caught.value.faults) - {rule} <= others.get(broken, set())


def test_all_that_is_broken_is_told_at_once():
    class Three(Ranked):
        def reasons(self):
            return ["because"]

    with pytest.raises(ContractError, match=r"'three' breaks 4 rule\(s\)") as caught:
        check_objective(Three)
    assert list(caught.value.faults) == ["docstring", "order", "copies", "facts and reasons"]
    assert "Can't" in caught.value.faults["copies"][0]  # pickle a class of a function


def test_one_fault_is_told_once():
    class Negative(Presence):
        """Is below its bounds whatever the set, and otherwise in each."""

        def score(self, sets):
            return super().score(sets) - 2

    with pytest.raises(ContractError) as caught:
        check_objective(Negative)
    (told,) = caught.value.faults["scoring"]
    assert told.startswith("Objective 'negative' must return finite scores within [0.0, 1.0] — ")
    assert told.endswith(
        "; correct its score() or bounds. Found with the sets given, sets of one member and sets of "
        "one item k times."
    )


def test_what_it_raises_is_the_cause():
    with pytest.raises(ContractError) as caught:
        check_objective(Raising)
    assert isinstance(caught.value.__cause__, KeyError)


def test_nan_where_it_is_declared():
    class Silent(Presence):
        """Has no answer about some sets."""

        partial = True

        def score(self, sets):
            scores = super().score(sets)
            return torch.where(scores > 0.7, math.nan, scores)

    with pytest.raises(ContractError) as caught:
        check_objective(Silent)
    assert list(caught.value.faults) == ["copies"]  # a class of a function
    Silent.partial = False
    with pytest.raises(
        ContractError, match="finite scores .* — found nan .* Found with sets of one item"
    ):
        check_objective(Silent)


def test_own_sets_and_columns():
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
    with pytest.raises(ContractError, match="metadata columns .* — found no 'season' — name one"):
        check_objective(InSeason)
    bare = SetBatch(sets.query, sets.items, sets.item_embeddings, sets.mask)
    with pytest.raises(ContractError, match=r"found sets without \['catalog'\] — give .*sets="):
        check_objective(InSeason, sets=bare)


def test_the_score_of_a_longer_set_may_be_told():
    class Pairs(Objective):
        """Share of the k(k − 1)/2 pairs that are there."""

        bounds = (0.0, 1.0)

        def score(self, sets):
            there, k = sets.mask.sum(-1), sets.set_size
            return there * (there - 1) / (k * (k - 1))

    with pytest.raises(
        ContractError, match=r"\[1.0, 0.0, 0.6\] or .* — found \[0.6667, 0.0, 0.4\]"
    ):
        check_objective(Pairs)
    with pytest.raises(ContractError) as caught:
        check_objective(Pairs, padded=lambda scores, sets: scores * 4 / 6)
    assert list(caught.value.faults) == ["copies"]


def test_arguments_belong_to_a_class():
    with pytest.raises(InputError, match="found them beside an object, 'diversity' — leave them"):
        check_objective(Diversity(), arguments={"q": 2.0})


class Costly(Presence):
    """Must be told a limit."""

    def __init__(self, limit, field="price"):
        if limit <= 0:
            raise TypeError("of its own")


def test_a_class_is_built_with_what_it_needs():
    check_objective(Costly, arguments={"limit": 3})
    sentence = (
        r"^Class Costly is built with the arguments \(limit, field='price'\) — found {} — give "
        r'arguments={{"limit": ...}}, or one built\.$'
    )
    with pytest.raises(InputError, match=sentence.format("missing a required argument: 'limit'")):
        check_objective(Costly)
    wrong = {"limit": 3, "fields": "cost"}
    with pytest.raises(
        InputError, match="found got an unexpected keyword argument 'fields' — give"
    ):
        check_objective(Costly, arguments=wrong)
    with pytest.raises(TypeError, match="of its own"):  # its traceback is what helps
        check_objective(Costly, arguments={"limit": 0})


def test_what_is_no_objective_is_refused():
    sentence = "an Objective class, or one built, or the name .* — found {} — give one of these"
    for other in (3, dict, None):
        with pytest.raises(InputError, match=sentence.format(other)):
            check_objective(other)

    class Bare(Objective):
        """Defines no score."""

        bounds = (0.0, 1.0)

    with pytest.raises(
        InputError, match=r"defines score\(\) — found class Bare without score\(\) —"
    ):
        check_objective(Bare)


def test_there_must_be_sets():
    with pytest.raises(InputError, match="on sets — found an empty list of them — leave sets= out"):
        check_objective(Diversity(), sets=[])


def test_example_sets_are_seeded_and_whole():
    one, again, other = example_sets(3), example_sets(3), example_sets(4)
    assert torch.equal(one.items, again.items)
    assert torch.equal(one.item_embeddings, again.item_embeddings)
    assert not torch.equal(one.items, other.items)
    assert one.mask.sum(-1).tolist() == [5, 0, 1, 4]
    assert len(one.present) == 7
    assert one.items[3, 0] == one.items[3, 3]
    assert one.catalog.numbers("price")[one.items[3, 4]].isnan()
    embeddings = one.catalog.embeddings[one.items.clamp(min=0)]
    assert torch.equal(one.item_embeddings, embeddings * one.mask.unsqueeze(-1))
    with pytest.raises(InputError, match="members must be at least 4, found 3; raise it"):
        example_sets(members=3)
    with pytest.raises(InputError, match="needs a value at least — found none for 'season' — give"):
        example_sets(columns={"season": []})


def test_variants_of_sets_by_hand():
    sets = example_sets(0)
    turned = reordered(sets, [4, 3, 2, 1, 0])
    assert turned.items.tolist() == [row[::-1] for row in sets.items.tolist()]
    assert turned.texts[2] == ["", "", "", "boots", ""]
    assert padded(sets).items[:, :5].equal(sets.items)
    assert padded(sets).items[:, 5].tolist() == [-1] * 4
    only = masked(sets, torch.tensor([[True] + [False] * 4] * 4))
    assert only.mask.sum(-1).tolist() == [1, 0, 0, 1]
    assert (only.item_embeddings[0, 1:] == 0).all()
    alike = repeated(sets)
    assert alike.items[0].tolist() == sets.items[0, :1].tolist() * 5
    assert alike.items[2].tolist() == sets.items[2, 1:2].tolist() * 5  # its only member
    assert alike.texts == [["hat"] * 5, [], ["boots"] * 5, ["a"] * 5]
    assert alike.mask.sum(-1).tolist() == [5, 0, 5, 5]


@pytest.mark.parametrize("limit", [5, 12, 20, 30])
@pytest.mark.parametrize("clamped", [True, False])
def test_a_stray_member_is_found_whatever_it_costs(limit, clamped):
    class Careless(Objective):
        """Share of cheap members, the missing ones among them."""

        bounds = (0.0, 1.0)
        needs = frozenset({"catalog"})

        def score(self, sets):
            rows = sets.items.clamp(min=0) if clamped else sets.items
            return (sets.catalog.numbers("price") < limit)[rows].float().mean(-1)

    with pytest.raises(ContractError) as caught:
        check_objective(Careless())
    assert "missing members" in caught.value.faults


def test_rows_that_move_leave_the_sets_as_they_are():
    sets = example_sets()
    moved = moved_on(sets, 7)
    there = sets.mask
    for name in ("category", "price"):
        was, now = (one.catalog.column(name) for one in (sets, moved))
        assert [was[row] for row in sets.items[there]] == [now[row] for row in moved.items[there]]
    assert torch.equal(moved.catalog.embeddings[moved.items[there]], sets.item_embeddings[there])
    counts = [one.popularity.counts[one.items[there]].tolist() for one in (sets, moved)]
    assert counts[0] == counts[1]
    assert moved.catalog.column("price")[-1] != sets.catalog.column("price")[-1]
