"""Sub-queries of a language model → how well they keep the form that was asked for."""

import torch
from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t.support.text import normalize_text


class PromptFormat(Objective):
    """Mean of four shares that make a list of sub-queries a usable fan-out.

    The shares are: 1 if a sub-query could be parsed, else 0; sub-queries written, of the k requested;
    distinct ones of those written; those written that are not the query itself. Texts are compared by
    their words (``r4t.support.text``); a text without a word is not written, and sub-queries beyond k
    are ignored. From 0 (nothing could be parsed) to 1 (k different sub-queries, none of them the
    query). Only texts count: a sub-query of words that the encoder does not know can have this form.

    Examples:
        >>> PromptFormat().of(["linen shirt", "Linen shirt.", "Beach day"], "beach day", 4)
        0.7708333333333333

        That is the mean of 1, 3/4, 2/3 and 2/3.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"texts", "query_texts"})

    @property
    def name(self) -> str:
        """Name in logs and tables."""
        return "prompt_format"

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) scores."""
        assert sets.texts is not None  # __call__ checked `needs`
        assert sets.query_texts is not None
        pairs = zip(sets.texts, sets.query_texts)
        return sets.query.new_tensor([self.of(*pair, sets.set_size) for pair in pairs])

    def marginals(self, sets: SetBatch) -> Tensor:
        """See ``Objective.marginals``; each text is normalized once."""
        assert sets.texts is not None
        assert sets.query_texts is not None
        losses = torch.zeros(sets.mask.shape)
        for row, (texts, query) in enumerate(zip(sets.texts, sets.query_texts)):
            words, asked = _normalized(texts, sets.set_size), normalize_text(query)
            whole = _shares(words, asked, sets.set_size)
            places = sets.mask[row].nonzero().flatten().tolist()
            present = {place: words[place] for place in places if place < len(words)}
            for place in places:
                rest = [text for other, text in present.items() if other != place]
                losses[row, place] = whole - _shares(rest, asked, sets.set_size)
        return losses.to(sets.query)

    def of(self, texts: list[str], query: str, set_size: int) -> float:
        """Return the score of one query's sub-queries when ``set_size`` were asked for."""
        return _shares(_normalized(texts, set_size), normalize_text(query), set_size)


def _normalized(texts: list[str], set_size: int) -> list[str]:
    return [normalize_text(text) for text in texts[:set_size]]


def _shares(words: list[str], query: str, set_size: int) -> float:
    """Return the score of normalized sub-queries, blank ones among them."""
    written = [text for text in words if text]
    if not written:
        return 0.0
    distinct = len(set(written)) / len(written)
    copies = written.count(query) / len(written)
    return (1 + len(written) / set_size + distinct + (1 - copies)) / 4
