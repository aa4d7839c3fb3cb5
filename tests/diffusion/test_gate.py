"""What retrievers lose against a reference, by hand, where ratios break, and measured as deployed."""

import math

import pytest
import torch

from r4t.choice import BestRows, QueryTime
from r4t.data.queries import Query
from r4t.diffusion.gate import Deployed, GateReport, Measured, allowed_losses, compare
from r4t.errors import InputError
from r4t.reward import Reward

RANGES = {"composite": (-1.0, 1.0), "vendi": (1.0, 5.0)}


def report(max_loss=0.3, ranges=RANGES, **by_name):
    """The first is the reference; values by measure, a list each."""
    measured = {
        name: Measured({m: torch.tensor(v) for m, v in values.items()}, 4)
        for name, values in by_name.items()
    }
    return GateReport(next(iter(by_name)), measured, ranges, allowed_losses(max_loss))


TEACHER = {"composite": [0.2, 0.8], "vendi": [3.0, 3.0]}


def test_losses_by_hand():
    both = report(
        teacher=TEACHER,
        student={"composite": [0.1, 0.7], "vendi": [2.9, 3.0]},
        hybrid={"composite": [0.2, 0.7], "vendi": [3.1, 3.1]},
    )
    # Deviation of 0.2 and 0.8: √(2 · 0.3²) = 0.424. Vendi does not vary: a twentieth of 4, 0.2.
    assert both.scale("composite") == pytest.approx(0.18**0.5)
    assert both.scale("vendi") == pytest.approx(0.2)
    assert both.losses("student") == pytest.approx({"composite": 0.1 / 0.18**0.5, "vendi": 0.25})
    assert both.losses("hybrid") == pytest.approx({"composite": 0.05 / 0.18**0.5, "vendi": -0.5})
    assert (both.best, both.failed) == ("hybrid", [])
    assert str(both) == (
        "On 2 validation queries the teacher (4 evaluations) is ahead by: the student (4 evaluations) "
        "+0.24 in composite and +0.25 in vendi; the hybrid (4 evaluations) +0.12 in composite and "
        "-0.50 in vendi. One unit is 0.424 in composite, 0.2 in vendi; at most 0.3 in composite "
        "and 0.3 in vendi are allowed"
    )
    facts = both.facts()
    assert (facts["reference"], facts["best"], facts["queries"]) == ("teacher", "hybrid", 2)
    assert facts["teacher"] == pytest.approx({"composite": 0.5, "vendi": 3.0, "evaluations": 4})
    assert facts["student"]["lost"] == both.losses("student")
    # The largest loss decides: the student's 0.25 in Vendi is too much for a gate of 0.24.
    alone = {"teacher": TEACHER, "student": {"composite": [0.1, 0.7], "vendi": [2.9, 3.0]}}
    assert report(0.25, **alone).failed == []
    assert report(0.24, **alone).failed == ["vendi"]
    # Each measure has its own limit: 0.236 of composite, 0.25 of Vendi.
    assert report({"composite": 0.24, "vendi": 2.0}, **alone).failed == []
    assert report({"composite": 0.23, "vendi": 2.0}, **alone).failed == ["composite"]
    assert report({"composite": 0.0, "vendi": 0.0}, **alone).failed == ["composite", "vendi"]
    found = report({"composite": 0.5, "vendi": 0.0}, **alone).facts()
    assert (found["passed"], found["failed"]) == (False, ["vendi"])
    assert found["max_loss"] == {"composite": 0.5, "vendi": 0.0}


def test_the_best_exceeds_its_limits_least():
    # Losses: the student .24 and .25, the hybrid 0 and .1/.2 = .5.
    both = {
        "teacher": TEACHER,
        "student": {"composite": [0.1, 0.7], "vendi": [2.9, 3.0]},
        "hybrid": {"composite": [0.2, 0.8], "vendi": [2.9, 2.9]},
    }
    assert report(0.0, **both).best == "student"
    found = report({"composite": 0.0, "vendi": 1.0}, **both)
    assert (found.best, found.failed) == ("hybrid", [])
    assert found.excess("student") == pytest.approx({"composite": 0.1 / 0.18**0.5, "vendi": -0.75})


@pytest.mark.parametrize(
    "max_loss, message",
    [
        (-0.1, r"max_loss to be at least 0, but found -0\.1"),
        ({"composite": 0.0, "vendi": -2.0}, r"max_loss of vendi to be at least 0, but found -2\.0"),
        (
            {"composite": 0.0, "vendy": 2.0},
            "for composite and vendi, .* found it for composite, vendy",
        ),
        ({"vendi": 2.0}, "or one number for both, but found it for vendi. Write max_loss"),
        ({}, "found it for nothing"),
    ],
)
def test_limits_that_do_not_fit_are_refused(max_loss, message):
    with pytest.raises(InputError, match=message):
        allowed_losses(max_loss)
    assert allowed_losses({"vendi": 2, "composite": 0.5}) == {"composite": 0.5, "vendi": 2}


def test_the_first_among_equals_is_best():
    assert report(teacher=TEACHER, student=TEACHER, hybrid=TEACHER).best == "student"


def test_a_loss_does_not_depend_on_where_zero_is():
    """A ratio let −0.40 pass as four times −0.10, and divided by a teacher's 0."""
    worse = report(teacher={"composite": [-0.1, -0.1]}, student={"composite": [-0.4, -0.4]},
                   ranges={"composite": (-1.0, 1.0)})  # fmt: skip
    assert worse.losses("student") == {"composite": pytest.approx(0.3 / 0.1)}
    assert worse.failed == ["composite"]
    zero = report(teacher={"composite": [0.0, 0.0]}, student={"composite": [0.0, 0.02]},
                  ranges={"composite": (-1.0, 1.0)})  # fmt: skip
    assert zero.losses("student") == {"composite": pytest.approx(-0.1)}
    assert zero.failed == []
    for shift in (-0.3, 0.0, 0.25):
        moved = {
            name: {"composite": [x + shift for x in values["composite"]]}
            for name, values in (("teacher", TEACHER), ("student", {"composite": [0.1, 0.5]}))
        }
        of_shift = report(ranges={"composite": (-1.0, 1.0)}, **moved).losses("student")
        assert of_shift["composite"] == pytest.approx(0.2 / 0.18**0.5, rel=1e-5)


def test_the_largest_loss_possible_is_twenty():
    worst = report(20, teacher={"composite": [1.0], "vendi": [5.0]},
                   student={"composite": [-1.0], "vendi": [1.0]})  # fmt: skip
    assert worst.losses("student") == pytest.approx({"composite": 20.0, "vendi": 20.0})
    assert worst.failed == []


def test_a_range_without_width_loses_nothing():
    one = {"composite": [0.5, 0.6], "vendi": [1.0, 1.0]}  # sets of one item
    ranges = {"composite": (0.0, 1.0), "vendi": (1.0, 1.0)}
    assert report(ranges=ranges, teacher=one, student=one).losses("student")["vendi"] == 0.0


def test_queries_without_a_value_are_left_out_and_no_value_at_all_fails():
    nan = math.nan
    found = report(teacher={"composite": [0.5, 0.5, nan]}, student={"composite": [0.45, nan, 0.0]},
                   ranges={"composite": (0.0, 1.0)})  # fmt: skip
    assert found.losses("student") == {"composite": pytest.approx(1.0)}
    nothing = report(20, teacher={"composite": [0.5]}, student={"composite": [nan]},
                     ranges={"composite": (0.0, 1.0)})  # fmt: skip
    assert nothing.losses("student") == {"composite": math.inf}
    assert nothing.failed == ["composite"]


class Fixed(torch.nn.Module):
    """Draws as many rows as given, the first ones for the even draws, the last ones for the odd."""

    set_size = 2

    def __init__(self, ways):
        super().__init__()
        self.ways = torch.nn.Parameter(torch.tensor(ways))
        self.count = 0

    def evaluations(self):
        return 3

    def forward(self, query, seeds):
        halves = [self.ways[:2], self.ways[2:]]
        return torch.stack([halves[n % 2] for n in range(len(seeds))]).detach()


def test_retrievers_are_measured_as_they_answer(plane):
    """Items lie at 0 and 90 degrees, among others."""
    east, north = [1.0, 0.0], [0.0, 1.0]
    generator = Fixed([east, east, north, north])
    choice = BestRows(Reward({"diversity": 1.0}), draws=2)
    queries, reward = [Query("1", "east", "")], Reward({"alignment": 1.0})
    plain = Deployed(generator, QueryTime(), plane)
    chosen = Deployed(generator, QueryTime(choice), plane, size=2)
    assert (plain.evaluations, chosen.evaluations) == (3, 6)
    found = compare("plain", {"plain": plain, "chosen": chosen}, plane, reward, queries, 1.0)
    # Twice east: Vendi 1 and cosine 1. With the choice east and north: Vendi 2, cosines 1 and 0.
    assert found.measured["plain"].mean("vendi") == pytest.approx(1.0, abs=1e-5)
    assert found.measured["chosen"].mean("vendi") == pytest.approx(2.0, abs=1e-5)
    assert found.measured["plain"].mean("composite") == pytest.approx(1.0, abs=1e-6)
    assert found.measured["chosen"].mean("composite") == pytest.approx(0.5, abs=1e-6)
    assert found.ranges == {"composite": reward.bounds, "vendi": (1.0, 2.0)}
    with pytest.raises(
        InputError, match=r"read only .* in the gate's composite, but found .* read \['pool', 'r"
    ):
        compare("plain", {"plain": plain}, plane, Reward({"coverage": 1.0}), queries, 1.0)


def test_the_vendi_score_is_that_of_what_users_get(plane, monkeypatch):
    """Both directions find item a, at 0 degrees; a pool follows with b at 10 and c at 30 degrees."""
    generator, queries = Fixed([[1.0, 0.0]] * 4), [Query("1", "east", "")]

    def spread(pool_size):
        plain = Deployed(generator, QueryTime(), plane, pool_size, size=2)
        reward = Reward({"alignment": 1.0})
        found = compare("plain", {"plain": plain}, plane, reward, queries, 1.0)
        return found.measured["plain"].mean("vendi")

    def vendi_of(degrees):  # of two items: eigenvalues (1 ± cos) / 2
        shares = [(1 + sign * math.cos(math.radians(degrees))) / 2 for sign in (1, -1)]
        return math.exp(-sum(share * math.log(share) for share in shares))

    assert spread(None) == pytest.approx(1.0, abs=1e-5)
    assert spread(4) == pytest.approx(vendi_of(10), abs=1e-5)
    variants = torch.tensor([0, 0, 1, 2, 3, 4])  # a and b are one product
    monkeypatch.setattr(type(plane.catalog), "variants", lambda self: variants)
    assert spread(4) == pytest.approx(vendi_of(30), abs=1e-5)
