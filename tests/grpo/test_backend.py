"""Tuning and synthesis through a server give the same as without, and never use old weights."""

import json

import pytest
import torch
from lightning.pytorch import Callback

from r4t.errors import InputError
from r4t.fanout.formats import Expand
from r4t.fanout.language_model import TinyQwen3
from r4t.fanout.model import FanoutModel
from r4t.fanout.vllm import VllmServer
from r4t.filters import Filter
from r4t.grpo.training import Sampling
from r4t.reward import Reward
from r4t.synthesis import SampledModel, SynthesisTrainer, Synthesizer, Writing
from r4t.training.collapse import CollapseDetector, standard_rules
from r4t.training.query_data import QueryData
from r4t.training.watchdog import RollBack
from tests.vllm_server import SeedsOfServer, replace_broadcast, sampled, serving

pytest.importorskip("openai", reason="the extra vllm is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:No completion of the first rollout")


@pytest.fixture
def served(small_run, monkeypatch):
    """The model of ``tiny.tuner``, to be served."""
    pytest.importorskip("trl")
    replace_broadcast(monkeypatch)
    texts = small_run.searcher().catalog.texts
    lm, tokenizer = TinyQwen3(width=32, layers=1, vocabulary=300).build(texts, None)
    return FanoutModel(lm, tokenizer, Expand(set_size=3), 12)


def connected(seen, **arguments):
    return VllmServer("127.0.0.1", seen.port, start_timeout=0.0, **arguments)


def tuner(tiny, backend):
    return tiny.tuner(sampling=Sampling(max_new_tokens=12, backend=backend))


class Recorder(Callback):
    """Records the plain weights at the start and after each rollout, and the log."""

    def __init__(self):
        self.weights, self.texts, self.gaps = [], [], []

    def on_train_start(self, trainer, pl_module):
        self.weights.append({n: p.detach().clone() for n, p in named(pl_module)})

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.on_train_start(trainer, pl_module)
        self.texts.append(pl_module.rollout.fanouts.texts)
        self.gaps.append(trainer.callback_metrics.get("train/backend_gap/mean"))


def named(module):
    return module.fanout.lm.named_parameters()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_tuning_through_a_server_is_tuning(tiny, served):
    alone, through = Recorder(), Recorder()
    tiny.fit(alone, module=tuner(tiny, SeedsOfServer()), rollouts=3)
    with torch.no_grad():  # the server was started with other weights
        served.lm.model.norm.weight.mul_(2.0)
    with serving(served) as seen:
        tiny.fit(through, module=tuner(tiny, connected(seen)), rollouts=3)
    assert through.texts == alone.texts
    assert same(through.weights[-1], alone.weights[-1])
    # Sent: what training begins with, and exactly what each rollout's updates made of it.
    assert len(seen.received) == 4
    assert all(map(same, seen.received, through.weights))
    assert not same(seen.received[0], seen.received[1])
    assert alone.gaps == [None] * 3
    assert max(through.gaps) < 1e-5  # the server's policy is the one that the loss takes for π_old


def test_the_gap_between_server_and_model_is_logged(tiny, served):
    write = sampled(served)

    def apart(row):
        """Log-probabilities that are a quarter of a nat too small."""
        return [(ids, [value - 0.25 for value in log_probs]) for ids, log_probs in write(row)]

    log = Recorder()
    with serving(served, apart) as seen:
        tiny.fit(log, module=tuner(tiny, connected(seen)), rollouts=1)
    assert log.gaps[0].item() == pytest.approx(0.25, abs=1e-5)


def test_what_a_watchdog_restores_reaches_the_server(tiny, served):
    class Back(Callback):
        """Rolls back after the second rollout."""

        def on_train_start(self, trainer, pl_module):
            self.action = RollBack(slower=0.5)
            self.detector = CollapseDetector(standard_rules(), window=5, patience=3)
            self.action.begin(trainer, pl_module, self.detector)

        def on_train_batch_end(self, trainer, pl_module, batch, outputs, batch_idx):
            if batch_idx == 1:
                self.action.act(trainer, pl_module, self.detector)

    with serving(served) as seen:
        tiny.fit(Back(), module=tuner(tiny, connected(seen)), rollouts=3)
    start, _, two, restored, three = seen.received  # the second of them by the first rollout
    assert same(restored, start)
    assert not same(two, restored)
    assert not same(three, restored)


def test_a_tuner_needs_a_server_that_takes_weights(tiny, served):
    with serving(served) as seen:
        module = tuner(tiny, connected(seen, send_weights=False))
        with pytest.raises(
            InputError,
            match="takes the weights of the model in training.*found send_weights: false",
        ):
            tiny.fit(module=module, rollouts=1)
    assert seen.asked == []


END = "/reset_prefix_cache"


class Ranks(Callback):
    """Writes what a rank ends with."""

    def __init__(self, folder):
        self.folder, self.texts = folder, []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.texts += pl_module.rollout.fanouts.texts

    def on_fit_end(self, trainer, pl_module):
        weights = {name: value.tolist() for name, value in named(pl_module)}
        path = self.folder / f"{trainer.global_rank}.json"
        path.write_text(json.dumps({"texts": self.texts, "weights": weights}))


def test_one_of_two_ranks_sends_and_both_wait(tiny, served, tmp_path):
    """4 queries on each rank: 8 requests between one update and the next."""
    ranks = {"strategy": "ddp_fork", "devices": 2}
    with serving(served, slow=0.3) as seen:
        tiny.fit(Ranks(tmp_path), module=tuner(tiny, connected(seen)), rollouts=2, **ranks)
    paths = [path for path in seen.paths if path in ("/broadcast", "/v1/completions", END)]
    update = ["/broadcast", END]
    assert paths == update + 2 * [*["/v1/completions"] * 8, *update]
    assert seen.paths.count("/init_weight_transfer_engine") == 1
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["weights"] == second["weights"]
    assert first["texts"] != second["texts"]
    sent = {name: value.tolist() for name, value in seen.received[-1].items()}
    assert sent == first["weights"]


def test_synthesis_through_a_server_that_has_the_model(small_run, served):
    """The same as without. Weights need not be sent, so only completions are requested."""
    served.save(small_run.step("tune") / "model")
    path = str((small_run.step("tune") / "model").resolve())

    def write(backend):
        reward = Reward({"diversity": 1.0})
        settings = {"set_size": 3, "writing": Writing(overwrite=True), "keep": Filter()}
        sampling = SampledModel(samples=4, backend=backend)
        module = Synthesizer(str(small_run.folder), reward, sampling, **settings)
        off = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = SynthesisTrainer(accelerator="cpu", limit_predict_batches=1, **off)
        trainer.synthesize(module, datamodule=QueryData(str(small_run.folder), batch_size=8))
        folder = small_run.step("targets")
        return {shard.name: shard.read_bytes() for shard in folder.glob("shard*")}

    expected = write(SeedsOfServer())
    with serving(served, names=("tuned", path)) as seen:
        shards = write(connected(seen, send_weights=False))
    assert shards == expected
    assert set(seen.paths) == {"/tokenize", "/v1/completions"}
    assert len(seen.asked) == 8
