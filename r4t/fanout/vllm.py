"""Prompts as tokens → completions that a vLLM server writes, with the module's weights of the moment.

Never run on hardware: the weights' way to the server (NCCL, through TRL's client) was only tested
with the last step, the broadcast, replaced. What goes over HTTP ran against vLLM 0.31 on a CPU.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from r4t.errors import InputError
from r4t.fanout.backend import Backend, Prompts
from r4t.fanout.sampling import through_list
from r4t.fanout.server import Request, Served, Server, Written
from r4t.fanout.weights import described, served_weights
from r4t.support.seeds import query_seed

if TYPE_CHECKING:
    from r4t.fanout.model import FanoutModel

NEEDED = ("vllm", "trl", "requests")  # for sending weights, not for being written to
EXAMPLE = ["linen shirt", "wide-brimmed straw hat"]


class VllmServer(Backend):
    r"""A vLLM server writes, on accelerators of its own; the module only learns.

    Every rank asks the server for its own prompts. Before the first completion and at each
    ``sync`` rank zero sends it all weights, those of adapters merged, while the other ranks wait:
    nobody samples from a stale policy. Start the server, with the model that the module begins
    with, like this::

        VLLM_SERVER_DEV_MODE=1 vllm serve RUN/warm_start/model --logprobs-mode processed_logprobs \
            --weight-transfer-config '{"backend": "nccl"}'

    What differs from ``Transformers``:

    * *Seeds.* Each query is a request with a seed made of its own, and no other query has a part
      in its noise. But the server's numerics depend on what else is in its batch: where two tokens
      are almost equally likely the other one may come, so that a seed repeats a completion as a
      rule, not always.
    * *Policy.* The loss takes its log π_old from the module, but the server's kernels and number
      formats are its own, so what sampled differs a little from π_old. ``log_probs`` are the
      server's; a tuner logs their mean distance as ``train/backend_gap/mean``. In float32 on a CPU
      it is about 3e-7 nats; in bfloat16 it is larger, how much was not measured. One that jumps
      tells that weights, temperature or ``--logprobs-mode`` do not fit.
    * *End of a list.* Where the end stands once (``</queries>``), the server stops at it; a row
      stopped within a thought is sent back to be continued. Where it stands several times (lines),
      the server writes on, and the rest is cut off here.

    Averaged weights that a callback swaps in for validation do not reach the server.

    Args:
        host: Where it runs.
        port: Of its HTTP interface.
        group_port: Port of this machine at which the server's workers fetch weights.
        start_timeout: Seconds that the server may take to come up.
        timeout: Seconds without an answer after which a request is lost, and sent again.
        send_weights: False for a model that does not change, as in synthesis: the server must have
            been started with that very folder. Then neither vLLM nor a GPU is needed on this side.

    Attributes:
        log_probs: (B·G, T) of the tokens written last, as the server says; 0 for padding.

    Raises:
        InputError: On first use: the server does not come up, lacks a setting, or has another
            vocabulary, a shorter context, or (``send_weights=False``) another model; the extra is
            not installed; the model's weights are not on a GPU.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8000,
        group_port: int = 51216,
        start_timeout: float = 240.0,
        timeout: float = 600.0,
        send_weights: bool = True,
    ) -> None:
        self.server = Server(f"http://{host}:{port}", timeout)
        self.group_port = group_port
        self.start_timeout = start_timeout
        self.send_weights = send_weights
        self.log_probs: Tensor | None = None
        self._served: Served | None = None  # since the server was met
        self._client: Any = None  # of rank zero, if weights are sent
        self._sent = False

    def generate(self, model: "FanoutModel", prompts: Prompts) -> Tensor:
        """See ``Backend.generate``.

        Raises:
            InputError: See the class; or a prompt leaves no room in the server's context.
        """
        served = self._meet(model)
        if self.send_weights and not self._sent:
            self.sync(model)
        texts = [ids[real.bool()].tolist() for ids, real in zip(prompts.ids, prompts.mask)]
        _check_context(served, max(map(len, texts)), model.max_new_tokens)
        rows = self._write(model, prompts, texts)
        width = max(len(row.ids) for row in rows)
        shape, device = (len(rows), width), prompts.ids.device
        ids = torch.full(shape, model.tokenizer.pad_token_id, device=device)
        log_probs = torch.zeros(shape, device=device)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            log_probs[place, : len(row.ids)] = torch.tensor(row.log_probs)
        self.log_probs = log_probs
        return ids

    def sync(self, model: "FanoutModel") -> None:
        """See ``Backend.sync``; collective.

        Raises:
            InputError: See the class; or the server was said to need no weights.
        """
        if not self.send_weights:
            raise InputError(
                "A model that is trained must reach the server that writes for it, found "
                "send_weights: false; leave it out."
            )
        self._meet(model)
        names = described(model.lm)
        _together()  # nobody is still writing
        weights = served_weights(model.lm)
        if self._client is None:
            for _ in weights:  # takes part where sharded weights are gathered
                pass
        else:
            self._client.update_named_params(names, weights)
            self._client.reset_prefix_cache()  # of the old weights' keys and values
        _together()  # nobody writes before all is there
        self._sent = True

    def __getstate__(self) -> dict[str, Any]:
        """A copy connects by itself."""
        return {**self.__dict__, "_served": None, "_client": None, "_sent": False}

    def _meet(self, model: "FanoutModel") -> Served:
        """Return what the server says of its model; the first time, wait for it and check it."""
        if self._served is None:
            if self.send_weights:
                _check_installed()
            self.server.wait(self.start_timeout)
            served = self.server.served()
            _check_vocabulary(self.server, model)
            if not self.send_weights:
                _check_name(served, model.lm)
            elif _rank() == 0:
                self._client = weight_client(self.server.url, self.group_port, model.lm.device)
            self._served = served
        return self._served

    def _write(
        self, model: "FanoutModel", prompts: Prompts, texts: Sequence[list[int]]
    ) -> list[Written]:
        """Return row b·G + g for completion g of prompt b, cut where its list is complete."""
        group, longest = prompts.group_size, model.max_new_tokens
        sampling = _sampling(model, prompts.temperature)
        # The server adds g to a seed: neighbors would write the same completions.
        seeds = [query_seed(str(seed), 0) for seed in prompts.seeds]
        asked = [Request(ids, seed, group, longest) for ids, seed in zip(texts, seeds)]
        rows = [row for found in self.server.write(asked, sampling) for row in found]
        while True:
            lengths = [through_list(model.ends, row.ids, prompts.opening) for row in rows]
            rows = [Written(row.ids[:n], row.log_probs[:n]) for row, n in zip(rows, lengths)]
            stopped = [place for place, row in enumerate(rows) if _stopped(model, prompts, row.ids)]
            if not stopped:
                return rows
            asked = [_onward(prompts, texts, place, rows[place], longest) for place in stopped]
            for place, [more] in zip(stopped, self.server.write(asked, sampling)):
                row = rows[place]
                rows[place] = Written(row.ids + more.ids, row.log_probs + more.log_probs)


def weight_client(url: str, group_port: int, device: torch.device) -> Any:
    """Return TRL's client of a vLLM server, ready to send weights from ``device``.

    It closes its connection by itself when the program ends. Never run on hardware.

    Raises:
        InputError: The weights are not on a CUDA device, or the server takes no weights.
    """
    from trl.generation.vllm_client import VLLMClient

    if device.type != "cuda":
        raise InputError(
            f"Weights go to a vLLM server over NCCL, from one GPU to others, found the model on "
            f"'{device}'; train on a GPU (--trainer.accelerator gpu), or write without a server."
        )
    client = VLLMClient(base_url=url, group_port=group_port)
    try:
        client.init_communicator(device=device)
    except Exception as error:  # TRL raises no narrower class for what a server answers
        raise InputError(
            f"A vLLM server must take weights over NCCL, found '{error}' at {url}; start it with "
            "VLLM_SERVER_DEV_MODE=1 in its environment and --weight-transfer-config "
            '\'{"backend": "nccl"}\', on other GPUs than the training\'s.'
        ) from error
    return client


def _sampling(model: "FanoutModel", temperature: float) -> dict[str, Any]:
    """The whole softmax at a temperature; all is said, for the server has defaults of its own."""
    found: dict[str, Any] = {
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop_token_ids": model.end_ids,
    }
    end, times = model.form.contract.end(model.form.set_size)
    if times == 1:
        found |= {"stop": [end], "include_stop_str_in_output": True}
    return found


def _stopped(model: "FanoutModel", prompts: Prompts, ids: list[int]) -> bool:
    """Whether the server stopped a completion for no reason of ours: at an end within a thought."""
    if len(ids) >= model.max_new_tokens or ids[-1] in model.end_ids:
        return False
    text = prompts.opening + model.tokenizer.decode(ids, skip_special_tokens=True)
    return not model.form.contract.complete(text, model.form.set_size)


def _onward(
    prompts: Prompts, texts: Sequence[list[int]], place: int, row: Written, longest: int
) -> Request:
    """Ask for the rest of a completion, from noise that its beginning did not use."""
    query, number = divmod(place, prompts.group_size)
    seed = query_seed(f"{prompts.seeds[query]}/{number}", len(row.ids))
    return Request(texts[query] + row.ids, seed, 1, longest - len(row.ids))


def _check_installed() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"Sending weights to a vLLM server needs {', '.join(NEEDED)}, found no "
            f"{' and no '.join(missing)}; install the extra (pip install 'r4t[vllm]')."
        )


def _check_context(served: Served, prompt: int, completion: int) -> None:
    if prompt + completion > served.context:
        raise InputError(
            f"A prompt and its completion must fit into the {served.context} tokens of the vLLM "
            f"server, found {prompt} of a prompt and {completion} of max_new_tokens; start the "
            "server with a larger --max-model-len, or shorten them."
        )


def _check_vocabulary(server: Server, model: "FanoutModel") -> None:
    text = model.prompts(["beach day"])[0] + model.form.contract.write(EXAMPLE)
    own = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = server.tokens(text)
    if own != found:
        place = next((i for i, pair in enumerate(zip(own, found)) if pair[0] != pair[1]), None)
        differ = min(len(own), len(found)) if place is None else place
        raise InputError(
            f"The vLLM server must have the model's vocabulary, found {len(found)} tokens there and "
            f"{len(own)} here for one text (they differ from token {differ} on) at {server.url}; "
            "start it with the folder that the module loads."
        )


def _check_name(served: Served, lm: nn.Module) -> None:
    own = str(getattr(lm, "name_or_path", ""))
    if own not in served.names and str(Path(own).resolve()) not in served.names:
        raise InputError(
            f"A vLLM server that is sent no weights must serve '{own}', found "
            f"'{served.names[0]}'; start it with that folder, or, where that has another name "
            "on the server's machine, with --served-model-name as well."
        )


def _rank() -> int:
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if there else 0


def _together() -> None:
    """Wait for all ranks."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
