"""Prompts as tokens → completions that a vLLM server writes, with the module's current weights.

Never run on hardware: sending weights to the server (NCCL, through TRL's client) was only tested
with the last step, the broadcast, replaced. What goes over HTTP ran against vLLM 0.31 on a CPU.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from r4t.errors import InputError
from r4t.fanout.backend import Backend, Prompts, Writer
from r4t.fanout.server import Completion, CompletionRequest, Server
from r4t.fanout.weights import is_first_process, served_weights, weight_specs
from r4t.support.packages import check_installed
from r4t.support.seeds import query_seed

NEEDED = ("vllm", "trl", "requests")  # to send weights; completions need openai alone
EXAMPLE = ["linen shirt", "wide-brimmed straw hat"]


@dataclass(eq=False)
class VllmServer(Backend):
    r"""A vLLM server writes, on accelerators of its own; the module only learns.

    Every rank asks for its own prompts. Before the first completion and at each ``sync`` rank zero
    sends all weights, adapters merged, while the other ranks wait: nobody samples from a stale
    policy. Start the server, with the model that the module begins with::

        VLLM_SERVER_DEV_MODE=1 vllm serve RUN/warm_start/model --logprobs-mode processed_logprobs \
            --weight-transfer-config '{"backend": "nccl"}'

    It differs from ``Transformers`` in three ways:

    * *Seeds.* No query shares noise with another. But the server's numerics depend on the rest of its
      batch: between two tokens that are almost equally likely the choice may change, so a seed
      usually repeats a completion, not always.
    * *Policy.* The loss takes log π_old from the module, but the server's kernels and number formats
      are its own. ``log_probs`` are the server's; a tuner logs their mean distance as
      ``train/backend_gap/mean``: about 3e-7 nats in float32 on a CPU, larger in bfloat16 (not
      measured). A jump means that weights, temperature or ``--logprobs-mode`` do not fit.
    * *End of a list.* The server stops at ``</queries>``; a row stopped within a thought is sent back
      to be continued. With lines it writes on, and the rest is cut off here.

    Averaged weights that a callback swaps in for validation do not reach the server.

    Args:
        host: Where it runs.
        port: Of its HTTP interface.
        group_port: Port of this machine from which the server's workers fetch weights.
        start_timeout: Seconds that the server may take to come up.
        timeout: Seconds without a byte after which a request is lost, and sent again.
        send_weights: False for a model that does not change, as in synthesis: the server must serve
            that very folder. Then this side needs neither vLLM nor a GPU.

    Raises:
        InputError: On first use: the server does not come up, lacks a setting, or has another
            vocabulary, a shorter context, or (``send_weights=False``) another model; the extra is
            not installed; the model's weights are not on a GPU.
    """

    host: str = "localhost"
    port: int = 8000
    group_port: int = 51216
    start_timeout: float = 240.0
    timeout: float = 600.0
    send_weights: bool = True

    def __post_init__(self) -> None:
        self.url = f"http://{self.host}:{self.port}"
        self._server: Server | None = None
        self._sender: Any = None  # of rank zero, if weights are sent
        self._sent = False

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``; a prompt must also fit into the server's context."""
        server = self._connect(model)
        if self.send_weights and not self._sent:
            self.sync(model)
        texts = [ids[real.bool()].tolist() for ids, real in zip(prompts.ids, prompts.mask)]
        _check_context(server, max(map(len, texts)), model.max_new_tokens)
        rows = self._write(server, model, prompts, texts)
        shape, device = (len(rows), max(len(row.ids) for row in rows)), prompts.ids.device
        ids = torch.full(shape, model.tokenizer.pad_token_id, device=device)
        self.log_probs = torch.zeros(shape, device=device)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            self.log_probs[place, : len(row.ids)] = torch.tensor(row.log_probs)
        return ids

    def sync(self, model: Writer) -> None:
        """See ``Backend.sync``; collective, and refused if ``send_weights`` is false."""
        if not self.send_weights:
            raise InputError(
                expected="a server that takes the weights of the model in training",
                found="send_weights: false",
                remedy="Leave it out.",
            )
        self._connect(model)
        specs = weight_specs(model.lm)
        _wait_for_all()  # no rank still writes
        weights = served_weights(model.lm)
        if self._sender is None:
            deque(weights, maxlen=0)  # takes part when sharded weights are gathered
        else:
            self._sender.update_named_params(specs, weights)
            self._sender.reset_prefix_cache()  # of the old weights' keys and values
        _wait_for_all()  # no rank writes before all weights have arrived
        self._sent = True

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections out of copies, which open their own."""
        return {**self.__dict__, "_server": None, "_sender": None, "_sent": False}

    def _connect(self, model: Writer) -> Server:
        """Return the server; the first time, wait for it and check it."""
        if self._server is None:
            if self.send_weights:
                check_installed(*NEEDED, extra="vllm")
            server = Server(self.url, self.timeout, self.start_timeout)
            _check_vocabulary(server, model)
            if not self.send_weights:
                _check_name(server, model.lm)
            elif is_first_process():
                self._sender = weight_sender(self.url, self.group_port, model.lm.device)
            self._server = server
        return self._server

    def _write(
        self, server: Server, model: Writer, prompts: Prompts, texts: Sequence[list[int]]
    ) -> list[Completion]:
        """Return row b·G + g for completion g of prompt b, cut where its list is complete."""
        group, longest = prompts.group_size, model.max_new_tokens
        sampling = _sampling(model, prompts.temperature)
        # The server adds g to a seed: neighboring seeds would write the same completions.
        seeds = [query_seed(str(seed), 0) for seed in prompts.seeds]
        requests = [CompletionRequest(*pair, group, longest) for pair in zip(texts, seeds)]
        answers = server.write(requests, sampling)
        rows = [row for completions in answers for row in completions]
        while True:
            lengths = [model.ends.length(row.ids, prompts.opening) for row in rows]
            rows = [Completion(row.ids[:n], row.log_probs[:n]) for row, n in zip(rows, lengths)]
            # The server also stops at an end within a thought, which is too early.
            stopped = [
                place
                for place, row in enumerate(rows)
                if len(row.ids) < longest
                and row.ids[-1] not in model.end_ids
                and not model.ends.complete(row.ids, prompts.opening)
            ]
            if not stopped:
                return rows
            requests = []
            for place in stopped:
                (query, number), ids = divmod(place, group), rows[place].ids
                # The rest must not repeat the noise of the beginning.
                seed = query_seed(f"{prompts.seeds[query]}/{number}", len(ids))
                requests.append(CompletionRequest(texts[query] + ids, seed, 1, longest - len(ids)))
            for place, [more] in zip(stopped, server.write(requests, sampling)):
                row = rows[place]
                rows[place] = Completion(row.ids + more.ids, row.log_probs + more.log_probs)


def weight_sender(url: str, group_port: int, device: torch.device) -> Any:
    """Return TRL's client of a vLLM server, ready to send weights from ``device``, a GPU.

    It closes its connection itself when the program ends. Never run on hardware.
    """
    from trl.generation.vllm_client import VLLMClient

    if device.type != "cuda":
        raise InputError(
            expected="a model on a GPU, from which weights go to a vLLM server over NCCL",
            found=f"it on '{device}'",
            remedy="Train on a GPU (--trainer.accelerator gpu), or write without a server.",
        )
    client = VLLMClient(base_url=url, group_port=group_port)
    try:
        client.init_communicator(device=device)
    except Exception as error:  # TRL raises no narrower class for what a server answers
        raise InputError(
            expected="a vLLM server that takes weights over NCCL",
            found=f"'{error}' at {url}",
            remedy="Start it with VLLM_SERVER_DEV_MODE=1 in its environment and "
            '--weight-transfer-config \'{"backend": "nccl"}\', on other GPUs than the training\'s.',
        ) from error
    return client


def _sampling(model: Writer, temperature: float) -> dict[str, Any]:
    """The whole softmax at a temperature; explicit, because the server has defaults of its own."""
    settings: dict[str, Any] = {
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": model.end_ids,
    }
    lists = model.form.list_format
    if not lists.end_per_entry or model.form.set_size == 1:
        settings |= {"stop": [lists.end], "include_stop_str_in_output": True}
    return settings


def _check_context(server: Server, prompt: int, completion: int) -> None:
    if prompt + completion > server.context:
        raise InputError(
            expected=f"a prompt and its completion to fit into the {server.context} tokens of the "
            "vLLM server",
            found=f"{prompt} of a prompt and {completion} of max_new_tokens",
            remedy="Start the server with a larger --max-model-len, or shorten them.",
        )


def _check_vocabulary(server: Server, model: Writer) -> None:
    text = model.prompts(["beach day"])[0] + model.form.list_format.write(EXAMPLE)
    here, there = model.tokenizer(text, add_special_tokens=False)["input_ids"], server.tokens(text)
    if here != there:
        shorter = min(len(here), len(there))
        place = next((i for i in range(shorter) if here[i] != there[i]), shorter)
        raise InputError(
            expected="a vLLM server with the model's vocabulary",
            found=f"{len(there)} tokens at {server.url} and {len(here)} here for one text (they differ "
            f"from token {place} on)",
            remedy="Start it with the folder that the module loads.",
        )


def _check_name(server: Server, lm: nn.Module) -> None:
    path = str(getattr(lm, "name_or_path", ""))
    if not {path, str(Path(path).resolve())} & {server.name, server.folder}:
        raise InputError(
            expected=f"a vLLM server that serves '{path}', because no weights are sent",
            found=f"'{server.name}'",
            remedy="Start it with that folder, or, if the folder has another name on the server's "
            "machine, with --served-model-name as well.",
        )


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
