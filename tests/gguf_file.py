"""A tiny language model of Llama's architecture as a GGUF file."""

from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

NAME = "tiny.gguf"
WORDS = ["<end>", *(chr(code) for code in range(ord("!"), ord("~") + 1)), "Ġ", "Ċ", "ĠĊ"]


def model() -> LlamaForCausalLM:
    """Return the model that the file holds."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def write(folder: Path, architecture: str = "llama", end: bool = True) -> Path:
    """Write the file; without an end token if ``end`` is False."""
    lm = model()
    writer = gguf.GGUFWriter(str(folder / NAME), architecture)
    config = lm.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(WORDS)
    writer.add_token_types([3] + [1] * (len(WORDS) - 1))
    writer.add_token_merges(["Ġ Ċ"])
    if end:
        writer.add_eos_token_id(0)
        writer.add_bos_token_id(0)
    for name, weight in tensors(lm).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / NAME


def tensors(lm: transformers.PreTrainedModel) -> dict[str, np.ndarray]:
    """Return the weights by their names in GGUF, which interleaves the halves of rotated heads."""
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "input_layernorm.weight": "attn_norm.weight",
        "post_attention_layernorm.weight": "ffn_norm.weight",
        "self_attn.q_proj.weight": "attn_q.weight",
        "self_attn.k_proj.weight": "attn_k.weight",
        "self_attn.v_proj.weight": "attn_v.weight",
        "self_attn.o_proj.weight": "attn_output.weight",
        "mlp.gate_proj.weight": "ffn_gate.weight",
        "mlp.up_proj.weight": "ffn_up.weight",
        "mlp.down_proj.weight": "ffn_down.weight",
    }
    heads = {"self_attn.q_proj.weight": 2, "self_attn.k_proj.weight": 1}
    found = {}
    for name, weight in lm.state_dict().items():
        key = name.removeprefix("model.layers.0.")
        if key in names:
            array = weight.numpy()
            if key in heads:
                rotated = array.reshape(heads[key], 2, -1, array.shape[1])
                array = rotated.swapaxes(1, 2).reshape(array.shape)
            block = "blk.0." if key != name else ""
            found[block + names[key]] = np.ascontiguousarray(array)
    return found
