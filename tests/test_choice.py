import itertools

import torch

from r4t.choice import best_members
from r4t.reward import Reward


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=-1)


def test_the_greedy_choice_by_hand(sets_from):
    # Groundedness 1, 1, 1 - 0.4, ...: the first two members lie on their items but are the same
    # item; diversity makes the third the better second choice.
    items = [[[1, 0, 0], [1, 0, 0], [0, 1, 0]]]
    near = [0, 0.92, (1 - 0.92**2) ** 0.5]  # at distance 0.4 from (0, 1, 0)
    sets = sets_from([[[1, 0, 0], [1, 0, 0], near]], items)
    diverse = Reward({"groundedness": 0.5, "diversity": 0.5})
    assert best_members(sets, lambda s: diverse(s)[0], 2).tolist() == [[0, 2]]
    grounded = Reward({"groundedness": 1.0})
    assert best_members(sets, lambda s: grounded(s)[0], 2).tolist() == [[0, 1]]


def test_each_choice_is_the_best_next_member(sets_from):
    sets = sets_from(unit(2, 6, 4).tolist(), unit(2, 6, 4, seed=1).tolist())
    reward = Reward({"groundedness": 0.6, "diversity": 0.2, "alignment": 0.2})
    found = best_members(sets, lambda s: reward(s)[0], 3)
    for row, chosen in enumerate(found.tolist()):
        alone = sets.select(torch.tensor([row]))
        for step in range(3):
            options = {}
            for member in set(range(6)) - set(chosen[:step]):
                keep = [*chosen[:step], member]
                tried = sets_from(
                    alone.directions[:, keep].tolist(), alone.item_embeddings[:, keep].tolist()
                )
                options[member] = reward(tried)[0].item()
            assert chosen[step] == max(options, key=options.get)


def test_the_choice_of_all_but_one_equals_trying_all_for_a_sum(sets_from):
    sets = sets_from(unit(1, 5, 4, seed=2).tolist(), unit(1, 5, 4, seed=3).tolist())
    reward = Reward({"groundedness": 1.0})  # a mean of members: greedy is optimal
    found = set(best_members(sets, lambda s: reward(s)[0], 4)[0].tolist())
    values = 1 - (sets.directions - sets.item_embeddings).norm(dim=-1)[0]
    best = max(
        itertools.combinations(range(5), 4), key=lambda keep: values[list(keep)].sum().item()
    )
    assert found == set(best)


def test_missing_members_are_chosen_last(sets_from):
    sets = sets_from(unit(1, 4, 3).tolist(), unit(1, 4, 3).tolist(), mask=[[0, 1, 0, 1]])
    found = best_members(sets, lambda s: s.mask.float().sum(-1), 3)[0].tolist()
    assert set(found[:2]) == {1, 3}
    assert found[2] in (0, 2)
