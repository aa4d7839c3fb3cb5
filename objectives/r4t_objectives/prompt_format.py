"""Sub-queries of a language model → whether they are a fan-out of the form asked for."""

from torch import Tensor

from r4t.objective import Objective
from r4t.sets import SetBatch
from r4t.support.text import normalize_text


class PromptFormat(Objective):
    """Mean of four shares of what makes a list of sub-queries a usable fan-out.

    1 if the completion could be parsed at all, else 0; sub-queries written of k asked for; distinct
    ones among those written; those written that are not the query itself. Texts are compared by
    their words (``r4t.support.text``), without regard to case, spaces and punctuation; of punctuation
    alone nothing is written. From 0 (nothing could be parsed) to 1 (k different sub-queries, none
    of them the query). It reads texts alone: of a sub-query that the encoder does not know, the
    form is right. Sub-queries beyond k are not read.

    Examples:
        >>> PromptFormat().of(["linen shirt", "Linen shirt.", "Beach day"], "beach day", 4)
        0.7708333333333333

        That is the mean of 1, 3/4, 2/3 and 2/3.
    """

    bounds = (0.0, 1.0)
    needs = frozenset({"texts", "query_texts"})

    @property
    def name(self) -> str:
        """What logs and tables call it."""
        return "prompt_format"

    def score(self, sets: SetBatch) -> Tensor:
        """Return (B,) scores."""
        assert sets.texts is not None  # __call__ checked `needs`
        assert sets.query_texts is not None
        scores = [
            self.of(texts, query, sets.set_size)
            for texts, query in zip(sets.texts, sets.query_texts)
        ]
        return sets.query.new_tensor(scores)

    def of(self, texts: list[str], query: str, set_size: int) -> float:
        """Return the score of one query's sub-queries, of which ``set_size`` were asked for."""
        written = [plain for text in texts[:set_size] if (plain := normalize_text(text))]
        if not written:
            return 0.0
        distinct = len(set(written)) / len(written)
        copies = written.count(normalize_text(query)) / len(written)
        return (1 + len(written) / set_size + distinct + (1 - copies)) / 4
