import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import Relay
from r4t.diffusion.sampler import Euler, Heun, Multistep, ReverseSde, sample_heun, seeded_noise
from r4t.diffusion.schedule import Karras, Levels, Tangent
from r4t.diffusion.slots import SlotSet
from r4t.errors import InputError
from tests.diffusion.conftest import build_network

SAMPLERS = [None, Heun(4), ReverseSde(6)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_query_alone_gives_what_it_gives_in_a_batch(queries, sampler):
    generator = DirectionGenerator(build_network(), sampler=sampler, guidance=0.5).eval()
    seeds = [11, 5, 7, 11]
    batch = generator(queries, seeds)
    for b in range(4):
        alone = generator(queries[b : b + 1], seeds[b : b + 1])
        assert torch.allclose(alone[0], batch[b], atol=1e-5)


def test_another_seed_gives_another_set(generator, queries):
    one, other = generator(queries[:1], [1]), generator(queries[:1], [2])
    assert (one - other).abs().max() > 0.05


def test_directions_are_unit_rows(generator, queries):
    directions = generator(queries, range(4))
    assert directions.shape == (4, 5, 8)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(4, 5), atol=1e-5)


def test_it_samples_with_its_own_settings(queries):
    generator = DirectionGenerator(
        build_network(), Karras(0.01, 20.0), Heun(4), guidance=0.0, sigma_data=0.2
    ).eval()
    noise = seeded_noise(range(4), (5, 8))()
    # 20 · 0.2 = 4 is the first sigma.
    sigmas = Karras(0.01 * 0.2, 20 * 0.2).steps(4)
    want = sample_heun(generator.denoiser.bind(queries), lambda: noise, sigmas)
    want = torch.nn.functional.normalize(want, dim=-1)
    assert torch.allclose(generator(queries, range(4)), want, atol=1e-5)


def test_no_guidance_equals_guidance_zero_in_the_limit(queries):
    none = DirectionGenerator(build_network(), guidance=0.0).eval()
    little = DirectionGenerator(build_network(), guidance=1e-7).eval()
    assert torch.allclose(none(queries, range(4)), little(queries, range(4)), atol=1e-4)


def test_dropout_is_off_even_in_training_mode(queries):
    generator = DirectionGenerator(build_network(dropout=0.5)).train()
    directions = generator(queries, range(4))
    assert generator.training
    assert torch.equal(directions, generator.eval()(queries, range(4)))


def test_the_result_may_enter_autograd(generator, queries):
    weight = torch.ones(8, requires_grad=True)
    (generator(queries, range(4)) * weight).sum().backward()
    assert weight.grad is not None


def test_sigma_data_is_that_of_unit_vectors_by_default():
    assert DirectionGenerator(build_network()).denoiser.sigma_data == pytest.approx(8**-0.5)


def test_save_and_load_give_the_same_directions(tmp_path, queries):
    saved = DirectionGenerator(build_network(), Tangent(), ReverseSde(5), guidance=0.3)
    saved.save(tmp_path / "retriever")
    loaded = DirectionGenerator.load(tmp_path / "retriever")
    assert torch.equal(loaded(queries, range(4)), saved(queries, range(4)))
    assert loaded.schedule == saved.schedule
    assert loaded.sampler == ReverseSde(5)
    assert loaded.guidance == 0.3
    assert not loaded.training


def test_bad_queries_and_settings_are_refused(generator, queries):
    with pytest.raises(InputError, match=r"shape \(B, 8\), but found \(4, 6\)\. Encode them"):
        generator(queries[:, :6], range(4))
    with pytest.raises(InputError, match=r"one seed for each of 4 queries, but found 3 seeds\."):
        generator(queries, range(3))
    with pytest.raises(InputError, match=r"guidance of at least 0, but found -1"):
        DirectionGenerator(build_network(), guidance=-1.0)
    with pytest.raises(InputError, match=r"sigma_data above 0, but found 0"):
        DirectionGenerator(build_network(), sigma_data=0.0)


def test_bad_folders_are_refused(generator, tmp_path):
    with pytest.raises(InputError, match=r"found no config.json in .*\. Name a folder"):
        DirectionGenerator.load(tmp_path)
    generator.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())

    def write(**changes):
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))

    write(format_version=9)
    with pytest.raises(InputError, match=r"format 1, but found format 9 in .*\. Export it again"):
        DirectionGenerator.load(tmp_path)
    write(sampler={"name": "Huen", "steps": 3})
    with pytest.raises(
        InputError,
        match=r"name of a Sampler .* found 'Huen'\. Known names: Euler, Heun, .*n 'Heun'\?",
    ):
        DirectionGenerator.load(tmp_path)
    write(network={**config["network"], "width": 64})
    with pytest.raises(InputError, match=r"found damaged or mismatched files \(RuntimeError"):
        DirectionGenerator.load(tmp_path)
    write()
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {k: v.clone() for k, v in weights.items() if "norm" not in k},
        tmp_path / "model.safetensors",
    )
    with pytest.raises(InputError, match=r"damaged or mismatched .*Export it again"):
        DirectionGenerator.load(tmp_path)


def test_query_time_needs_no_lightning():
    code = "import sys, r4t.diffusion.generator, r4t.targets; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_saved_network_of_another_module_needs_no_import(tmp_path):
    DirectionGenerator(SlotSet(8, set_size=3, width=16), noises=1).save(tmp_path)
    code = "import sys; from r4t.diffusion.generator import DirectionGenerator as G; G.load(sys.argv[1])"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 0


def test_evaluations_count_guided_steps_twice():
    network = build_network()
    for sampler, unguided in ((Multistep(8), 8), (Heun(8), 15), (Euler(3), 3), (ReverseSde(5), 5)):
        for guidance, expected in ((0.0, unguided), (0.1, 2 * unguided)):
            made = DirectionGenerator(network, sampler=sampler, guidance=guidance)
            assert made.evaluations() == expected


def test_every_network_and_schedule_comes_back(tmp_path, queries):
    student = build_network()
    relay = Relay(build_network(qk_norm=True), student, until=0.5)
    schedule = Levels((80.0, 2.0, 0.5))
    made = DirectionGenerator(relay, schedule, Euler(3), guidance=0.0, sigma_data=0.3)
    made.save(tmp_path)
    again = DirectionGenerator.load(tmp_path)
    assert again.schedule == schedule.scaled(0.3)
    assert torch.equal(again(queries, range(4)), made(queries, range(4)))


def test_the_schedule_follows_sigma_data():
    made = DirectionGenerator(build_network(), Karras(0.01), sigma_data=0.5)
    made.set_sigma_data(0.25)
    assert made.schedule == Karras(0.01, unit=0.25)
    with pytest.raises(InputError, match=r"sigma_data above 0, but found nan\. Omit it"):
        made.set_sigma_data(float("nan"))
