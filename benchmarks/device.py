"""A device → its name, its memory's bandwidth, and work on it timed, compiled or recorded."""

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
# On a CPU compiling is only traced: what inductor writes for it is nothing that a GPU would run.
BACKEND = "inductor" if torch.cuda.is_available() else "eager"


def default_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hardware() -> dict[str, Any]:
    """What a benchmark ran on."""
    found: dict[str, Any] = {
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "gpu_memory": properties.total_memory,
            "driver": driver(),
            "cuda": torch.version.cuda,
        }
    return found


def driver() -> str:
    """Version of the GPU's driver, as nvidia-smi tells it."""
    if shutil.which("nvidia-smi") is None:
        return "unknown: there is no nvidia-smi"
    told = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split("\n")[0].strip()


def now() -> float:
    """Seconds, after the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Do some work; return what it returns, and its seconds."""
    begin = now()
    found = work()
    return found, now() - begin


def release() -> None:
    """Give back the GPU memory that nothing holds any more, compiled code included."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def recorded(work: Callable[[], Result], device: torch.device) -> Callable[[], Result]:
    """Record work as a CUDA graph, which needs no Python and no launches when it is replayed.

    Args:
        work: Reads and writes the same tensors every time, and waits for nothing.
        device: On a CPU the work itself is returned, once done.

    Returns:
        Does the work again; what it returns is overwritten by the next time.
    """
    if device.type != "cuda":
        work()
        return work
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # lets libraries set up what they must not while recording
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
    """Bytes that the device's memory moves a second, by copies of ``size`` bytes: read and written."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = [timed(lambda: target.copy_(source))[1] for _ in range(times)]
    return 2 * size / median(seconds)


def floor(tokens: int, weight_bytes: float, bytes_per_second: float) -> float:
    """Least seconds to write ``tokens`` one after the other: each reads all weights once.

    Example:
        >>> floor(150, weight_bytes=8e9, bytes_per_second=3e12)
        0.4
    """
    return tokens * weight_bytes / bytes_per_second


def held(*tensors: Tensor) -> int:
    """Bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
