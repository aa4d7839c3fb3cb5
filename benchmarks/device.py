"""A device → its description, its memory bandwidth, and timed or recorded work on it."""

import gc
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import torch
import transformers
from torch import Tensor

from benchmarks.rerank import processor

Result = TypeVar("Result")
# On a CPU, compilation only traces: inductor's CPU code says nothing about a GPU.
BACKEND = "inductor" if torch.cuda.is_available() else "eager"


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hardware() -> dict[str, Any]:
    """Processor, GPU and versions that a benchmark ran on."""
    facts: dict[str, Any] = {
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "driver": driver(),
            "cuda": torch.version.cuda,
        }
    return facts


def driver() -> str:
    """Version of the GPU's driver according to nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return "unknown: nvidia-smi is not installed"
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[0].strip()


def now() -> float:
    """Clock in seconds, once the GPU has finished its queued work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Run ``work``; return its result and its seconds."""
    begin = now()
    result = work()
    return result, now() - begin


def release() -> None:
    """Free unused GPU memory, compiled code included."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def recorded(work: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """Record work as a CUDA graph, whose replay needs no Python and no launches.

    Args:
        work: Reads and writes the same tensors every time, and never synchronizes.
        device: On a CPU, ``work`` runs once and is returned itself.

    Returns:
        Repeats the work. The next call overwrites its result.
    """
    if device.type != "cuda":
        work()
        return work
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries initialize here: they must not while recording
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay() -> Result:
        graph.replay()
        return result

    return replay


def bandwidth(size: int, device: torch.device, times: int = 10) -> float:
    """Bytes per second that the device's memory moves, from copies of ``size`` bytes (read and write)."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = [timed(lambda: target.copy_(source))[1] for _ in range(times)]
    return 2 * size / median(seconds)


def floor(tokens: int, weight_bytes: float, bytes_per_second: float) -> float:
    """Minimum seconds to write ``tokens`` one after another, if each reads all weights once.

    Example:
        >>> floor(150, weight_bytes=8e9, bytes_per_second=3e12)
        0.4
    """
    return tokens * weight_bytes / bytes_per_second


def held(*tensors: Tensor) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
