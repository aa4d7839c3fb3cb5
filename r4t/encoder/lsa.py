"""Texts of a catalog → LSA encoder (TF-IDF, truncated SVD); only fitting needs scikit-learn."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import embedding_bag

from r4t.errors import InputError
from r4t.geometry import normalize
from r4t.support.files import write_text

WIDTH = 128
# Function words only: common lists also ban "top", "thin" or "fire", which matter in a catalog.
STOP_WORDS = frozenset(
    """
    a about all also an and any are as at be been being both but by can could did do does each
    either for from had has have he her hers him his how i if in into is it its just me more most my
    no nor not of off on or our own same she should so some such than that the their them then there
    these they this those to too very was we were what when where which while who will with would
    you your
    """.split()  # noqa: SIM905
)


def terms(text: str) -> list[str]:
    """Words of a text as LSA counts them: lower case, singular, without function words.

    A text of function words alone keeps them, and a text without any word gives its symbols, so
    that every item of a catalog has a term.

    Examples:
        >>> terms("The 3 best Watches for women's parties")
        ['3', 'best', 'watch', 'women', 'party']
        >>> terms("The Who"), terms("!!!")
        (['the', 'who'], ['!!!'])
    """
    lower = text.lower().replace("’", "'").replace("'s", "")
    words = re.findall(r"\w+", lower)
    content = [singular(word) for word in words if word not in STOP_WORDS]
    return content or words or lower.split()


def singular(word: str) -> str:
    """Fold the regular English plural and nothing else.

    Examples:
        >>> [singular(word) for word in ("dresses", "shoes", "parties", "glass", "bus", "gas")]
        ['dress', 'shoe', 'party', 'glass', 'bus', 'gas']
    """
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1]


class LsaEncoder:
    """Latent semantic analysis: a text is the normalized sum of the vectors of its terms.

    The vector of a term is its idf times its row of V (X ≈ U S Vᵀ, X the TF-IDF matrix), plus a
    small fixed random vector for the part of the term that V leaves out. Without that part, an item
    with rare words only would become round-off noise; with it, its own words find it. ``vocabulary``
    holds the terms in the order of the rows of ``table`` (V, d), their float32 vectors.
    """

    def __init__(self, vocabulary: Sequence[str], table: Tensor) -> None:
        self.vocabulary = list(vocabulary)
        self.table = table
        self.dim = table.shape[1]
        self._row = {term: row for row, term in enumerate(self.vocabulary)}

    @classmethod
    def fit(
        cls, texts: Sequence[str], dim: int | None = None, seed: int = 0, rare: float = 0.1
    ) -> Self:
        """Fit the encoder to the texts of a catalog.

        Args:
            texts: N texts.
            dim: Width d of the vectors; by default `WIDTH`, or less if texts or terms are fewer.
            seed: Seeds the randomized SVD and the random vectors.
            rare: Weight of the left-out part, 0 (plain LSA) to 1 (a random projection of TF-IDF).

        Raises:
            InputError: If there are fewer than ``dim`` texts or terms.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(analyzer=terms, sublinear_tf=True)
        matrix = vectorizer.fit_transform(texts)
        if dim is None:
            dim = min(WIDTH, *matrix.shape)
        if not 1 <= dim <= min(matrix.shape):
            raise InputError(
                expected="at least as many texts and distinct words as dimensions for LSA",
                found=f"dim={dim} for {matrix.shape[0]} texts with {matrix.shape[1]} words",
                remedy=f"Give a dim of 1 to {min(matrix.shape)}.",
            )
        svd = TruncatedSVD(dim, n_iter=7, random_state=seed).fit(matrix)
        v = torch.from_numpy(svd.components_.T.copy()).double()
        generator = torch.Generator().manual_seed(seed)
        random = normalize(torch.randn(v.shape, generator=generator, dtype=torch.float64))
        left_out = (1 - v.square().sum(1, keepdim=True)).clamp(min=0).sqrt()
        idf = torch.from_numpy(vectorizer.idf_).double().unsqueeze(1)
        table = idf * (v + rare * left_out * random)
        return cls(vectorizer.get_feature_names_out().tolist(), table.float())

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (n, d) float32 unit rows; a text without a known word gives a zero row."""
        rows: list[int] = []
        weights: list[float] = []
        offsets: list[int] = []
        for text in texts:
            offsets.append(len(rows))
            for term, count in Counter(terms(text)).items():
                if term in self._row:
                    rows.append(self._row[term])
                    weights.append(1 + math.log(count))
        if not rows:
            return torch.zeros(len(offsets), self.dim)
        bags = torch.tensor(rows), self.table, torch.tensor(offsets)
        sums = embedding_bag(*bags, mode="sum", per_sample_weights=torch.tensor(weights))
        return normalize(sums)

    def unknown(self, text: str) -> list[str]:
        """Return the distinct terms of a text that no text of the catalog contains.

        Examples:
            >>> LsaEncoder(["red", "hat"], torch.eye(2)).unknown("Red velvet hats for the opera")
            ['velvet', 'opera']
        """
        return [term for term in dict.fromkeys(terms(text)) if term not in self._row]

    def describe(self) -> str:
        """See ``Encoder``."""
        return f"LSA, {self.dim} dimensions, {len(self.vocabulary)} words"

    def save(self, folder: Path) -> None:
        """Write encoder.json (the vocabulary) and lsa.safetensors (the table)."""
        spec = {"class": "LsaEncoder", "dim": self.dim, "vocabulary": self.vocabulary}
        write_text(folder / "encoder.json", json.dumps(spec, ensure_ascii=False))
        save_file({"table": self.table.contiguous()}, folder / "lsa.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; the table stays on disk until it is used.

        Raises:
            InputError: If the table is missing or does not fit the vocabulary.
        """
        vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))["vocabulary"]
        path = folder / "lsa.safetensors"
        if not path.is_file():
            raise InputError(
                expected="lsa.safetensors, the table of an LSA encoder",
                found=f"none in {folder}",
                remedy="Write the catalog again.",
            )
        table = load_file(path)["table"]
        if len(table) != len(vocabulary):
            raise InputError(
                expected=f"a row for each of the {len(vocabulary)} words of an LSA encoder",
                found=f"{len(table)} in {path}",
                remedy="Write the catalog again.",
            )
        return cls(vocabulary, table)
