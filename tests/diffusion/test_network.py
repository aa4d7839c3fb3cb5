import pytest
import torch
import torch.nn.functional as F

from r4t.diffusion.network import SetTransformer, fourier_features
from r4t.errors import InputError
from tests.diffusion.conftest import build_network


def test_the_papers_sizes_count_its_parameters():
    network = SetTransformer(
        dim=128, width=1024, mlp_width=1024, heads=16, layers=6, set_size=12, condition_tokens=1
    )
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(53.9e6, rel=0.02)


def test_permuting_the_rows_permutes_the_output(queries):
    network = build_network().double().eval()
    rows, order = torch.randn(4, 5, 8, dtype=torch.float64), torch.tensor([3, 0, 4, 1, 2])
    noise, memory = torch.zeros(1, dtype=torch.float64), network.memory(queries.double())
    found = network(rows[:, order], noise, memory)
    assert torch.allclose(found, network(rows, noise, memory)[:, order], atol=1e-12)


def test_rows_see_each_other(network, queries):
    rows = torch.randn(4, 5, 8)
    changed = rows.clone()
    changed[:, 0] += 1
    memory, noise = network.memory(queries), torch.zeros(1)
    moved = network(changed, noise, memory) - network(rows, noise, memory)
    assert (moved[:, 1:].abs().amax(dim=(1, 2)) > 1e-3).all()


def test_attention_over_one_token_is_its_value(queries):
    network = build_network(condition_tokens=1).eval()
    key, value = network.memory(queries)[0]
    block, hidden = network.blocks[0], torch.randn(4, 5, 32)
    query = block.cross_in(block.cross_norm(hidden)).view(4, 5, 4, 8).transpose(1, 2)
    seen = F.scaled_dot_product_attention(query, key, value)
    assert torch.allclose(seen, value.expand(4, 4, 5, 8), atol=1e-6)


def test_self_attention_equals_the_formula(network):
    block, hidden = network.blocks[0], torch.randn(2, 5, 32)
    projected = block.self_in(block.self_norm(hidden))  # q, k and v, each four heads of width 8
    heads = []
    for h in range(4):
        q, k, v = (projected[..., 32 * c + 8 * h : 32 * c + 8 * h + 8] for c in range(3))
        heads.append((q @ k.mT / 8**0.5).softmax(dim=-1) @ v)
    q, k, v = projected.view(2, 5, 3, 4, 8).permute(2, 0, 3, 1, 4)
    assert torch.allclose(block._attend(q, k, v), torch.cat(heads, dim=-1), atol=1e-6)


def test_a_dropped_condition_hides_the_query(network, queries):
    gone = network.memory(queries, torch.tensor([True, True, False, False]))
    assert torch.equal(gone[:, :, 0], gone[:, :, 1])
    assert torch.equal(gone[:, :, 2:], network.memory(queries)[:, :, 2:])
    assert not torch.allclose(gone[:, :, 0], network.memory(queries)[:, :, 0])


def test_dropout_acts_in_training_only(queries):
    network = build_network(dropout=0.5)
    rows, noise = torch.randn(4, 5, 8), torch.zeros(1)

    def output():
        return network(rows, noise, network.memory(queries))

    network.train()
    assert not torch.allclose(output(), output())
    network.eval()
    assert torch.equal(output(), output())
    without = build_network(dropout=0.0).eval()
    assert torch.equal(output(), without(rows, noise, without.memory(queries)))


def test_attention_weights_are_dropped_too():
    block = build_network(dropout=0.5).blocks[0].train()
    query = key = torch.zeros(1, 4, 5, 8)
    value = torch.ones(1, 4, 5, 8)
    # Without dropout the mean of five ones is 1; weights dropped at 1/2 and doubled give n · 0.4.
    found = block._attend(query, key, value)
    assert set((found / 0.4).round().unique().tolist()) > {2.0, 3.0}
    assert torch.allclose(found / 0.4, (found / 0.4).round(), atol=1e-5)


def test_noise_features_by_hand():
    # Frequencies 1, 256^(1/2) = 16 and 256, at x = 0.5.
    angle = torch.tensor([0.5, 8.0, 128.0])
    want = torch.cat([angle.sin(), angle.cos()])
    assert torch.allclose(fourier_features(torch.tensor([0.5]), 6)[0], want, atol=1e-4)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(
        InputError, match=r"multiple of twice its heads, found width=30 and heads=4"
    ):
        SetTransformer(dim=8, width=30, heads=4)
