"""Sub-queries of a language model → how well they keep the form that was asked for."""

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

    def of(self, texts: list[str], query: str, set_size: int) -> float:
        """Return the score of one query's sub-queries when ``set_size`` were asked for."""
        written = [words for text in texts[:set_size] if (words := normalize_text(text))]
        if not written:
            return 0.0
        distinct = len(set(written)) / len(written)
        copies = written.count(normalize_text(query)) / len(written)
        return (1 + len(written) / set_size + distinct + (1 - copies)) / 4
