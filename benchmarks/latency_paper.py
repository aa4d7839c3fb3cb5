"""The paper's sizes → seconds of Qwen3-4B and of the diffusion retriever, alternating on one GPU.

The weights are random bfloat16, and completions have a fixed length. The language model runs in
several ways (``benchmarks.decoding``), and the fastest counts. Nothing is tokenized or parsed, which
favors the language model: its tokens count as the tokens of the sub-queries that the encoder reads.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3ForCausalLM

from benchmarks.decoding import WRITERS, InParts, writer
from benchmarks.device import bandwidth, default_device, floor, held, recorded, release, timed
from benchmarks.directions import (
    DEPLOYED,
    NETWORK,
    SETTINGS,
    build_generator,
    deployed,
    graphed,
    ways,
    with_setting,
)
from benchmarks.folm_4b import QWEN3_4B
from benchmarks.folm_4b import SMALL as SMALL_QWEN3
from benchmarks.latency_report import Call, Group, Timing, alternate, read, write
from r4t.geometry import normalize
from r4t.index import TorchIndex

LANGUAGE = "autoregressive"
MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 30522,
}


@dataclass(frozen=True)
class Size:
    """Sizes of a measurement.

    Attributes:
        model: Architecture of the language model.
        network: Architecture of the diffusion retriever.
        encoder: Architecture of the text encoder.
        settings: Settings of the sampler by method: steps, guidance, sampler.
        prompt: Tokens P per prompt.
        tokens: Tokens T per completion.
        set_size: Sub-queries k per completion, directions k per set.
        query_tokens: Tokens of a query for the encoder.
        items: N, items in the catalog.
        top_k: Items retrieved per direction.
        batches: Queries per call.
        copied: Bytes of the copies that measure the bandwidth.
    """

    model: dict[str, int]
    network: dict[str, Any]
    encoder: dict[str, int]
    settings: dict[str, Any]
    prompt: int = 100
    tokens: int = 150
    set_size: int = 10
    query_tokens: int = 8
    items: int = 142_472
    top_k: int = 10
    batches: tuple[int, ...] = (1, 8, 64, 256, 1024)
    copied: int = 4 * 2**30


SIZES = {
    "paper": Size(QWEN3_4B, NETWORK, MINILM, SETTINGS),
    "small": Size(
        SMALL_QWEN3,
        NETWORK | {"dim": 32, "width": 64, "mlp_width": 64, "heads": 2, "layers": 2},
        {name: number // 6 for name, number in MINILM.items()},
        dict(list(SETTINGS.items())[:2]),
        prompt=12,
        tokens=30,
        items=500,
        batches=(1, 4),
        copied=2**20,
    ),
}


class World:
    """All models and the catalog, on one device.

    Attributes:
        weight_bytes: Bytes of the language model, read for every token.
        bytes_per_second: Bandwidth of the device's memory.
    """

    def __init__(self, size: Size, device: torch.device) -> None:
        self.size, self.device = size, device
        torch.manual_seed(0)
        self.bytes_per_second = bandwidth(size.copied, device)
        config = Qwen3Config(
            **size.model, rope_theta=1e6, tie_word_embeddings=True, bos_token_id=None
        )
        torch.set_default_dtype(torch.bfloat16)
        try:
            with device:
                self.model = Qwen3ForCausalLM(config).eval()
                self.encoder = BertModel(BertConfig(**size.encoder)).eval()
        finally:
            torch.set_default_dtype(torch.float32)
        self.generator = build_generator(size.network, device)
        self.generators = ways(self.generator)
        dim = self.generator.dim
        self.index = TorchIndex(normalize(torch.randn(size.items, dim, device=device)))
        self.weight_bytes = held(*self.model.parameters())

    def floor(self, batch: int) -> float:
        """Minimum seconds of a completion: every token reads all weights once, at any batch."""
        return floor(self.size.tokens, self.weight_bytes, self.bytes_per_second)

    def draw(self, batch: int, length: int, vocabulary: int) -> Tensor:
        """Return random token ids (B, n)."""
        return torch.randint(2, vocabulary, (batch, length), device=self.device)

    @torch.no_grad()
    def encode(self, ids: Tensor) -> Tensor:
        """Return (n, d) unit vectors of token ids (n, T): the mean token's first d coordinates."""
        hidden = self.encoder(input_ids=ids).last_hidden_state.mean(1)
        return normalize(hidden[:, : self.generator.dim].float())


def language_call(world: World, write: InParts, prompts: Tensor) -> Call:
    """Return a call that starts from prompts (B, P): write, encode the sub-queries, search.

    Args:
        world: The models.
        write: Returns completions (B, T).
        prompts: One batch.
    """
    size = world.size
    rows, vocabulary = len(prompts) * size.set_size, size.encoder["vocab_size"]
    entry = size.tokens // size.set_size
    ids = torch.zeros(rows, entry, dtype=torch.long, device=world.device)
    encode = recorded(lambda: world.encode(ids), world.device)

    def encoded(written: Tensor) -> Tensor:
        ids.copy_(written[:, : entry * size.set_size].reshape(rows, entry) % vocabulary)
        return encode()

    def call() -> dict[str, float]:
        written, generating = timed(lambda: write(prompts))
        vectors, encoding = timed(lambda: encoded(written))
        _, searching = timed(lambda: world.index.search(vectors, size.top_k))
        return parts(encoding, generating, searching)

    return call


def diffusion_call(world: World, setting: str, way: str, batch: int) -> Call:
    """Return a call that starts from query tokens: encode, generate directions, search with k."""
    size = world.size
    ids = world.draw(batch, size.query_tokens, size.encoder["vocab_size"])
    encode = recorded(lambda: world.encode(ids), world.device)
    generator = with_setting(world.generators[way], size.settings[setting])
    generate = deployed(generator) if way == DEPLOYED else graphed(generator, batch, world.device)
    seeds = list(range(batch))

    def call() -> dict[str, float]:
        vectors, encoding = timed(encode)
        rows, generating = timed(lambda: generate(vectors, seeds))
        directions = rows[:, : size.set_size].flatten(0, 1)
        _, searching = timed(lambda: world.index.search(directions, size.top_k))
        return parts(encoding, generating, searching)

    return call


def parts(encode: float, generate: float, search: float) -> dict[str, float]:
    """Seconds of a call by part; each part begins and ends with an idle device."""
    total = encode + generate + search
    return {"encode": encode, "generate": generate, "search": search, "total": total}


def diffusion_calls(world: World, batch: int) -> list[tuple[Timing, Call]]:
    """Build every sampler setting in every way to run it, at one batch size."""
    calls = []
    for setting in world.size.settings:
        for way in world.generators:
            timing = Timing(setting, batch, f"bfloat16, {way}")
            call, timing.prepared = timed(
                lambda setting=setting, way=way: diffusion_call(world, setting, way, batch)
            )
            calls.append((timing, call))
    return calls


def language_side(world: World, kind: str, batch: int) -> tuple[Timing, Call]:
    """Build the language model's call with one kind of writer."""
    prompts = world.draw(batch, world.size.prompt, world.size.model["vocab_size"])
    timing = Timing(LANGUAGE, batch, f"bfloat16, {kind}")
    write, seconds = timed(lambda: writer(kind, world.model, prompts, world.size.tokens))
    if write.parts > 1:
        timing.note = f"in {write.parts} parts, because the batch does not fit into memory"
    call, more = timed(lambda: language_call(world, write, prompts))
    timing.prepared = seconds + more
    return timing, call


def measure(
    world: World, batch: int, writers: Sequence[str], most: int, budget: float
) -> list[Group]:
    """Time every writer, alternating with every diffusion retriever, at one batch size."""
    diffusion = diffusion_calls(world, batch)
    groups = []
    for kind in writers:
        language = language_side(world, kind, batch)
        others = [(replace(timing, calls=[]), call) for timing, call in diffusion]
        alternate([language, *others], most, budget / len(writers))
        groups.append(Group(language[0], [timing for timing, _ in others]))
        line = f"batch {batch}, {kind}: fan-out {language[0].median('generate'):.4g} s"
        print(f"{line}, preparation {language[0].prepared:.0f} s", flush=True)
        del language
        gc.collect()  # frees its cache before the next one is made
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    release()
    return groups


def time_paper(
    folder: Path,
    about: dict[str, Any],
    small: bool = False,
    batches: Sequence[int] | None = None,
    writers: Sequence[str] = WRITERS,
    most: int = 15,
    budget: float = 60.0,
    add: bool = False,
) -> list[dict[str, Any]]:
    """Measure one batch size after another, and write the results after each.

    Args:
        folder: Output folder.
        about: Command and hardware.
        small: Whether to use tiny sizes.
        batches: Queries per call.
        writers: Kinds of writers to try.
        most: Maximum number of rounds.
        budget: Seconds per batch size after which no further round starts.
        add: Whether to keep other batch sizes in ``folder``, measured on the same hardware.

    Raises:
        ValueError: If they were measured on other hardware.

    Returns:
        The rows of the table.
    """
    size = SIZES["small" if small else "paper"]
    batches = batches or size.batches
    groups: list[Group] = []
    if add and (folder / "latency.json").is_file():
        groups, before, _ = read(folder / "latency.json")
        if before["hardware"] != about["hardware"]:
            raise ValueError(
                f"{folder} was measured on {before['hardware']}. Choose another --out."
            )
        groups = [group for group in groups if group.baseline.batch not in batches]
    world = World(size, default_device())
    about |= {
        "precision": "bfloat16 weights, matrix products and attention; float32 rows and search",
        "sizes": {name: str(value) for name, value in vars(size).items()},
        "weight_bytes": world.weight_bytes,
        "diffusion_parameters": sum(p.numel() for p in world.generator.parameters()),
        "bytes_per_second": world.bytes_per_second,
    }
    for batch in batches:
        groups += measure(world, batch, writers, most, budget)
        measured = sorted({group.baseline.batch for group in groups})
        table = write(folder, groups, about, {one: world.floor(one) for one in measured})
    return table
