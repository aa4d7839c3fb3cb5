"""The paper's sizes → seconds of Qwen3-4B and of the diffusion retriever, in turns on one GPU.

Random weights in bfloat16, completions of a fixed length. The language model is run in several
ways, see ``benchmarks.decoding``, and the fastest counts. No text is tokenized or read, which favors
it: its tokens are taken as the tokens of the sub-queries that the encoder reads.
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
    """How much there is of everything.

    Attributes:
        model: Of the language model.
        network: Of the diffusion retriever.
        encoder: Of the text encoder.
        settings: Of the sampler: method → steps, guidance, sampler.
        prompt: Tokens P of a prompt.
        tokens: Tokens T of a completion.
        set_size: Sub-queries k of a completion, directions k of a set.
        query_tokens: Of a query, as the encoder reads it.
        items: N of the catalog.
        top_k: Items retrieved for a direction.
        batches: Queries a call.
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
        weight_bytes: Of the language model, read for every token.
        bytes_per_second: That the device's memory moves.
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
        """Least seconds of a completion: memory moves all weights once a token, at any batch."""
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
    """From prompts (B, P): write, encode the sub-queries, search.

    Args:
        world: The models.
        write: Returns (B, T).
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
    """From the tokens of B queries: encode, generate all directions, search with k of them."""
    size = world.size
    ids = world.draw(batch, size.query_tokens, size.encoder["vocab_size"])
    encode = recorded(lambda: world.encode(ids), world.device)
    generator = with_setting(world.generators[way], size.settings[setting])
    generate = deployed(generator) if way == DEPLOYED else graphed(generator, batch, world.device)
    seeds = list(range(batch))

    def call() -> dict[str, float]:
        vectors, encoding = timed(encode)
        rows, generating = timed(lambda: generate(vectors, seeds))
        wanted = rows[:, : size.set_size].flatten(0, 1)
        _, searching = timed(lambda: world.index.search(wanted, size.top_k))
        return parts(encoding, generating, searching)

    return call


def parts(encode: float, generate: float, search: float) -> dict[str, float]:
    """Seconds of a call; each part begins and ends with the device at rest."""
    total = encode + generate + search
    return {"encode": encode, "generate": generate, "search": search, "total": total}


def diffusion_calls(world: World, batch: int) -> list[tuple[Timing, Call]]:
    """Build every sampler setting in every way, at one batch size."""
    built = []
    for setting in world.size.settings:
        for way in world.generators:
            timing = Timing(setting, batch, f"bfloat16, {way}")
            call, timing.prepared = timed(
                lambda setting=setting, way=way: diffusion_call(world, setting, way, batch)
            )
            built.append((timing, call))
    return built


def language_side(world: World, kind: str, batch: int) -> tuple[Timing, Call]:
    """Build the language model's side in one way of writing."""
    prompts = world.draw(batch, world.size.prompt, world.size.model["vocab_size"])
    timing = Timing(LANGUAGE, batch, f"bfloat16, {kind}")
    write, seconds = timed(lambda: writer(kind, world.model, prompts, world.size.tokens))
    if write.parts > 1:
        timing.note = f"in {write.parts} parts: memory does not hold the batch"
    call, more = timed(lambda: language_call(world, write, prompts))
    timing.prepared = seconds + more
    return timing, call


def measure(
    world: World, batch: int, writers: Sequence[str], most: int, budget: float
) -> list[Group]:
    """Time every way of writing in turns with every diffusion retriever, at one batch size."""
    diffusion = diffusion_calls(world, batch)
    groups = []
    for kind in writers:
        language = language_side(world, kind, batch)
        others = [(replace(timing, calls=[]), call) for timing, call in diffusion]
        alternate([language, *others], most, budget / len(writers))
        groups.append(Group(language[0], [timing for timing, _ in others]))
        told = f"batch {batch}, {kind}: {language[0].median('generate'):.4g} s alone"
        print(f"{told}, {language[0].prepared:.0f} s before", flush=True)
        del language
        gc.collect()  # its cache must be gone before the next one is made
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
    """Measure batch by batch; write what there is after each.

    Args:
        folder: Where to write.
        about: Command and hardware.
        small: Take tiny sizes.
        batches: Queries a call.
        writers: Ways of writing to try.
        most: Rounds at most.
        budget: Seconds a batch size after which no further round begins.
        add: Keep what ``folder`` holds of other batch sizes, measured on equal hardware.

    Raises:
        ValueError: It was measured on other hardware.

    Returns:
        The rows of the table.
    """
    size = SIZES["small" if small else "paper"]
    batches = batches or size.batches
    groups: list[Group] = []
    if add and (folder / "latency.json").is_file():
        groups, before, _ = read(folder / "latency.json")
        if before["hardware"] != about["hardware"]:
            raise ValueError(f"{folder} was measured on {before['hardware']}: take another --out.")
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
        known = sorted({group.baseline.batch for group in groups})
        floors = {one: world.floor(one) for one in known}
        found = write(folder, groups, about, floors)
    return found
