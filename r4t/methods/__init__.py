"""Everything that answers a query, behind one protocol."""

from r4t.support.lazy import lazily

__getattr__, __all__ = lazily(
    __name__,
    {
        "methods.best_of": "BestOf",
        "methods.bounds": "GreedyBound Oracle RandomItems ReferenceOracle",
        "methods.candidates": "Teachers build_teachers",
        "methods.chosen": "Chosen",
        "methods.context": "MethodContext Unavailable",
        "methods.diffusion": "DiffusionMethod",
        "methods.external": "ExternalSubqueries",
        "geometry": "RankFusion",
        "methods.kmeans": "KMeansFacets",
        "methods.language": "LanguageMethod SubqueryWriter",
        "methods.lineup": "Lineup MethodOptions",
        "methods.method": "DrawsDirections Method",
        "methods.nearby": "AddedWords",
        "methods.nearest": "NoFanout",
        "methods.rerank": "Dpp Mmr",
        "methods.set_regression": "SetRegression",
        "methods.training_sets": "NearestSets RidgeMap",
    },
)
