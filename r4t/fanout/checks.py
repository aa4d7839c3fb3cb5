"""Tokenizer, prompts and context of a language model → what does not fit, before any generation."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.fanout.formats import FanoutFormat


def ensure_pad_token(tokenizer: Any) -> None:
    """Let a tokenizer without a pad token pad with its end token, if it has one, and warn."""
    name = tokenizer.name_or_path or type(tokenizer).__name__
    if tokenizer.eos_token_id is None:
        raise InputError(
            expected="a tokenizer with a token that ends a completion",
            found=f"no eos_token in '{name}'",
            remedy="Set one before the model is built.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        warnings.warn(
            f"The tokenizer '{name}' has no pad token: its end token '{tokenizer.eos_token}' pads.",
            stacklevel=2,
        )


def end_ids(tokenizer: Any, generation: Any) -> list[int]:
    """Return the ids that end a completion: the tokenizer's, and a chat model's end of turn.

    Of the ids in the model's generation settings only special tokens count: the settings may have
    been written for another tokenizer, whose id is an ordinary word here.
    """
    ids = getattr(generation, "eos_token_id", None)
    ids = [] if ids is None else [ids] if isinstance(ids, int) else ids
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return sorted({tokenizer.eos_token_id} | special.intersection(ids))


def apply_chat_template(tokenizer: Any, prompts: Sequence[str], think: bool) -> list[str]:
    """Return each prompt as a user's message in the tokenizer's chat template, if it has one.

    ``think`` says whether the model may think first, to a template that knows ``enable_thinking``.
    """
    if not tokenizer.chat_template:
        return list(prompts)
    settings = {"add_generation_prompt": True, "tokenize": False, "enable_thinking": think}
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
    try:
        return [tokenizer.apply_chat_template(messages, **settings) for messages in conversations]
    except Exception as error:  # templates are programs, and raise what they like
        raise InputError(
            expected="a chat template that takes a conversation of one user message",
            found=f"one that fails with '{str(error).splitlines()[0]}'",
            remedy="Correct it, or clear it to send the bare prompt.",
        ) from error


def check_length(
    lm: Any, prompts: Tensor, queries: Sequence[str], completion: int | Tensor, what: str
) -> None:
    """Refuse prompts that leave too little of the model's context for their completions.

    Args:
        lm: The language model; if it does not state its context, any length passes.
        prompts: (B,) lengths in tokens.
        queries: B texts, to name the longest prompt; an empty one stands for the prompt alone.
        completion: Length of each completion in tokens, or (B,) lengths.
        what: What the completions are, for the message.
    """
    context = getattr(lm.config.get_text_config(), "max_position_embeddings", None)
    totals = prompts + completion
    row = int(totals.argmax())
    prompt, total = int(prompts[row]), int(totals[row])
    if context is not None and total > context:
        query = f"for '{queries[row]}'" if queries[row] else "without a query"
        raise InputError(
            expected=f"a prompt and its completion to fit into the model's {context} tokens",
            found=f"{prompt} of the prompt {query} and {total - prompt} of {what}",
            remedy="Shorten one of them, or take a model with a longer context.",
        )


def check_prompts(model: Any, queries: Sequence[str]) -> None:
    """Refuse queries if the longest of their prompts leaves a ``FanoutModel`` too little context."""
    batches = [queries[start : start + 256] for start in range(0, len(queries), 256)]
    if batches:
        lengths = torch.cat([model.prompt_tokens(batch)[1].sum(1) for batch in batches])
        check_length(model.lm, lengths, queries, model.max_new_tokens, "max_new_tokens")


def check_list(tokenizer: Any, form: FanoutFormat, max_new_tokens: int) -> None:
    """Refuse a limit in tokens that is below the shortest list of k sub-queries."""
    least = shortest_list(tokenizer, form)
    if max_new_tokens < least:
        raise InputError(
            expected=f"max_new_tokens of at least {least}, for a list of {form.set_size} sub-queries "
            "of one token each",
            found=f"{max_new_tokens}",
            remedy="Raise it or lower set_size.",
        )


def shortest_list(tokenizer: Any, form: FanoutFormat, tried: int = 500) -> int:
    """Return the tokens of the shortest list of k times the same token, of about ``tried`` tokens."""
    size, lists = form.set_size, form.list_format
    ids = [[token] for token in range(0, len(tokenizer), max(1, len(tokenizer) // tried))]
    words = tokenizer.batch_decode(ids, skip_special_tokens=True)
    texts = [lists.write([word.strip()] * size) for word in words]
    texts += [text.replace(", ", ",") for text in texts]
    texts = [text for text in texts if len(lists.read(text)) == size]
    written = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    return min(map(len, written), default=0)


def short_lists(
    subqueries: Sequence[Sequence[str]], set_size: int, cut: int, max_new_tokens: int
) -> str | None:
    """Return a warning if none of several completions lists all k = ``set_size`` sub-queries.

    ``cut`` of them reached ``max_new_tokens`` before their list was complete.
    """
    longest = max(map(len, subqueries), default=0)
    if longest >= set_size:
        return None
    advice = "Raise max_new_tokens or lower" if cut else "Train the model more, or lower"
    return (
        f"No completion of the first rollout lists {set_size} sub-queries: the longest of "
        f"{len(subqueries)} lists {longest}, and {cut} were cut off at {max_new_tokens} tokens. "
        f"{advice} set_size."
    )
