"""Tools for a Keras model of your own: `examine` it, `recalibrate` it, `fold_batch_norm` out of it.

They take any model of Keras 3 on TensorFlow and leave it as it was, but for what they are for. What
they share is in `model` (putting everything back), `watching` (running it, and what its BN layers
are given), `data` (batches of whatever `fit` takes) and `graph` (which layer feeds which).
"""

from bn_tutorial.keras_models.examination import examine
from bn_tutorial.keras_models.findings import Finding, Findings
from bn_tutorial.keras_models.folding import Folding, fold_batch_norm, plan_folding
from bn_tutorial.keras_models.recalibration import recalibrate

__all__ = [
    "Finding",
    "Findings",
    "Folding",
    "examine",
    "fold_batch_norm",
    "plan_folding",
    "recalibrate",
]
