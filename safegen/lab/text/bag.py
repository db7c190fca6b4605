"""Fit the n-gram detector's linear model: see `safegen.detectors.bag`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safegen.detectors.bag import Bag, features, hashes_of
from safegen.lab.text.texts import Text
from safegen.text.vocabulary import vocabulary

FEWEST = 3
"""Texts that a word or a pair must stand in."""
PENALTY = 16.0
"""The inverse of the weights' penalty, sklearn's C."""
SHARE = 0.65
"""What it says counts so much beside the networks: they know much of the same."""


def fit(texts: Sequence[Text]) -> Bag:
    """A logistic regression on the tf-idf vectors of ``texts``, each taken whole."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    hashes = hashes_of(vocabulary())

    def of(text: Text) -> list[int]:
        return features(text.rows, hashes)

    said = [text for text in texts if any(row >= 0 for row in text.rows)]
    counter = CountVectorizer(analyzer=of, binary=True, min_df=FEWEST)
    rare = TfidfTransformer()
    vectors = rare.fit_transform(counter.fit_transform(said))
    model = LogisticRegression(C=PENALTY, solver="liblinear", max_iter=300).fit(
        vectors,
        [text.harmful for text in said],
        sample_weight=[text.weight for text in said],
    )
    keys = np.asarray(counter.get_feature_names_out(), np.uint32)
    order = np.argsort(keys)
    return Bag(
        keys=keys[order],
        weight=(SHARE * model.coef_[0] * rare.idf_)[order].astype(np.float32),
        rarity=rare.idf_[order].astype(np.float32),
        offset=SHARE * float(model.intercept_[0]),
    )
