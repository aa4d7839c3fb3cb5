"""Time and memory of Soft-GRPO on a language model of 4 billion parameters, part by part.

    python benchmarks/folm_4b.py            # one GPU of 80 GB
    python benchmarks/folm_4b.py --small    # the same on a CPU, in seconds: does it run?

A model of Qwen3-4B's architecture with random weights in bfloat16, LoRA on all linear layers and
checkpointed layers make three rollouts of two updates each: write, encode, search, score, update.
The format is forced: a token is a word, a completion runs to the limit (but for the one token in
the vocabulary that ends it) and is cut into k sub-queries, and the reward is the share of even token
ids, so that groups vary. At each
step the gradients of the adapters must not be zero. Writes benchmarks/results/folm_4b.json: seconds,
and on a GPU the most memory, of each part of each rollout.

Without ``peft`` it says so; ``--last_layers 2`` then trains the last layers themselves.

Not yet run on hardware: only --small has been run, on a CPU.
"""

import argparse
import json
import platform
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from lightning.pytorch import Callback, Trainer, seed_everything
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from r4t.catalog import write_catalog
from r4t.data.queries import Query, write_queries
from r4t.data.source import Items
from r4t.encoder.lsa import LsaEncoder
from r4t.fanout.formats import Full
from r4t.fanout.language_model import checkpoint_layers
from r4t.fanout.lora import LoRA
from r4t.grpo.data import QueryData
from r4t.grpo.module import FanoutTuner
from r4t.objective import Objective
from r4t.reward import Reward
from r4t.run import Run
from r4t.sets import SetBatch
from r4t.stopwatch import Stopwatch

QWEN3_4B = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151936,
}
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 512,
}
WORDS = 500  # of the catalog; token i is read as word i modulo this
SET_SIZE = 10


@dataclass(frozen=True)
class Size:
    """How much is made of everything.

    Attributes:
        model: Of the architecture.
        queries: B a rollout.
        group: Rollouts G a query.
        prompt: Words of a query.
        entry: Tokens of a sub-query.
        micro_batch: Rollouts in one forward pass.
        items: Of the catalog.
    """

    model: dict[str, int]
    queries: int = 8
    group: int = 8
    prompt: int = 128
    entry: int = 16
    micro_batch: int = 8
    items: int = 20000


SIZES = {
    "4b": Size(QWEN3_4B),
    "small": Size(SMALL, queries=2, group=4, prompt=8, entry=3, micro_batch=3, items=300),
}


class Random:
    """A model of Qwen3's architecture with random weights and a word for each token.

    Args:
        settings: Of the architecture.
        dtype: Of the weights.
        last_layers: How many layers are trained if no adapters are: the last ones.
    """

    def __init__(self, settings: dict[str, int], dtype: torch.dtype, last_layers: int = 0) -> None:
        self.settings = settings
        self.dtype = dtype
        self.last_layers = last_layers

    def build(
        self, texts: Sequence[str], root: Path
    ) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
        """Draw the weights where they are to stay, and checkpoint the layers."""
        words = {f"w{number}": number for number in range(self.settings["vocab_size"])}
        backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, pad_token="w0", eos_token="w1", unk_token="w2"
        )
        config = Qwen3Config(
            **self.settings,
            rope_theta=1e6,
            max_position_embeddings=40960,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
        torch.set_default_dtype(self.dtype)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen3ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
        checkpoint_layers(model)
        if self.last_layers:
            model.requires_grad_(False)
            for layer in model.model.layers[-self.last_layers :]:
                layer.requires_grad_(True)
        return model.train(), tokenizer

    def saved_form(self, root: Path) -> None:
        """Return None: it was never saved."""


class Forced:
    """A contract that asks for nothing and reads anything: k entries of a fixed number of words.

    Args:
        entry: Words of an entry.
    """

    think = False

    def __init__(self, entry: int) -> None:
        self.entry = entry

    def prompt(self, query: str, set_size: int, entry: str) -> str:
        """Return the query."""
        return query

    def write(self, entries: Sequence[str]) -> str:
        """Return the entries one after the other."""
        return " ".join(entries)

    def read(self, completion: str) -> list[str]:
        """Return words of the catalog, as many an entry as there are tokens in one."""
        words = [f"w{int(word[1:]) % WORDS}" for word in completion.split()]
        return [" ".join(words[at : at + self.entry]) for at in range(0, len(words), self.entry)]

    def end(self, set_size: int) -> tuple[str, int]:
        """Return what no token holds."""
        return "\n", 1

    def complete(self, completion: str, set_size: int) -> bool:
        """Never: completions run to the limit."""
        return False

    def spec(self, entry: str) -> dict[str, Any]:
        """Return nothing to rebuild it from: it is not saved."""
        return {"name": "Forced"}


class EvenTokens(Objective):
    """Share of the tokens of all sub-queries whose ids are even."""

    bounds = (0.0, 1.0)
    needs = frozenset({"texts"})

    def score(self, sets: SetBatch) -> Tensor:
        """Count: the word of a token is even where its id is."""
        shares = []
        for texts in sets.texts:  # type: ignore[union-attr]
            words = " ".join(texts).split()
            shares.append(sum(int(word[1:]) % 2 == 0 for word in words) / max(len(words), 1))
        return torch.tensor(shares)


class Meter(Stopwatch):
    """A stopwatch that also keeps the most GPU memory allocated in each part, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, int] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a block, and look at the most memory that it had."""
        outer = not self._running
        if outer and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with super().part(name):
            yield
        if outer and torch.cuda.is_available():
            found = torch.cuda.max_memory_allocated()
            self.memory[name] = max(found, self.memory.get(name, 0))


class Record(Callback):
    """Keeps seconds, reward and memory of each rollout, and the norms of what adapters learn from.

    Raises:
        RuntimeError: Gradients are zero where they must not be.
    """

    def __init__(self) -> None:
        self.rollouts: list[dict[str, Any]] = []
        self.norms: list[dict[str, float]] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        """Look at the gradients; those of A are zero at first, because B is."""
        found = {
            name: float(weight.grad.norm()) if weight.grad is not None else 0.0
            for name, weight in pl_module.fanout.named_parameters()
            if weight.requires_grad
        }
        first = not self.norms
        zero = [name for name, norm in found.items() if not norm > 0]
        zero = [name for name in zero if not (first and ".lora_A." in name)]
        if zero:
            raise RuntimeError(f"{len(zero)} of {len(found)} gradients are zero: {zero[:3]}")
        self.norms.append(
            {
                kind: min(norms)
                for kind in (".lora_A.", ".lora_B.", "model.")
                if (norms := [norm for name, norm in found.items() if kind in name])
            }
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Keep what was logged."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        kept = {name: value for name, value in logged.items() if name.endswith("/seconds")}
        for name in ("train/reward/mean", "train/reward/spread", "train/tokens/mean"):
            kept[name] = logged[name]
        if not logged["train/reward/spread"] > 0:
            raise RuntimeError("No group varied, so that there was nothing to learn.")
        self.rollouts.append({"seconds_and_reward": kept, "memory": dict(pl_module.watch.memory)})
        pl_module.watch.memory.clear()


def small_world(folder: Path, size: Size) -> Run:
    """Write a catalog of made-up words and queries, and begin a run on them."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(WORDS, (size.items, 6), generator=generator).tolist()
    texts = [" ".join(f"w{number}" for number in row) for row in drawn]
    items = Items([f"i{row}" for row in range(len(texts))], texts, {})
    encoder = LsaEncoder.fit(texts, dim=min(128, WORDS // 4))
    write_catalog(folder / "catalog", items, encoder.encode(texts), encoder)
    asked = torch.randint(WORDS, (3 * size.queries, size.prompt), generator=generator).tolist()
    queries = [
        Query(f"q{row}", " ".join(f"w{number}" for number in words), "made up", ())
        for row, words in enumerate(asked)
    ]
    write_queries(folder / "queries", {"train": queries, "val": queries[:1], "test": queries[:1]})
    return Run.begin(folder)


def measure(size: Size, rollouts: int, rank: int, last_layers: int, folder: Path) -> dict[str, Any]:
    """Tune for some rollouts and return what was measured."""
    seed_everything(0, verbose=False)
    run = small_world(folder, size)
    source: Any = Random(size.model, torch.bfloat16, last_layers)
    tuner = FanoutTuner(
        str(run.folder),
        Reward({"even": 1.0}, {"even": EvenTokens()}),
        source if last_layers else LoRA(source, rank=rank),
        Full(Forced(size.entry), SET_SIZE),
        group_size=size.group,
        micro_batch=size.micro_batch,
        learning_rate=1e-4,
        max_new_tokens=SET_SIZE * size.entry,
    )
    tuner.watch = tuner.searcher.watch = Meter()
    record = Record()
    trainer = Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        max_steps=rollouts * tuner.updates,
        limit_val_batches=0,
        callbacks=[record],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
    )
    trainer.fit(tuner, QueryData(str(run.folder), batch_size=size.queries))
    weights = list(tuner.fanout.parameters())
    names = sorted(record.rollouts[0]["seconds_and_reward"])
    return {
        "parameters": sum(weight.numel() for weight in weights),
        "trained": sum(weight.numel() for weight in weights if weight.requires_grad),
        "rollouts": record.rollouts,
        "median_seconds": {
            name: median(found["seconds_and_reward"][name] for found in record.rollouts)
            for name in names
            if name.endswith("/seconds")
        },
        "least_gradient_norms": record.norms,
        "peak_process_memory_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def hardware() -> dict[str, Any]:
    """What it ran on."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    found["transformers"] = transformers.__version__
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu_memory": properties.total_memory}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="A tiny model: does it run?")
    parser.add_argument("--rollouts", type=int, default=3)
    parser.add_argument("--rank", type=int, default=16, help="Of the adapters.")
    parser.add_argument(
        "--last_layers", type=int, default=0, help="Train so many layers themselves, without LoRA."
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/folm_4b.json")
    told = parser.parse_args(arguments)
    if not told.last_layers and find_spec("peft") is None:
        parser.error("LoRA needs peft, found none installed; install it, or say --last_layers 2.")
    size = SIZES["small" if told.small else "4b"]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(size, told.rollouts, told.rank, told.last_layers, Path(folder))
    settings = {
        "small": told.small,
        "model": size.model,
        "trained": f"last {told.last_layers} layers" if told.last_layers else f"LoRA {told.rank}",
        "queries": size.queries,
        "group_size": size.group,
        "prompt_tokens": size.prompt,
        "completion_tokens": SET_SIZE * size.entry,
        "micro_batch": size.micro_batch,
        "items": size.items,
    }
    text = json.dumps({"settings": settings, "hardware": hardware(), **found}, indent=2)
    told.out.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(found["median_seconds"], indent=2))


if __name__ == "__main__":
    main()
