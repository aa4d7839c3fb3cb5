"""Qwen3-4B's architecture and the paper's diffusion network on one GPU, timed from ids to item rows.

Random weights: they do not change the time. The language model writes exactly ``completion`` tokens
after a prompt; its k sub-queries, cut from them, are encoded by a network of MiniLM's size and searched
for. The diffusion network makes k directions from the encoded query, which are searched for. Both
encode and search on the GPU. Of each side the fastest of several ways is kept for each batch: eager, or
compiled into CUDA graphs. Compilation is timed apart and never counted.

Not yet run on hardware: only --small has been run, on a CPU.
"""

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3ForCausalLM, StaticCache

from benchmarks.folm_4b import QWEN3_4B, SMALL
from benchmarks.latency import SLOW, in_turns, rows
from r4t.diffusion.generator import DirectionGenerator
from r4t.diffusion.network import SetTransformer
from r4t.diffusion.sampler import Euler, Multistep, ReverseSde
from r4t.diffusion.schedule import Levels, Tangent

PAPER_NETWORK = {
    "dim": 128, "width": 1024, "mlp_width": 1024, "heads": 16, "layers": 6, "set_size": 12,
    "condition_tokens": 1, "dropout": 0.1,
}  # fmt: skip
MINILM = {
    "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "vocab_size": 30522,
}  # fmt: skip
K, TARGET = 10, 100


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        model: Of the language model's architecture.
        encoder: Of the encoder's.
        network: Of the diffusion network's.
        prompt: Tokens of a prompt.
        completion: Tokens of a completion.
        query: Tokens of a query or sub-query at the encoder.
        items: Of the catalog (the paper's WSCR pool).
        sde_batch: The largest batch of the 256 guided steps.
    """

    model: dict[str, int]
    encoder: dict[str, int]
    network: dict[str, Any]
    prompt: int = 100
    completion: int = 150
    query: int = 12
    items: int = 142_472
    sde_batch: int = 64


SIZES = {
    False: Size(QWEN3_4B, MINILM, PAPER_NETWORK),
    True: Size(
        SMALL,
        {**MINILM, "hidden_size": 48, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 99},
        {**PAPER_NETWORK, "width": 32, "mlp_width": 32, "layers": 1},
        prompt=5, completion=20, query=4, items=300, sde_batch=1,
    ),
}  # fmt: skip


class World:
    """Encoder, catalog and clock that both sides share.

    Args:
        size: How large.
        device: Where.
    """

    def __init__(self, size: Size, device: torch.device) -> None:
        self.size, self.device = size, device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        with device:
            self.encoder = BertModel(BertConfig(**size.encoder), add_pooling_layer=False)
            self.encoder = self.encoder.to(self.dtype).eval()
            self.project = nn.Linear(size.encoder["hidden_size"], 128, dtype=self.dtype)
            self.catalog = nn.functional.normalize(torch.randn(size.items, 128), dim=-1)

    def now(self) -> float:
        """Seconds, once the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def encode(self, ids: Tensor) -> Tensor:
        """Token ids (n, T) → unit vectors (n, 128)."""
        hidden = self.encoder(ids).last_hidden_state.mean(1)
        return nn.functional.normalize(self.project(hidden).float(), dim=-1)

    def search(self, directions: Tensor) -> Tensor:
        """Directions (n, 128) → rows (n,) of the nearest items, exactly."""
        parts = [(part @ self.catalog.T).argmax(-1) for part in directions.split(1024)]
        return torch.cat(parts)

    def ids(self, count: int, tokens: int, vocabulary: int) -> Tensor:
        """Random token ids."""
        return torch.randint(3, vocabulary, (count, tokens), device=self.device)


class Writer:
    """The language model: one way of writing, in parts that fit into memory.

    Args:
        world: Shared.
        model: Of Qwen3's architecture.
        compiled: Whether a decoding step is compiled into a CUDA graph over a static cache.
    """

    def __init__(self, world: World, model: Qwen3ForCausalLM, compiled: bool) -> None:
        self.world, self.model, self.compiled = world, model, compiled
        mode = "reduce-overhead" if world.device.type == "cuda" else "default"
        self.forward = torch.compile(model, mode=mode) if compiled else model
        self.split = 1  # parts of a batch, where memory does not hold it whole

    def __call__(self, batch: int, call: int) -> dict[str, float]:
        """Seconds of one call by part."""
        world, size = self.world, self.world.size
        prompt = world.ids(batch, size.prompt, size.model["vocab_size"])
        start = world.now()
        written = self._written(prompt)
        wrote = world.now()
        texts = written[:, : K * (size.completion // K)].reshape(batch * K, -1)
        texts = texts[:, : size.query] % size.encoder["vocab_size"]
        directions = torch.cat([world.encode(part) for part in texts.split(2048)])
        encoded = world.now()
        world.search(directions)
        end = world.now()
        return parts(encoded - wrote, wrote - start, end - encoded)

    def _written(self, prompt: Tensor) -> Tensor:
        while True:
            try:
                pieces = [self._write(part) for part in prompt.chunk(self.split)]
                return torch.cat(pieces)
            except torch.OutOfMemoryError:
                if self.split >= len(prompt):
                    raise
                self.split *= 2
                torch.cuda.empty_cache()

    def _write(self, prompt: Tensor) -> Tensor:
        """Greedy tokens (B, completion): the choice of a token costs as good as nothing."""
        size, length = self.world.size, prompt.shape[1]
        cache = None
        if self.compiled:
            cache = StaticCache(self.model.config, max_cache_len=length + size.completion)
        out = self.model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        token, tokens = out.logits[:, -1:].argmax(-1), []
        for place in range(size.completion):
            tokens.append(token)
            if place == size.completion - 1:
                break
            position = torch.tensor([[length + place]], device=token.device)
            if self.compiled and self.world.device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()
            out = self.forward(token, past_key_values=cache, position_ids=position, use_cache=True)
            token = out.logits[:, -1:].argmax(-1).clone()
        return torch.cat(tokens, dim=1)


class Maker:
    """The diffusion retriever: encode, generate, search.

    Args:
        world: Shared.
        generator: With its sampler.
        compiled: Whether its network is compiled.
    """

    def __init__(self, world: World, generator: DirectionGenerator, compiled: bool) -> None:
        self.world, self.generator, self.compiled = world, generator, compiled

    def __call__(self, batch: int, call: int) -> dict[str, float]:
        """Seconds of one call by part."""
        world = self.world
        ids = world.ids(batch, world.size.query, world.size.encoder["vocab_size"])
        start = world.now()
        query = world.encode(ids)
        encoded = world.now()
        with torch.autocast(world.device.type, torch.bfloat16, world.device.type == "cuda"):
            directions = self.generator(query, range(call * batch, (call + 1) * batch))
        made = world.now()
        world.search(directions[:, :K].flatten(0, 1).float())
        end = world.now()
        return parts(encoded - start, made - encoded, end - made)


def parts(encode: float, generate: float, search: float) -> dict[str, float]:
    """Seconds by part."""
    total = encode + generate + search
    return {"encode": encode, "generate": generate, "search": search, "total": total}


def bandwidth(world: World, repeats: int = 20) -> float:
    """Bytes a second that the device reads and writes in a large copy, best of several."""
    count = (1 << 30) if world.device.type == "cuda" else (1 << 22)
    source = torch.ones(count, dtype=torch.uint8, device=world.device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(repeats):
        start = world.now()
        target.copy_(source)
        seconds.append(world.now() - start)
    return 2 * count / min(seconds)


def floor(tokens: int, weight_bytes: int, bytes_a_second: float) -> float:
    """Least seconds in which a language model can write: it reads all weights for each token.

    Example:
        >>> floor(150, 8_000_000_000, 4e12)
        0.3
    """
    return tokens * weight_bytes / bytes_a_second


def makers(world: World) -> dict[str, dict[str, Callable[..., Any]]]:
    """Every setting of the diffusion side → its ways, by name."""
    with world.device:
        networks = {
            way: SetTransformer(**world.size.network).eval() for way in ("eager", "compiled")
        }
    networks["compiled"].load_state_dict(networks["eager"].state_dict())
    mode = "reduce-overhead" if world.device.type == "cuda" else "default"
    networks["compiled"].compile(mode=mode)
    settings = {
        "diffusion, 4 evaluations": (Levels((80.0, 2.0, 1.0, 0.4)), Euler(4), 0.0),
        "diffusion, 8 evaluations": (None, Multistep(8), 0.0),
        "diffusion, 20 evaluations": (None, Multistep(20), 0.0),
        "diffusion, 512 evaluations (paper)": (Tangent(), ReverseSde(256), 0.1),
    }
    return {
        name: {
            way: Maker(
                world,
                DirectionGenerator(network, schedule, sampler, guidance).eval(),
                way == "compiled",
            )
            for way, network in networks.items()
        }
        for name, (schedule, sampler, guidance) in settings.items()
    }


def fastest(ways: dict[str, Callable[..., Any]], batch: int) -> tuple[str, dict[str, Any]]:
    """Try each way twice, the second time warm; return the fastest and what was seen."""
    seen = {}
    for way, side in ways.items():
        start = time.perf_counter()
        try:
            side(batch, 0)
            first = time.perf_counter() - start
            side(batch, 1)
            warm = median(side(batch, call)["generate"] for call in (2, 3))
            seen[way] = {"first call": first, "generate": warm}
        except Exception as error:
            seen[way] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    working = {way: told["generate"] for way, told in seen.items() if "generate" in told}
    if not working:
        raise RuntimeError(f"No way of generating works here: {seen}")
    return min(working, key=working.__getitem__), seen


@torch.no_grad()
def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Time every setting at every batch, and the floor of the language model at batch 8."""
    size, device = SIZES[asked.small], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    world = World(size, device)
    with device:
        model = Qwen3ForCausalLM(Qwen3Config(**size.model)).to(world.dtype).eval()
    weight_bytes = sum(w.numel() * w.element_size() for w in model.parameters())
    speed = bandwidth(world)
    every = {SLOW: {"eager": Writer(world, model, False), "compiled": Writer(world, model, True)}}
    every |= makers(world)
    table, told, all_calls = [], {}, {}
    for batch in asked.batches:
        chosen = {}
        for name, ways in every.items():
            if "paper" in name and batch > size.sde_batch:
                continue
            if asked.eager:
                ways = {"eager": ways["eager"]}
            best, seen = fastest(ways, batch)
            chosen[name] = ways[best]
            told[f"{batch}, {name}"] = {"kept": best, "ways": seen}
            if name == SLOW:
                told[f"{batch}, {name}"]["parts of the batch"] = ways[best].split
        timed = in_turns(chosen, batch, asked.calls, asked.budget)
        table += rows(batch, timed)
        all_calls[batch] = timed
    least = floor(size.completion, weight_bytes, speed)
    return {
        "hardware": hardware(device),
        "precision": "bfloat16 weights; the diffusion network float32 under bfloat16 autocast"
        if device.type == "cuda"
        else "float32",
        "compiled": told,
        "settings": {"k": K, **vars(size), "weight_bytes": weight_bytes},
        "floor": against_floor(table, least, speed),
        "table": table,
        "calls": all_calls,
    }


def against_floor(table: list[dict[str, Any]], least: float, speed: float) -> dict[str, Any]:
    """The floor at batch 8, and how many times as fast four evaluations are as it."""
    found = {"bytes a second": speed, "floor, s": least, "target": TARGET}
    for row in table:
        if "4 evaluations" in row["side"]:
            key = f"batch {row['batch']}"
            found[key] = {
                "end to end": row["times as fast"],
                "generation alone": row["generation alone"],
            }
            if row["batch"] == 8:
                found[key]["floor / generation"] = least / row["generate"]
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """What it ran on."""
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    found["transformers"] = transformers.__version__
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu memory": properties.total_memory}
        found["cuda"] = torch.version.cuda
    return found
