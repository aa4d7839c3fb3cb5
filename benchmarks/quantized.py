"""Prompts as tokens → completions by llama.cpp, with the weights of a saved model, quantized."""

import atexit
from importlib import import_module
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from r4t.fanout.backend import Backend, Prompts, Writer

ROTATED = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
OWN_FIELDS = "GGUF."  # what the reader says of the file itself


class LlamaCpp(Backend):
    """llama.cpp writes through llama-cpp-python, one completion after another.

    Both take the same tokens and stop at the same ends. It keeps the keys and values of the last
    completion, of which the next prompt reuses the beginning that they share.

    Args:
        file: GGUF file with the vocabulary of the model's tokenizer.
        threads: Threads it computes with.
        cut: Sampling settings of llama-cpp-python, to override those of this class: it then samples
            from the whole softmax, as ``Transformers`` does.
    """

    def __init__(self, file: Path, threads: int, cut: dict[str, float] | None = None) -> None:
        settings = {"n_threads": threads, "n_threads_batch": threads, "verbose": False}
        self.llama: Any = import_module("llama_cpp").Llama(str(file), n_ctx=2048, **settings)
        atexit.register(self.llama.close)  # later, modules that it needs are gone
        self.cut = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0} | (cut or {})

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``."""
        rows = [
            self._write(model, prompts, ids[mask.bool()].tolist(), seed + number)
            for ids, mask, seed in zip(prompts.ids, prompts.mask, prompts.seeds, strict=True)
            for number in range(prompts.group_size)
        ]
        padding = model.tokenizer.pad_token_id
        return pad_sequence([torch.tensor(row) for row in rows], True, padding).to(prompts.ids)

    def _write(self, model: Writer, prompts: Prompts, prompt: list[int], seed: int) -> list[int]:
        """Return the tokens of one completion, until its list is complete."""
        self.llama.set_seed(seed % 2**31)
        written: list[int] = []
        for token in self.llama.generate(prompt, temp=prompts.temperature, **self.cut):
            written.append(token)
            ended = token in model.end_ids or (
                model.ends.table[token] and model.ends.complete(written, prompts.opening)
            )
            if ended or len(written) == model.max_new_tokens:
                break
        return written


def write_gguf(template: Path, lm: PreTrainedModel, target: Path, kind: str | None = None) -> Path:
    """Write weights of Llama's architecture as a GGUF file.

    Args:
        template: File of a model of the same sizes and vocabulary: all but the weights are copied
            from it.
        lm: The model.
        target: The new file.
        kind: Number format of the matrices, such as Q8_0; by default that which each has in the
            template.

    Returns:
        The new file.
    """
    reader = gguf.GGUFReader(template)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(str(target), architecture)
    for name, field in reader.fields.items():
        if name == gguf.Keys.General.ARCHITECTURE or name.startswith(OWN_FIELDS):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], inner)
    weights = gguf_weights(lm)
    for tensor in reader.tensors:
        weight, number = weights[tensor.name], tensor.tensor_type
        if kind is not None and weight.ndim > 1:
            number = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(tensor.name, gguf.quants.quantize(weight, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def gguf_weights(lm: PreTrainedModel) -> dict[str, np.ndarray]:
    """Return float32 weights by their names in GGUF, which interleaves the halves of rotated heads."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, lm.config.num_hidden_layers)
    found = {}
    for name, weight in lm.state_dict().items():
        array = weight.float().numpy()
        known = names.get_name(name, (".weight",))
        heads = ROTATED.get(str(known).split(".")[-2])
        if heads is not None:
            halves = array.reshape(getattr(lm.config, heads), 2, -1, array.shape[1])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        found[str(known)] = np.ascontiguousarray(array)
    return found
