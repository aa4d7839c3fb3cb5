"""Warm start and Soft-GRPO on a small run: they learn, and a step follows the equations."""

import copy
import json
import shutil
import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from r4t.errors import InputError
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import Pretrained, TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.grpo.module import FanoutTuner
from r4t.grpo.training import Sampling, adamw
from r4t.grpo.warm_start import WarmStart
from r4t.objective import Objective
from r4t.reward import Ramp, Reward
from r4t.run import Run
from r4t.training.callbacks import Export
from r4t.training.learning_rate import WarmupLinear
from r4t.training.query_data import QueryData
from r4t.training.soft_grpo import NORMALIZATIONS, SoftGRPO

SIZE, TOKENS = 4, 16


class Says(Objective):
    """Share of the k sub-queries that contain a word."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def __init__(self, word):
        self.word = word

    def score(self, sets):
        counts = [sum(self.word in text.split() for text in texts) for texts in sets.texts]
        return torch.tensor(counts) / sets.set_size


class Same(Objective):
    """One score for all sets, also for those without members, which get the lower bound."""

    bounds = (0.5, 1.0)

    def score(self, sets):
        return torch.full((len(sets),), 0.5)


class Record(Callback):
    """Records the log of each step, and the gradient before each optimizer step."""

    def __init__(self):
        self.logged, self.gradients = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        grads = [p.grad for p in pl_module.fanout.parameters()]
        none = all(grad is None for grad in grads)  # a step that is counted, not made
        self.gradients.append(None if none else torch.cat([g.flatten() for g in grads]).clone())

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.logged.append({name: v.item() for name, v in trainer.callback_metrics.items()})

    def column(self, name):
        return torch.tensor([row[name] for row in self.logged])


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trainer(*callbacks, **arguments):
    off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    off |= {"enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}
    return Trainer(callbacks=list(callbacks), **{**off, "limit_val_batches": 0, **arguments})


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder for a warm-started model, which the first ``run`` fills, and its log."""
    return {"folder": tmp_path_factory.mktemp("warm") / "model"}


@pytest.fixture
def run(small_run, warm) -> Run:
    """The small run after its warm start."""
    if "record" not in warm:
        seed_everything(0, verbose=False)
        lm, record = TinyQwen3(width=64, layers=2, vocabulary=300), Record()
        reward, form = Reward({"diversity": 1.0}), Expand(set_size=SIZE)
        module = WarmStart(str(small_run.folder), reward, lm=lm, form=form, optimizer=adamw(5e-3))
        data = QueryData(str(small_run.folder), batch_size=24)
        trainer(record, Export(str(warm["folder"])), max_steps=70).fit(module, data)
        warm["record"] = record
    shutil.copytree(warm["folder"], small_run.step("warm_start") / "model")
    return small_run


def tuner(run, objective, lm=None, rate=1e-3, temperature=1.0, tokens=TOKENS, **grpo):
    return FanoutTuner(
        str(run.folder),
        Reward({"wanted": 1.0}, {"wanted": objective}),
        lm=lm,
        grpo=SoftGRPO(**grpo),
        sampling=Sampling(temperature, tokens),
        optimizer=adamw(rate),
    )


def tuner_of(run, reward, **grpo):
    grpo = SoftGRPO(group_size=4, **grpo)
    return FanoutTuner(str(run.folder), reward, grpo=grpo, sampling=Sampling(0.9, TOKENS))


def fit(run, module, *callbacks, seed=0, batch_size=8, **arguments):
    seed_everything(seed, verbose=False)
    trainer(*callbacks, **arguments).fit(module, QueryData(str(run.folder), batch_size=batch_size))
    return module


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.fanout.parameters()])


def test_a_warm_start_lowers_the_likelihood_and_writes_lists(run, warm):
    nll = warm["record"].column("train/nll/mean")
    assert len(nll) == 70
    assert nll[0] > 5  # ln 300 = 5.7 for a uniform guess over the tokens
    assert nll[-5:].mean() < 1.3  # the teacher's own choices are worth about 1 a token
    model = FanoutModel.load(run.step("warm_start") / "model")
    assert model.form.spec() == Expand(set_size=SIZE).spec()
    fanouts = model.sample(["red linen"], [0], 20)
    lengths = torch.tensor([len(texts) for texts in fanouts.subqueries]).float()
    assert lengths.mean() > 2  # so small a model does not count well
    words = {word for text in run.searcher().catalog.texts for word in text.split()}
    added = [word for texts in fanouts.subqueries for text in texts for word in text.split()[2:]]
    assert sum(word in words for word in added) > 0.8 * len(added)


def test_tuning_raises_the_reward(run):
    record = Record()
    module = tuner(run, Says("boots"), group_size=8, rate=2e-3)
    fit(run, module, record, max_steps=40)  # 20 rollouts of 2 updates
    reward = record.column("train/reward/mean")
    assert len(reward) == 20
    assert reward[:2].mean() < 0.3
    assert reward[-3:].mean() > 0.8
    assert torch.equal(reward, record.column("train/wanted/mean"))


def test_every_component_is_logged_raw_and_weighted_along_the_ramp(run):
    record = Record()
    reward = Reward(
        {"wanted": Ramp(0.0, 1.0, steps=4), "same": 0.5}, {"wanted": Says("boots"), "same": Same()}
    )
    fit(
        run, tuner_of(run, reward), record, max_steps=6
    )  # 3 rollouts, at optimizer steps 0, 2 and 4
    raw, weighted = record.column("train/wanted/mean"), record.column("train/wanted/weighted")
    assert torch.allclose(weighted, raw * torch.tensor([0.0, 0.5, 1.0]))
    same = record.column("train/same/weighted")
    assert torch.allclose(same, 0.5 * record.column("train/same/mean"))
    assert torch.allclose(record.column("train/reward/mean"), weighted + same)


class Moody(Says):
    """As ``Says``, but cannot score every second set."""

    partial = True

    def score(self, sets):
        scores = super().score(sets)
        scores[::2] = torch.nan
        return scores

    def facts(self):
        return {"model": "moody"}


def test_unscored_rollouts_are_counted_and_left_out_of_the_loss(run, tmp_path):
    record = Record()
    reward = Reward({"wanted": 1.0}, {"wanted": Moody("boots")})
    module = tuner_of(run, reward)
    fit(run, module, record, Export(str(tmp_path / "out")), max_steps=2)
    rollout = module.rollout
    fanouts, advantages, mask = rollout.fanouts, rollout.advantages, rollout.mask
    silent = mask.sum(1) == 0
    assert torch.equal(mask[~silent], fanouts.completion_mask[~silent])
    # Every second one, but for those without a member: they get the lower bound, unasked.
    assert silent[::2].float().mean() > 0.5
    assert not silent[1::2].any()
    assert (advantages[silent] == 0).all()
    share = pytest.approx(silent.float().mean().item())
    assert record.column("train/reward/unscored").tolist() == [share]
    assert record.column("train/wanted/unscored").tolist() == [share]
    assert record.column("train/reward/mean").isfinite().all()
    facts = json.loads((tmp_path / "out" / "objectives.json").read_text())
    assert facts == {"wanted": {"model": "moody"}}


class Mute(Moody):
    """Cannot score any set."""

    def score(self, sets):
        return torch.full((len(sets),), torch.nan)


def test_without_any_score_steps_are_counted_and_no_weight_moves(run):
    record = Record()
    reward = Reward({"wanted": 1.0}, {"wanted": Mute("boots")})
    module = tuner_of(run, reward, kl_old_new=0.5)
    before = weights(module)
    fit(run, module, record, max_steps=4)
    assert torch.equal(weights(module), before)
    assert record.gradients == [None] * 4
    assert (record.column("train/reward/unscored") > 0.9).all()
    assert record.column("train/loss/mean").isfinite().all()
    assert record.column("train/zero_variance/share").tolist() == [1.0, 1.0]


def test_without_any_spread_steps_are_counted_and_no_weight_moves(run):
    # KL weights that do not cancel, a decay, and the momentum of two real steps before.
    reward = Reward({"wanted": Ramp(1.0, 0.0, steps=2), "same": 1.0}, {
        "wanted": Says("boots"), "same": Same()
    })  # fmt: skip
    module = tuner_of(run, reward, kl_old_new=0.5)
    record, ends = Record(), []

    class Weights(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            ends.append((trainer.global_step, weights(pl_module)))

    fit(run, module, record, Weights(), max_steps=6)  # 3 rollouts of 2 updates
    assert [step for step, _ in ends] == [2, 4, 6]
    assert [gradient is None for gradient in record.gradients] == [False] * 2 + [True] * 4
    assert torch.equal(ends[0][1], ends[1][1])
    assert torch.equal(ends[0][1], ends[2][1])
    assert module.lr_schedulers().last_epoch == 6
    flat = record.column("train/zero_variance/share")
    assert flat[0] < 1
    assert flat[1:].tolist() == [1.0, 1.0]
    for name in ("kl_new_old", "kl_old_new", "clipped"):
        assert record.column(f"train/{name}/mean")[1:].tolist() == [0.0, 0.0]
    assert (record.column("train/entropy/mean") > 0.1).all()


class FirstOnly(Says):
    """As ``Says`` for the first half of the sets; 0 for the others, as for unparsable ones."""

    def score(self, sets):
        scores = super().score(sets)
        scores[len(scores) // 2 :] = 0.0
        return scores


@pytest.mark.parametrize("skip", [False, True])
def test_flat_groups_keep_their_kl_terms_unless_skipped(run, skip):
    record = Record()
    module = tuner(run, FirstOnly("boots"), kl_new_old=0.0, skip_flat_groups=skip)
    fit(run, module, record, batch_size=8, max_steps=2)
    rollout = module.rollout
    fanouts, advantages, mask = rollout.fanouts, rollout.advantages, rollout.mask
    share = record.column("train/zero_variance/share").item()
    assert 0.5 <= share < 1
    flat = (advantages.view(8, 8) == 0).all(1)
    assert flat.float().mean().item() == share
    sampled = fanouts.completion_mask.view(8, 8, -1)
    included = mask.view(8, 8, -1)
    assert torch.equal(included[~flat], sampled[~flat])
    assert torch.equal(included[flat], torch.zeros_like(sampled[flat]) if skip else sampled[flat])


def test_truncated_completions_are_counted_and_can_be_left_out_of_the_loss(run):
    """In 9 tokens some lists of four are completed or ended, which the reference reads off the text."""
    for masked in (False, True):
        record = Record()
        module = tuner(run, Says("boots"), tokens=9, group_size=4, mask_truncated=masked)
        fit(run, module, record, max_steps=2)
        fanouts, mask = module.rollout.fanouts, module.rollout.mask
        eos = module.fanout.tokenizer.eos_token_id
        cut = torch.tensor([
            text.count("\n") < SIZE and eos not in ids[real.bool()].tolist()
            for text, ids, real in zip(
                fanouts.texts, fanouts.completion_ids, fanouts.completion_mask
            )
        ])  # fmt: skip
        assert 0 < cut.sum() < len(cut)
        # What was cut off is as long as could be.
        assert (fanouts.completion_mask[cut].sum(1) == 9).all()
        share = pytest.approx(cut.float().mean().item())
        assert record.column("train/truncated/share").tolist() == [share]
        assert torch.equal(mask[~cut], fanouts.completion_mask[~cut])
        assert torch.equal(mask[cut], fanouts.completion_mask[cut] * (not masked))


def test_the_entropy_is_that_of_the_policy_that_sampled(run):
    record = Record()
    module = tuner(run, Says("boots"), group_size=4, micro_batch=7, temperature=0.8)
    start = copy.deepcopy(module.fanout)
    fit(run, module, record, max_steps=2)
    fanouts, total, tokens = module.rollout.fanouts, 0.0, 0
    with torch.no_grad():  # one completion at a time, without padding
        for row in range(len(fanouts.texts)):
            prompt = fanouts.prompt_ids[row][fanouts.prompt_mask[row] > 0]
            written = fanouts.completion_ids[row][fanouts.completion_mask[row] > 0]
            logits = start.lm(torch.cat([prompt, written])[None]).logits[0]
            policy = torch.distributions.Categorical(logits=logits[len(prompt) - 1 : -1] / 0.8)
            total, tokens = total + policy.entropy().sum().item(), tokens + len(written)
            alone = policy.log_prob(written)
            log_probs = start.log_probs(fanouts.rows(slice(row, row + 1)), 0.8)[0]
            assert torch.allclose(log_probs[: len(written)], alone, atol=1e-4)
    assert record.column("train/entropy/mean").item() == pytest.approx(total / tokens, abs=1e-4)


def test_same_seed_same_weights(run):
    ends = [
        weights(fit(run, tuner(run, Says("boots"), group_size=4), seed=seed, max_steps=4))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
def test_micro_batches_add_up_to_one_batch(run, name):
    whole, parts = Record(), Record()
    for record, size in ((whole, 1000), (parts, 5)):  # 8 queries x 4 rollouts: 7 parts, one of 2
        module = tuner(run, Says("boots"), group_size=4, micro_batch=size, normalization=name)
        fit(run, module, record, max_steps=2)
    assert len(whole.gradients) == 2
    for name in ("loss", "entropy", "kl_new_old", "kl_old_new", "clipped"):
        first, second = whole.column(f"train/{name}/mean"), parts.column(f"train/{name}/mean")
        assert torch.allclose(first, second, rtol=0.02, atol=1e-4)
    scale = whole.gradients[0].abs().max()
    assert scale > 1e-3
    assert (parts.gradients[0] - whole.gradients[0]).abs().max() < 1e-4 * scale
    # The second update starts from weights that Adam moved by the sign of the smallest gradients.
    cosine = torch.cosine_similarity(whole.gradients[1], parts.gradients[1], dim=0)
    assert cosine > 0.999


def test_the_first_update_is_the_policy_gradient(run):
    record = Record()
    settings = {"group_size": 4, "updates": 1, "kl_new_old": 0.0, "kl_old_new": 0.0}
    module = tuner(run, Says("boots"), **settings)
    before = [p.detach().clone() for p in module.fanout.parameters()]
    fit(run, module, record, max_steps=1)
    fanouts, advantages = module.rollout.fanouts, module.rollout.advantages
    with torch.no_grad():
        for parameter, value in zip(module.fanout.parameters(), before):
            parameter.copy_(value)
    # At ρ = 1 the gradient of eq. 8 is that of −A·log π, averaged over the sampled tokens.
    log_probs = module.fanout.log_probs(fanouts, temperature=1.0)
    mask = fanouts.completion_mask
    loss = -(advantages[:, None] * log_probs * mask).sum() / mask.sum()
    gradient = torch.autograd.grad(loss, list(module.fanout.parameters()))
    expected = torch.cat([part.flatten() for part in gradient])
    expected = expected / max(1.0, expected.norm().item())  # clipped to length 1
    assert (record.gradients[0] - expected).abs().max() < 1e-5 * expected.abs().max()


def test_equal_kl_terms_act_from_the_second_update_on(run):
    records = [Record(), Record()]
    for record, weight in zip(records, (0.0, 0.4)):
        module = tuner(run, Says("boots"), group_size=4, kl_new_old=weight, kl_old_new=weight)
        fit(run, module, record, max_steps=2)
    without, with_kl = (record.gradients for record in records)
    # At ρ = 1 token by token what one adds, the other takes away, up to float32.
    assert (with_kl[0] - without[0]).abs().max() < 1e-5 * without[0].abs().max()
    assert (with_kl[1] - without[1]).abs().max() > 1e-2 * without[1].abs().max()


def test_validation_repeats_itself(run):
    module, data = tuner(run, Says("boots")), QueryData(str(run.folder), batch_size=3)
    check = trainer(limit_val_batches=1.0)
    logged = check.validate(module, data, verbose=False)[0]
    assert check.validate(module, data, verbose=False)[0] == logged
    assert logged["val/reward/mean"] == pytest.approx(logged["val/wanted/mean"])
    assert {"val/distinct_items/mean"} <= logged.keys()


class ReportRank(Callback):
    """Writes the end of a rank into a file, as forked processes return little."""

    def __init__(self, folder):
        self.folder = folder

    def on_fit_end(self, trainer, pl_module):
        path = self.folder / f"rank-{trainer.global_rank}.json"
        path.write_text(json.dumps(weights(pl_module).tolist()))


def test_two_processes_agree_on_the_weights(run, tmp_path):
    module = tuner(run, Says("boots"), group_size=4, micro_batch=6)
    callbacks = [ReportRank(tmp_path), Export(str(tmp_path / "out"))]
    ranks = {"strategy": "ddp_fork", "devices": 2}
    fit(run, module, *callbacks, batch_size=4, max_steps=4, **ranks)
    first, second = (json.loads((tmp_path / f"rank-{r}.json").read_text()) for r in range(2))
    assert first == second
    before = weights(tuner(run, Says("boots")))
    assert (torch.tensor(first) - before).abs().max() > 1e-4
    exported = FanoutModel.load(tmp_path / "out")
    end = torch.cat([p.detach().flatten() for p in exported.parameters()])
    assert torch.equal(end, torch.tensor(first))


class Report(Callback):
    """Writes the log and gradients of a rank into a file, as forked processes return little."""

    def __init__(self, folder):
        self.folder, self.record, self.lengths = folder, Record(), []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.record.on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.record.on_train_batch_end(trainer, pl_module)

    def on_fit_end(self, trainer, pl_module):
        report = {
            "loss": self.record.column("train/loss/mean").tolist(),
            "tokens": self.record.column("train/tokens/mean").tolist(),
            "flat": self.record.column("train/zero_variance/share").tolist(),
            "gradients": [None if g is None else g.tolist() for g in self.record.gradients],
            "weights": weights(pl_module).tolist(),
            "steps": trainer.global_step,
        }
        path = self.folder / f"{trainer.world_size}-{trainer.global_rank}.json"
        path.write_text(json.dumps(report))


def reports(run, folder, ranks, objective, batch_size, max_steps, **arguments):
    """What each of ``ranks`` processes reports."""
    module = tuner(run, objective, group_size=4, micro_batch=20, **arguments)
    several = {"strategy": "ddp_fork", "devices": ranks} if ranks > 1 else {}
    fit(run, module, Report(folder), batch_size=batch_size, max_steps=max_steps, **several)
    return [json.loads((folder / f"{ranks}-{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
def test_two_processes_equal_one_at_the_same_global_batch(run, tmp_path, name):
    """All 24 queries in one batch, or 12 on each of two ranks, whose completions differ in length."""
    # So high a weight of one KL term makes a loss whose scale shows the normalization.
    arguments = {"kl_new_old": 0.0, "kl_old_new": 0.5, "normalization": name, "updates": 1}
    two = reports(run, tmp_path, 2, Says("boots"), batch_size=12, max_steps=1, **arguments)
    [one] = reports(run, tmp_path, 1, Says("boots"), batch_size=24, max_steps=1, **arguments)
    assert abs(two[0]["tokens"][0] - two[1]["tokens"][0]) > 0.1
    assert sum(rank["tokens"][0] for rank in two) / 2 == pytest.approx(one["tokens"][0])
    assert two[0]["gradients"] == two[1]["gradients"]
    gradients, expected = (torch.tensor(report["gradients"][0]) for report in (two[0], one))
    loss = (two[0]["loss"][0] + two[1]["loss"][0]) / 2
    same = abs(loss - one["loss"][0]) < 1e-5 and torch.allclose(gradients, expected, atol=1e-5)
    assert same == (name != "bnpo")  # whose tokens weigh more on the rank with fewer


class OneRank(Says):
    """As ``Says`` on rank 0; on rank 1 the score of an unparsable completion."""

    def score(self, sets):
        scores = super().score(sets)
        rank = torch.distributed.get_rank()
        return scores if rank == 0 else torch.zeros_like(scores)


@pytest.mark.parametrize("skip", [False, True])
def test_a_rank_with_nothing_to_learn_does_not_hang_the_others(run, tmp_path, skip):
    ranks = reports(run, tmp_path, 2, OneRank("boots"), 4, max_steps=4, skip_flat_groups=skip)
    assert [report["steps"] for report in ranks] == [4, 4]
    assert ranks[1]["flat"] == [1.0, 1.0]
    assert max(ranks[0]["flat"]) < 1
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert max(abs(part) for part in ranks[0]["gradients"][0]) > 1e-3


def test_ranks_with_nothing_to_learn_count_their_steps(run, tmp_path):
    ranks = reports(run, tmp_path, 2, Same(), 4, max_steps=4)
    before = weights(tuner(run, Same())).tolist()
    for report in ranks:
        assert report["steps"] == 4
        assert report["gradients"] == [None] * 4
        assert report["weights"] == before


def test_a_schedule_without_an_end_does_not_count_the_steps_of_the_fit(run, monkeypatch):
    """Counting them loads the data before the checkpoint has restored its place."""

    def fail(trainer):
        raise AssertionError("counted")

    monkeypatch.setattr(Trainer, "estimated_stepping_batches", property(fail))
    fit(run, tuner(run, Says("boots"), group_size=2), max_steps=2)
    module = FanoutTuner(str(run.folder), Reward({"diversity": 1.0}), schedule=WarmupLinear(0))
    with pytest.raises(AssertionError, match="counted"):
        fit(run, module, max_steps=2)


@pytest.mark.parametrize("limit", [-1, 4])
def test_a_schedule_ends_at_the_last_update_of_the_last_epoch(run, limit):
    """24 queries in batches of 8: 3 rollouts of 2 updates, or the 4 updates that are allowed."""
    rates = []

    class Rates(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    reward = Reward({"diversity": 1.0})
    module = FanoutTuner(str(run.folder), reward, schedule=WarmupLinear(0), optimizer=adamw(1e-3))
    fit(run, module, Rates(), max_epochs=1, max_steps=limit)
    last = 6 if limit == -1 else limit
    assert rates == pytest.approx([1e-3 * (1 - step / last) for step in range(last)])


def test_settings_too_small_are_refused(run):
    with pytest.raises(InputError, match="updates to be at least 1, but found 0. Raise it"):
        tuner(run, Same(), updates=0)
    with pytest.raises(InputError, match="micro_batch to be at least 1, but found 0. Raise it"):
        tuner(run, Same(), micro_batch=0)


def test_a_group_of_one_is_refused(run):
    with pytest.raises(InputError, match=r"group_size of at least 2, .* but found 1\. Use 8"):
        tuner(run, Same(), group_size=1)


def test_the_tuner_takes_the_warm_started_model_and_its_format(run):
    module = tuner(run, Same())
    saved = FanoutModel.load(run.step("warm_start") / "model")
    assert module.fanout.form.spec() == saved.form.spec()
    start = torch.cat([p.detach().flatten() for p in saved.parameters()])
    assert torch.equal(weights(module), start)
    with pytest.raises(InputError, match="found no tune/model in .* Run that step first"):
        tuner(run, Same(), lm=Pretrained("tune/model"))
