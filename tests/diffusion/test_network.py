import math

import pytest
import torch
import torch.nn.functional as F

from r4t.diffusion.block import AdaptiveBlock, unit_square
from r4t.diffusion.network import (
    AdaptiveSetTransformer,
    Relay,
    SetNetwork,
    SetTransformer,
    fourier_features,
)
from r4t.errors import InputError
from r4t.support.named import build, describe
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
    output = network(rows[:, order], noise, memory)
    assert torch.allclose(output, network(rows, noise, memory)[:, order], atol=1e-12)


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
    output = block._attend(query, key, value)
    assert set((output / 0.4).round().unique().tolist()) > {2.0, 3.0}
    assert torch.allclose(output / 0.4, (output / 0.4).round(), atol=1e-5)


def test_noise_features_by_hand():
    # Frequencies 1, 256^(1/2) = 16 and 256, at x = 0.5.
    angle = torch.tensor([0.5, 8.0, 128.0])
    want = torch.cat([angle.sin(), angle.cos()])
    assert torch.allclose(fourier_features(torch.tensor([0.5]), 6)[0], want, atol=1e-4)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(
        InputError, match=r"multiple of twice its heads, but found width=30 and heads=4"
    ):
        SetTransformer(dim=8, width=30, heads=4)
    with pytest.raises(
        InputError, match="Expected dim, the width of the embeddings, .* but found none"
    ):
        SetTransformer(width=32)


def built(kind, **changes):
    """A small network of a class whose zero-initialized layers are not zero."""
    sizes = {"dim": 8, "width": 32, "mlp_width": 32, "heads": 4, "layers": 2, "set_size": 5}
    torch.manual_seed(0)
    network = kind(**{**sizes, "condition_tokens": 3, **changes})
    for name, weight in network.named_parameters():
        if "rows_out.weight" in name or "modulation.weight" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return network.eval()


@pytest.mark.parametrize(
    "kind, changes",
    [(SetTransformer, {"qk_norm": True}), (AdaptiveSetTransformer, {}), (SetTransformer, {})],
)
def test_every_variant_is_permutation_equivariant_and_reads_the_noise(kind, changes, queries):
    network = built(kind, **changes)
    rows = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(2))
    order = torch.tensor([3, 1, 4, 0, 2])
    memory, noise = network.memory(queries), torch.tensor([0.1, -0.2, 0.3, 0.0])
    whole = network(rows, noise, memory)
    assert torch.allclose(network(rows[:, order], noise, memory), whole[:, order], atol=1e-6)
    other = network(rows, noise + 0.3, memory)
    assert (other - whole).abs().amax(dim=(1, 2)).min() > 1e-3
    # Row by row of the batch, with its own noise.
    alone = network(rows[2:3], noise[2:3], network.memory(queries[2:3]))
    assert torch.allclose(alone, whole[2:3], atol=1e-6)


def test_adaptive_norms_begin_without_any_effect_of_self_attention():
    torch.manual_seed(0)
    block = AdaptiveBlock(16, 16, 2, 0.0, False)
    torch.nn.init.zeros_(block.cross_out.weight)
    torch.nn.init.zeros_(block.cross_out.bias)
    rows, label = torch.randn(2, 5, 16), torch.randn(2, 16)
    key = value = torch.randn(2, 2, 3, 8)
    assert torch.equal(block.modulated(rows, key, value, label), rows)


def test_the_adaptive_variant_costs_38_million_at_the_papers_sizes():
    sizes = {"dim": 128, "width": 1024, "mlp_width": 1024, "heads": 16, "layers": 6}
    with torch.device("meta"):
        plain, adaptive = SetTransformer(**sizes), AdaptiveSetTransformer(**sizes)
    more = sum(w.numel() for w in adaptive.parameters()) - sum(
        w.numel() for w in plain.parameters()
    )
    # 6 layers of (1024 + 1) · 6 · 1024, less two norms a layer without their 2 · 1024 weights.
    assert more == 6 * (1025 * 6 * 1024 - 2 * 2 * 1024)


def test_normed_queries_and_keys_bound_the_logits():
    x = torch.randn(2, 3, 8) * 100
    logits = unit_square(x) @ unit_square(x).mT / 8**0.5
    assert logits.abs().max() <= 8**0.5 + 1e-5
    assert logits[0, 0, 0].item() == pytest.approx(8**0.5)


def test_normed_attention_equals_the_formula(queries):
    network = built(SetTransformer, qk_norm=True, layers=1)
    block = network.blocks[0]
    rows = torch.randn(4, 5, 32, generator=torch.Generator().manual_seed(5))
    query, key, value = (
        part.view(4, 5, 4, 8).transpose(1, 2) for part in block.self_in(rows).chunk(3, dim=-1)
    )
    query, key = (
        part / part.square().mean(-1, keepdim=True).add(1.2e-7).sqrt() for part in (query, key)
    )
    seen = (query @ key.mT / 8**0.5).softmax(-1) @ value
    expected = block.self_out(seen.transpose(1, 2).flatten(2))
    assert torch.allclose(block.across_rows(rows), expected, atol=1e-5)
    keys = network.memory(queries)[0, 0]
    assert torch.allclose(keys.square().mean(-1), torch.ones(4, 4, 3), atol=1e-4)


def test_a_relay_is_one_network_above_a_level_and_the_other_below(queries):
    first, then = built(SetTransformer), built(AdaptiveSetTransformer)
    relay = Relay(first, then, until=1.0)
    rows, memory = torch.randn(4, 5, 8), relay.memory(queries)
    for sigma, network in ((2.0, first), (0.5, then)):
        noise = torch.tensor([math.log(sigma) / 4])
        assert torch.equal(
            relay(rows, noise, memory), network(rows, noise, network.memory(queries))
        )
    again = build(SetNetwork, describe(relay))
    again.load_state_dict(relay.state_dict())
    noise = torch.tensor([0.3])
    assert torch.equal(again(rows, noise, again.memory(queries)), relay(rows, noise, memory))
    with pytest.raises(
        InputError, match=r"same \(L, d\) in a relay, but found \(5, 8\) and \(6, 8\)\. Use a"
    ):
        Relay(first, built(SetTransformer, set_size=6), 1.0)
    with pytest.raises(
        InputError, match=r"name of a SetNetwork .* 'SetTransfomer'\. Known names: Adaptive.*mean"
    ):
        build(SetNetwork, {"name": "SetTransfomer"})
