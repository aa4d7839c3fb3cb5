"""Tokenizer, prompts and room of a language model → what does not fit, said before any generation."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from r4t.errors import InputError
from r4t.fanout.formats import FanoutFormat


def ready(tokenizer: Any) -> None:
    """Let a tokenizer without a pad token pad with its end token; masks tell them apart.

    Raises:
        InputError: It has no end-of-sequence token either.
    """
    name = tokenizer.name_or_path or type(tokenizer).__name__
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"A tokenizer must have a token that ends a completion, found no eos_token in '{name}'; "
            "set one before the model is built."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        warnings.warn(
            f"The tokenizer '{name}' has no pad token: its end token '{tokenizer.eos_token}' pads.",
            stacklevel=2,
        )


def end_ids(tokenizer: Any, generation: Any) -> list[int]:
    """Return the ids that end a completion: the tokenizer's, and a chat model's end of turn.

    Of the ids in the model's generation settings only special tokens count: what a settings file
    was born with may be any word of another tokenizer.
    """
    named = getattr(generation, "eos_token_id", None)
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return sorted({tokenizer.eos_token_id} | (special & set(named)))


def in_chat(tokenizer: Any, prompts: Sequence[str], think: bool) -> list[str]:
    """Return prompts as the tokenizer's chat template writes them; as they are without one.

    Args:
        tokenizer: A template that knows ``enable_thinking`` is told ``think``.
        prompts: Each becomes the user's message.
        think: Whether a thought is asked for.

    Raises:
        InputError: The template cannot write a user's message.
    """
    if not tokenizer.chat_template:
        return list(prompts)
    try:
        return [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                add_generation_prompt=True,
                tokenize=False,
                enable_thinking=think,
            )
            for prompt in prompts
        ]
    except Exception as error:  # templates are programs of their own, and raise what they like
        raise InputError(
            "A chat template must take a conversation of one user message, found one that fails with "
            f"'{str(error).splitlines()[0]}'; correct it, or clear it to send the bare prompt."
        ) from error


def context(lm: Any) -> int | None:
    """Return how many tokens a model can attend to; None where it does not say."""
    settings = lm.config.get_text_config()
    length: int | None = getattr(settings, "max_position_embeddings", None)
    return length


def check_room(
    lm: Any, mask: Tensor, queries: Sequence[str], completion: int | Tensor, what: str
) -> None:
    """Refuse prompts that leave too little room for what is to follow them.

    Args:
        lm: The language model.
        mask: (B, P) of the prompts.
        queries: B texts; an empty one stands for the prompt alone.
        completion: Tokens that are to follow, or (B,) of them.
        what: What those tokens are.

    Raises:
        InputError: Prompt and completion are longer than the model's context; names the longest.
    """
    room = context(lm)
    lengths = mask.sum(1)
    row = int((lengths + completion).argmax())
    prompt, total = int(lengths[row]), int((lengths + completion)[row])
    if room is None or total <= room:
        return
    asked = f"of '{queries[row]}'" if queries[row] else "without a query"
    raise InputError(
        f"A prompt and its completion must fit into the model's {room} tokens, found {prompt} of "
        f"the prompt {asked} and {total - prompt} of {what}; shorten the one or the other, or take "
        "a model with a longer context."
    )


def check_list(tokenizer: Any, form: FanoutFormat, max_new_tokens: int) -> None:
    """Refuse a limit below any list of k sub-queries, even of one token each.

    Args:
        tokenizer: Writes it.
        form: Says how a list is written, and k.
        max_new_tokens: Longest completion in tokens.

    Raises:
        InputError: The shortest list is longer.
    """
    least = shortest(tokenizer, form)
    if max_new_tokens < least:
        raise InputError(
            f"max_new_tokens must leave room for a list of {form.set_size} sub-queries, which takes "
            f"{least} tokens even if each is one token, found {max_new_tokens}; raise it or lower "
            "set_size."
        )


def shortest(tokenizer: Any, form: FanoutFormat, tried: int = 500) -> int:
    """Return the tokens of the shortest list of k entries, each a token of the vocabulary.

    Args:
        tokenizer: Its tokens are looked at evenly.
        form: Says how a list is written, and k.
        tried: About how many tokens to look at.
    """
    size, every = form.set_size, max(1, len(tokenizer) // tried)
    ids = [[token] for token in range(0, len(tokenizer), every)]
    words = tokenizer.batch_decode(ids, skip_special_tokens=True)
    lists = [form.contract.write([word.strip()] * size) for word in words]
    lists += [text.replace(", ", ",") for text in lists]
    lists = [text for text in lists if len(form.contract.read(text)) == size]
    written = tokenizer(lists, add_special_tokens=False)["input_ids"] if lists else []
    return min(map(len, written), default=0)


def check_prompts(model: Any, queries: Sequence[str]) -> None:
    """Refuse queries if the longest of their prompts leaves no room for a completion.

    Args:
        model: A ``FanoutModel``.
        queries: n texts, read in parts.

    Raises:
        InputError: As ``check_room``.
    """
    lengths: list[int] = []
    for start in range(0, len(queries), 256):
        mask = model.prompt_tokens(queries[start : start + 256])[1]
        lengths += mask.sum(1).tolist()
    if lengths:
        row = max(range(len(lengths)), key=lengths.__getitem__)
        mask = torch.ones(1, lengths[row])
        check_room(model.lm, mask, [queries[row]], model.max_new_tokens, "max_new_tokens")


def unreached(
    subqueries: Sequence[Sequence[str]], set_size: int, cut: int, max_new_tokens: int
) -> str | None:
    """Return a sentence if none of several completions lists all k sub-queries, else None.

    Args:
        subqueries: Of each completion.
        set_size: Number k asked for.
        cut: How many completions were cut off before their list was complete.
        max_new_tokens: Longest completion in tokens.

    Examples:
        >>> print(unreached([["a"], []], 3, 2, 8))
        No completion of the first rollout lists 3 sub-queries: the longest of 2 lists 1, and 2 were \
cut off at 8 tokens; raise max_new_tokens or lower set_size.
    """
    longest = max(map(len, subqueries), default=0)
    if longest >= set_size:
        return None
    advice = "raise max_new_tokens or lower set_size" if cut else "lower set_size or teach it more"
    return (
        f"No completion of the first rollout lists {set_size} sub-queries: the longest of "
        f"{len(subqueries)} lists {longest}, and {cut} were cut off at {max_new_tokens} tokens; "
        f"{advice}."
    )
