"""The model of the demo: does a flight that departs now arrive more than 15 minutes late?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from demo.flights.dataset import CATEGORIES, MEASURES, Split


@dataclass(frozen=True)
class Evaluation:
    """How good predictions are on flights of months that the model has not seen.

    Args:
        roc_auc: Area under the ROC curve.
        average_precision: Area under the precision-recall curve.
        brier_score: Mean squared error of the probability; smaller is better.
        accuracy: Share of right answers at probability 0.5.
        base_rate: Share of late flights.
    """

    roc_auc: float
    average_precision: float
    brier_score: float
    accuracy: float
    base_rate: float


def train(split: Split, seed: int = 0) -> Pipeline:
    """Trains gradient-boosted trees on the categories, as ordinals, and the measures; missing measures stay missing."""
    ordinals = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)
    columns = ColumnTransformer([("categories", ordinals, list(CATEGORIES)), ("measures", "passthrough", list(MEASURES))])
    trees = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.1, early_stopping=False, random_state=seed)
    # Two OpenMP threads that wait for each other on a busy machine take ten times as long as one.
    with threadpool_limits(1):
        return Pipeline([("columns", columns), ("trees", trees)]).fit(split.inputs, split.late)


def evaluate(model: Pipeline, split: Split) -> Evaluation:
    """Judges `model` on `split`."""
    probability = model.predict_proba(split.inputs)[:, 1]
    return Evaluation(
        roc_auc=float(roc_auc_score(split.late, probability)),
        average_precision=float(average_precision_score(split.late, probability)),
        brier_score=float(brier_score_loss(split.late, probability)),
        accuracy=float(((probability >= 0.5) == split.late).mean()),
        base_rate=float(split.late.mean()),
    )
