"""Grades of some pairs of a query and an item → a model of the judge, and how well it agrees with it."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from r4t.catalog import Catalog, text_encoder
from r4t.support.cache import Cache

HELD_OUT = 5  # one query in five shows the agreement
PENALTY = 10.0  # of squared coefficients; a weaker one follows the judge's errors
FITS = 0.5  # from this grade on an item counts as fitting, for the area under the curve
MOST_SURE = 0.01  # grades are drawn in from 0 and 1, which no logistic model reaches
QUERIES = 4096  # whose vectors are kept


class RewardModel:
    """A logistic model of a judge's grades, from the embeddings of query and item.

    Its features are both embeddings, their products and absolute differences by dimension, and their
    cosine. So it can only weigh what the encoder sees.

    Args:
        grades: (Query text, item id) → grade in [0, 1]; at least one.
        catalog: Holds the items, and the encoder of the queries.

    Attributes:
        agreement: Numbers of grades, queries and held-out queries. On the held-out queries, whose
            grades a model fitted on the others has not seen: the area under its ROC curve (0.5 is
            chance, 1 a perfect ranking of fitting items before others), that of the plain cosine,
            and the correlation of prediction and grade. None where it is undefined. The model that
            answers is fitted on all grades.

    Raises:
        InputError: If the catalog has no encoder, or lacks an item.
    """

    def __init__(self, grades: Mapping[tuple[str, str], float], catalog: Catalog) -> None:
        self._vectors = Cache[str, Tensor](QUERIES)
        self._encoder: Any = None
        rows = catalog.rows(item for _, item in grades)
        texts = [text for text, _ in grades]
        features = self._features(list(zip(texts, rows)), catalog)
        values = np.asarray(list(grades.values()))
        held_out = np.asarray([zlib.crc32(text.encode()) % HELD_OUT == 0 for text in texts])
        queries, apart = set(texts), {text for text, is_apart in zip(texts, held_out) if is_apart}
        self.agreement: dict[str, Any] = {
            "grades": len(texts),
            "queries": len(queries),
            "held_out_queries": len(apart),
            **dict.fromkeys(("auc", "cosine_auc", "correlation")),
        }
        if apart and apart != queries:
            self._coefficients = _fit(features[~held_out], values[~held_out])
            predicted, seen = self._predict(features[held_out]), values[held_out]
            self.agreement["auc"] = _area(predicted, seen)
            self.agreement["cosine_auc"] = _area(features[held_out, -1], seen)
            if predicted.std() > 0 and seen.std() > 0:
                self.agreement["correlation"] = float(np.corrcoef(predicted, seen)[0, 1])
        self._coefficients = _fit(features, values)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the encoder, which is loaded again, out of copies."""
        return vars(self) | {"_encoder": None}

    def __str__(self) -> str:
        numbers = {
            name: "undefined" if value is None else f"{value:.2f}"
            for name, value in self.agreement.items()
        }
        return (
            f"A model of {self.agreement['grades']:,} grades of {self.agreement['queries']:,} queries "
            f"answers from now on. On {self.agreement['held_out_queries']:,} held-out queries its area "
            f"under the ROC curve is {numbers['auc']} (of the cosine alone: "
            f"{numbers['cosine_auc']}), its correlation with the judge {numbers['correlation']}."
        )

    def predict(self, pairs: Sequence[tuple[str, int]], catalog: Catalog) -> Tensor:
        """Return grades (n,) in [0, 1] of n pairs of a query text and a catalog row."""
        return torch.from_numpy(self._predict(self._features(pairs, catalog))).float()

    def _predict(self, features: np.ndarray) -> np.ndarray:
        weights, intercept = self._coefficients
        return 1 / (1 + np.exp(-(features @ weights + intercept)))

    def _features(self, pairs: Sequence[tuple[str, int]], catalog: Catalog) -> np.ndarray:
        """Return (n, 4 d + 1); the cosine comes last."""
        queries = torch.stack(
            self._vectors.get([text for text, _ in pairs], self._encoded(catalog))
        )
        items = catalog.embeddings[torch.tensor([row for _, row in pairs])].to(queries)
        products = queries * items
        parts = [queries, items, products, (queries - items).abs(), products.sum(-1, keepdim=True)]
        return torch.cat(parts, dim=-1).double().numpy()

    def _encoded(self, catalog: Catalog) -> Any:
        def encode(texts: list[str]) -> list[Tensor]:
            if self._encoder is None:
                self._encoder = text_encoder(catalog)
            return list(self._encoder.encode(texts).cpu())

        return encode


def _fit(features: np.ndarray, grades: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights (F,) and intercept of a penalized logistic regression on grades in [0, 1].

    Each pair counts as fitting with its grade as weight, and as not fitting with the rest.
    """
    from sklearn.linear_model import LogisticRegression

    shares = np.clip(grades, MOST_SURE, 1 - MOST_SURE)
    fitted = LogisticRegression(C=1 / PENALTY, max_iter=500).fit(
        np.concatenate([features, features]),
        np.repeat([1, 0], len(features)),
        np.concatenate([shares, 1 - shares]),
    )
    return fitted.coef_[0], float(fitted.intercept_[0])


def _area(predicted: np.ndarray, grades: np.ndarray) -> float | None:
    from sklearn.metrics import roc_auc_score

    fits = grades >= FITS
    return float(roc_auc_score(fits, predicted)) if 0 < fits.sum() < len(fits) else None
