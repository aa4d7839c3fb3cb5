"""What is tried around a direction: its distribution, its log-probability and its divergence."""

import math

import pytest
import torch

from r4t.diffusion.exploration import GaussianNoise, ItemSampling
from r4t.errors import InputError
from r4t.geometry import normalize

ITEMS = torch.eye(3)
MEANS = torch.tensor([[[1.0, 0.0, 0.0], [0.6, 0.8, 0.0]]])  # (1, 2, 3)


def test_item_probabilities_by_hand():
    # Cosines 1, 0, 0 over a temperature of 1/ln 4: weights 4, 1, 1, so 2/3, 1/6, 1/6.
    sampling = ItemSampling(temperature=1 / math.log(4))
    tries = sampling.tries(MEANS[:, :1], ITEMS, [3], 6)
    logs = sampling.log_probs(MEANS[:, :1], ITEMS, tries)
    expected = torch.tensor([2 / 3, 1 / 6, 1 / 6]).log()[tries.items]
    torch.testing.assert_close(logs, expected)
    assert torch.equal(tries.directions, ITEMS[tries.items])


def test_the_entropy_of_item_sampling_by_hand():
    # 2/3, 1/6, 1/6: −2/3 ln(2/3) − 1/3 ln(1/6) nats. Two nearest of .6, .8: weights 4^.6, 4^.8.
    tries = ItemSampling(temperature=1 / math.log(4)).tries(MEANS[:, :1], ITEMS, [3], 2)
    expected = -2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 6)
    assert tries.entropy.tolist() == [[pytest.approx(expected)]]
    near = ItemSampling(1 / math.log(4), nearest=2).tries(MEANS[:, 1:], ITEMS, [3], 2)
    p = 4**0.6 / (4**0.6 + 4**0.8)
    assert near.entropy.item() == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p))
    # At a low temperature one of many items is certain.
    certain = ItemSampling(0.001).tries(MEANS, ITEMS, [3], 2)
    assert certain.entropy.abs().max() < 1e-4
    assert GaussianNoise().tries(MEANS, ITEMS, [3], 2).entropy is None


def test_items_are_drawn_as_often_as_their_probability_says():
    sampling = ItemSampling(temperature=1 / math.log(4))
    tries = sampling.tries(MEANS, ITEMS, [7], 20_000)
    shares = torch.stack([(tries.items[0] == item).float().mean(0) for item in range(3)], 1)
    expected = (MEANS[0] @ ITEMS.T * math.log(4)).softmax(-1)
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)  # 3 standard errors


@pytest.mark.parametrize("exploration", [ItemSampling(0.5), ItemSampling(0.5, 2), GaussianNoise()])
def test_tries_depend_on_the_seed_of_their_query_alone(exploration):
    means = normalize(torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)))
    together = exploration.tries(means, ITEMS, [5, 6, 7], 4)
    alone = exploration.tries(means[1:2], ITEMS, [6], 4)
    torch.testing.assert_close(together.directions[1:2], alone.directions)
    assert (together.directions != together.directions[:, :1]).any()


def test_only_the_nearest_items_are_tried_if_asked():
    near = ItemSampling(temperature=1 / math.log(4), nearest=2)
    tries = near.tries(MEANS[:, 1:], ITEMS, [0], 200)
    assert set(tries.items.flatten().tolist()) == {0, 1}
    # Cosines .6 and .8: weights 4^.6 and 4^.8.
    weights = torch.tensor([4**0.6, 4**0.8])
    expected = (weights / weights.sum()).log()[tries.items]
    torch.testing.assert_close(near.log_probs(MEANS[:, 1:], ITEMS, tries), expected)
    # A move of the directions keeps the candidates: the ratio of probabilities stays that of a policy.
    moved = near.log_probs(MEANS[:, :1], ITEMS, tries)
    weights = torch.tensor([4.0, 1.0])
    torch.testing.assert_close(moved, (weights / weights.sum()).log()[tries.items])


@pytest.mark.parametrize("nearest", [None, 7])
@pytest.mark.parametrize("room", [1 << 18, 1])
def test_item_log_probabilities_and_their_gradients_against_torch(nearest, room, monkeypatch):
    """At the directions of the tries, where nothing is computed again, and at others."""
    monkeypatch.setattr("r4t.diffusion.exploration.ROOM", room)  # 1: one direction at a time
    random = torch.Generator().manual_seed(1)
    means, items = (
        normalize(torch.randn(*shape, 5, generator=random)) for shape in [(3, 2), (30,)]
    )
    sampling = ItemSampling(0.1, nearest)
    tries = sampling.tries(means, items, [1, 2, 3], 4)
    weights = torch.randn(3, 4, 2, generator=random)
    for each in (means, normalize(means + 0.2)):
        one, other = each.clone().requires_grad_(), each.clone().requires_grad_()
        logs = sampling.log_probs(one, items, tries)
        logits = torch.einsum("bkd,nd->bkn", other, items) / 0.1
        if nearest is not None:
            chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(2, tries.candidates, True)
            logits = logits.masked_fill(~chosen, -torch.inf)
        exact = logits.log_softmax(-1).gather(2, tries.items.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(logs, exact, atol=2e-5, rtol=1e-5)
        gradients = (
            torch.autograd.grad((x * weights).sum(), y) for x, y in [(logs, one), (exact, other)]
        )
        torch.testing.assert_close(*(pair[0] for pair in gradients), atol=2e-4, rtol=1e-4)


def test_gaussian_log_probabilities_differ_as_those_of_torch():
    noise = GaussianNoise(sigma=0.3)
    tries = noise.tries(MEANS, ITEMS, [4], 5)
    assert tries.items is None
    torch.testing.assert_close(tries.directions, normalize(tries.actions))
    normal = torch.distributions.Normal(MEANS.unsqueeze(1), 0.3)
    exact = normal.log_prob(tries.actions).sum(-1)
    constant = 3 * math.log(0.3 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(noise.log_probs(MEANS, ITEMS, tries), exact + constant)
    drawn = noise.tries(MEANS, ITEMS, [4], 20_000).actions[0] - MEANS[0]
    torch.testing.assert_close(drawn.std(0), torch.full((2, 3), 0.3), atol=0.01, rtol=0)


def test_divergences_against_torch():
    others = normalize(MEANS + 0.3)
    noise, sampling = GaussianNoise(0.5), ItemSampling(0.2)
    normals = (torch.distributions.Normal(each, 0.5) for each in (MEANS, others))
    exact = torch.distributions.kl_divergence(*normals).sum(-1)
    tries = noise.tries(MEANS, ITEMS, [0], 1)
    torch.testing.assert_close(noise.divergence(MEANS, others, ITEMS, tries), exact)
    choices = (torch.distributions.Categorical(logits=x @ ITEMS.T / 0.2) for x in (MEANS, others))
    exact = torch.distributions.kl_divergence(*choices)
    tries = sampling.tries(MEANS, ITEMS, [0], 1)
    torch.testing.assert_close(sampling.divergence(MEANS, others, ITEMS, tries), exact)


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: GaussianNoise(0.0),
            "a sigma above 0.*nothing to compare, but found 0.0. Use 0.05",
        ),
        (lambda: ItemSampling(-1.0), "a temperature above 0.*but found -1.0. Use 0.03"),
        (lambda: ItemSampling(nearest=1), "nearest to be at least 2, but found 1"),
    ],
)
def test_no_exploration_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
