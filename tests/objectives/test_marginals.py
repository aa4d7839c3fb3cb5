"""What a member adds, by each objective's own fast way, is the difference of two scores."""

import pytest
import torch
from r4t_objectives.constraint import AtMost, Budget, MustInclude, Rule
from r4t_objectives.coverage import found_without

from r4t.credit import smaller_sets
from r4t.geometry import normalize, take_turns
from r4t.objective import load_objective
from r4t.testing import example_sets

RULES = [AtMost("color", 1), Budget("price", 40), MustInclude("category", "hat")]


@pytest.fixture
def many_sets():
    """Forty sets of six: repeated items, missing members, one member, none, equal rankings."""
    sets, random = example_sets(3, members=6), torch.Generator().manual_seed(0)
    drawn = sets.select(torch.arange(40) % 4)
    rows = torch.randint(0, 12, (40, 6), generator=random) * 4  # repeats are frequent
    rows[torch.rand(rows.shape, generator=random) < 0.2] = -1
    rows[3], rows[7, 1:] = -1, -1
    mask = rows >= 0
    rankings = torch.randint(0, 50, (40, 6, 9), generator=random)
    rankings[5:10] = rankings[5:10, :1]  # all directions find the same
    rankings[..., 0] = rows
    rankings = rankings.masked_fill(~mask.unsqueeze(-1), -1)
    references = torch.randint(0, 50, (40, 5), generator=random)
    references[:, :3] = torch.randint(0, 12, (40, 3), generator=random) * 4
    return drawn.extended(
        items=rows,
        mask=mask,
        item_embeddings=sets.catalog.embeddings[rows.clamp(min=0)] * mask.unsqueeze(-1),
        directions=normalize(torch.randn(40, 6, 6, generator=random)) * mask.unsqueeze(-1),
        rankings=rankings,
        pool=take_turns(rankings, 8),
        references=references,
        facets=(torch.rand(40, 5, 4, generator=random) < 0.4).index_fill_(1, torch.tensor(0), True),
        texts=[["hat", "", "cap", "hat", "beach day", "sun"][: 1 + row % 6] for row in range(40)],
    )


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("alignment", {}),
        ("groundedness", {}),
        ("novelty", {}),
        ("distinctness", {}),
        ("diversity", {}),
        ("diversity", {"q": 0.5}),
        ("diversity", {"q": torch.inf}),
        ("complementarity", {}),
        ("complementarity", {"field": "color"}),
        ("coherence", {}),
        ("coherence", {"field": "tags"}),
        ("constraint", {"rules": RULES}),
        ("coverage", {}),
        ("coverage", {"cosine": 0.6}),
        ("facet_coverage", {}),
        ("specific_coverage", {"depth": 9, "anchors": 3}),
        ("specificity", {}),
        ("prompt_format", {}),
    ],
)
def test_they_are_those_of_the_smaller_sets(many_sets, name, arguments):
    objective = load_objective(name, **arguments)
    own = objective.marginals(many_sets).masked_fill(~many_sets.mask, 0.0)
    exact = smaller_sets(objective, many_sets, objective(many_sets))
    torch.testing.assert_close(own, exact.to(own), atol=2e-6, rtol=1e-5)
    assert exact.abs().max() > 0.01


def test_pools_are_read_as_deep_as_they_need(many_sets):
    """Against a pool made anew without each direction, for sizes up to more than there is."""
    rankings, references = many_sets.rankings, many_sets.references
    for size in (1, 3, 8, 20, 60):
        found = found_without(rankings, size, references)
        for place in range(6):
            rest = torch.arange(6) != place
            pool = take_turns(rankings[:, rest], size)
            expected = (references.unsqueeze(2) == pool.unsqueeze(1)).any(2).sum(1)
            assert found[:, place].tolist() == expected.tolist()


def test_a_rule_of_ones_own_may_read_everything(many_sets):
    class Full(Rule):
        """No member is missing."""

        def kept(self, sets, chosen):
            return sets.mask.sum(1) >= 4

    objective = load_objective("constraint", rules=[*RULES, Full()])
    assert objective.marginals(many_sets) is None


def test_a_pool_without_rankings_has_none(many_sets):
    assert load_objective("coverage").marginals(many_sets.extended(rankings=None)) is None
