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
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from r4t.errors import InputError
from r4t.fanout.backend import Backend, Prompts, Writer
from r4t.fanout.server import Completion, CompletionRequest, ServedModel, Server
from r4t.fanout.weights import is_first_process, served_weights, weight_specs
from r4t.support.packages import check_installed
from r4t.support.seeds import query_seed

NEEDED = ("vllm", "trl", "requests")  # to send weights; completions need openai alone
EXAMPLE = ["linen shirt", "wide-brimmed straw hat"]


@dataclass(eq=False)
class VllmServer(Backend):
    """A vLLM server writes, on accelerators of its own; the module only learns (docs/tuning.md).

    Every rank sends its own prompts. Before the first completion and at each ``sync`` rank zero sends
    all weights, adapters merged, while the other ranks wait: no completion comes from a stale policy.
    It differs from ``Transformers`` in three ways:

    * *Seeds.* Queries share no noise. But the server's numerics depend on the rest of its batch, which
      may change the choice between two almost equally likely tokens, so a seed usually repeats a
      completion, not always.
    * *Policy.* ``log_probs`` are the server's, whose kernels and number formats are its own. The loss
      takes log π_old from the module.
    * *End of a list.* The server stops at ``</queries>``; a row that stopped within a thought is sent
      back to be continued. It writes on after a complete list of lines, and the rest is cut off here.

    Args:
        host: Name or address of its machine.
        port: Port of its HTTP interface.
        group_port: Port of this machine from which the server's workers fetch weights.
        start_timeout: Seconds that the server may take to come up.
        timeout: Seconds without a byte after which a request counts as lost and is sent again.
        send_weights: False for a model that does not change, as in synthesis: the server must serve
            that very folder. Then this side needs neither vLLM nor a GPU.

    Raises:
        InputError: On first use, if the server does not come up, lacks a setting, or has another
            vocabulary, a shorter context, or (``send_weights=False``) another model; if the extra is
            not installed; or if the model's weights are not on a GPU.
    """

    host: str = "localhost"
    port: int = 8000
    group_port: int = 51216
    start_timeout: float = 240.0
    timeout: float = 600.0
    send_weights: bool = True

    def __post_init__(self) -> None:
        self.url = f"http://{self.host}:{self.port}"
        self._connection: tuple[Server, ServedModel] | None = None
        self._sender: Any = None  # of rank zero, if weights are sent
        self._sent = False

    def generate(self, model: Writer, prompts: Prompts) -> Tensor:
        """See ``Backend.generate``; a prompt must also fit into the server's context."""
        _, served = self._connect(model)
        if self.send_weights and not self._sent:
            self.sync(model)
        texts = [ids[real.bool()].tolist() for ids, real in zip(prompts.ids, prompts.mask)]
        prompt, completion = max(map(len, texts)), model.max_new_tokens
        if prompt + completion > served.context:
            raise InputError(
                expected=f"a prompt and its completion to fit into the {served.context} tokens of the "
                "vLLM server",
                found=f"{prompt} of a prompt and {completion} of max_new_tokens",
                remedy="Start the server with a larger --max-model-len, or shorten them.",
            )
        rows = self._write(model, prompts, texts)
        ids = [torch.tensor(row.ids) for row in rows]
        log_probs = [torch.tensor(row.log_probs) for row in rows]
        device, padding = prompts.ids.device, model.tokenizer.pad_token_id
        self.log_probs = pad_sequence(log_probs, True).to(device)
        return pad_sequence(ids, True, padding).to(device)

    def sync(self, model: Writer) -> None:
        """See ``Backend.sync``; all ranks must call it, and ``send_weights`` must be true."""
        if not self.send_weights:
            raise InputError(
                expected="a server that takes the weights of the model in training",
                found="send_weights: false",
                remedy="Remove it.",
            )
        self._connect(model)
        specs = weight_specs(model.lm)
        _wait_for_all()  # no rank is still writing
        weights = served_weights(model.lm)
        if self._sender is None:
            deque(weights, maxlen=0)  # gathers sharded weights together with rank zero
        else:
            self._sender.update_named_params(specs, weights)
            self._sender.reset_prefix_cache()  # of the old weights' keys and values
        _wait_for_all()  # no rank writes before all weights have arrived
        self._sent = True

    def __getstate__(self) -> dict[str, Any]:
        """Leave connections out of copies, each of which opens new ones."""
        return {**self.__dict__, "_connection": None, "_sender": None, "_sent": False}

    def _connect(self, model: Writer) -> tuple[Server, ServedModel]:
        """Return the server and its model; the first call waits for the server and checks it."""
        if self._connection is None:
            if self.send_weights:
                check_installed(*NEEDED, extra="vllm")
            server = Server(self.url, self.timeout)
            server.wait(self.start_timeout)
            served = server.served()
            _check_vocabulary(server, model)
            if not self.send_weights:
                _check_name(served, model)
            elif is_first_process():
                self._sender = weight_sender(self.url, self.group_port, model.lm.device)
            self._connection = server, served
        return self._connection

    def _write(
        self, model: Writer, prompts: Prompts, texts: Sequence[list[int]]
    ) -> list[Completion]:
        """Return row b·G + g for completion g of prompt b, cut where its list is complete."""
        server, served = self._connect(model)
        group, longest = prompts.group_size, model.max_new_tokens
        sampling = _sampling(model, prompts.temperature)
        # The server adds g to a seed, so neighboring seeds would write the same completions.
        seeds = [query_seed(str(seed), 0) for seed in prompts.seeds]
        requests = [CompletionRequest(*pair, group, longest) for pair in zip(texts, seeds)]
        answers = server.write(served.name, requests, sampling)
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
            for place, [more] in zip(stopped, server.write(served.name, requests, sampling)):
                row = rows[place]
                rows[place] = Completion(row.ids + more.ids, row.log_probs + more.log_probs)


def weight_sender(url: str, group_port: int, device: torch.device) -> Any:
    """Return TRL's client of a vLLM server, ready to send weights from ``device``, a GPU.

    It closes its connection when the program ends. Never run on hardware.
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
    """Sample from the whole softmax, in explicit settings: the server's defaults may differ."""
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


def _check_vocabulary(server: Server, model: Writer) -> None:
    text = model.prompts(["beach day"])[0] + model.form.list_format.write(EXAMPLE)
    local = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    remote = server.tokens(text)
    if local != remote:
        differences = [*(ours != theirs for ours, theirs in zip(local, remote)), True]
        raise InputError(
            expected="a vLLM server with the model's vocabulary",
            found=f"{len(remote)} tokens at {server.url} and {len(local)} here for one text (they "
            f"differ from token {differences.index(True)} on)",
            remedy="Start it with the folder that the module loads.",
        )


def _check_name(served: ServedModel, model: Writer) -> None:
    path = str(model.lm.name_or_path)
    if not {path, str(Path(path).resolve())} & {served.name, served.folder}:
        raise InputError(
            expected=f"a vLLM server that serves '{path}', because no weights are sent",
            found=f"'{served.name}'",
            remedy="Start it with that folder, or, if the folder has another name on the server's "
            "machine, with --served-model-name as well.",
        )


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
