"""Batch normalization folded into the layers around it, for Keras models that only predict.

At inference BN is `a·z + b` with fixed `a` and `b`, and a layer with weights beside it can do that
by itself (the paper, Algorithm 2, line 11). `models` decides what folds, `graphs` reads a model's
configuration and takes layers out of it, and `weights` has the arithmetic.
"""

from bn_tutorial.folding.models import Folding, fold_batch_norm, plan_folding

__all__ = ["Folding", "fold_batch_norm", "plan_folding"]
