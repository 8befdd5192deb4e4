"""The check of a `batch_norm_wrapper` that is given its population and returns the new one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf

from bn_tutorial import batch_norm
from bn_tutorial.checks.backward_pass import require_gradient
from bn_tutorial.checks.calls import Arguments, call
from bn_tutorial.checks.forward_pass import batch, in_float64, model_of_outputs, require_outputs
from bn_tutorial.checks.mistakes import (
    Mistake,
    Mistaken,
    Place,
    agree,
    conclude,
    difference,
    require,
)
from bn_tutorial.checks.normalizing import (
    AFFINES,
    CENTERS,
    INVERSES,
    SPREADS,
    unit_in_numbers,
    what_holds,
)
from bn_tutorial.checks.results import CheckResult
from bn_tutorial.checks.smoothing import (
    KEPT,
    UPDATES,
    WRAPPER,
    WRONG_START,
    model_of_pop_mean,
    model_of_pop_var,
    smoothing_in_numbers,
    update,
)

TWO_KINDS = Place("02_fixed_batch_norm", "Two kinds of statistics")
UNTOUCHED = Place("02_fixed_batch_norm", "Measuring must not change what is measured")
COMPANY = Place("02_fixed_batch_norm", "The rest of the batch no longer matters")

DECAY = 0.8
BY_BATCH = "normalising by the batch in evaluation"
BY_POPULATION = "normalising by the population in training"
MOVED = "the population moved in evaluation"
COMPANY_MATTERS = "a result that depends on who shares the batch in evaluation"

Results = dict[str, np.ndarray]


def population(function: Callable, *, hint: bool = False) -> CheckResult:
    """Is this batch normalization that keeps, and in evaluation uses, the population's statistics?

    In training: the batch's statistics, `new ← decay·pop + (1 − decay)·batch`. In evaluation: the
    population's, which come back as they were. The variance that is kept may be the biased one, as
    here and in Keras, or the unbiased one, as in the paper and in PyTorch; the text says which.

    Args:
        function: `batch_norm_wrapper(inputs, gamma, beta, pop_mean, pop_var, is_training, decay,
            epsilon)` → outputs, new pop_mean, new pop_var. Nothing is kept in it between calls. It
            is called with float32 tensors; float32 or float64 will do.
        hint: whether to say where in the chapters to look.
    """
    return conclude("population", WRAPPER, partial(_check, function), hint)


def _check(function: Callable) -> str:
    first, second = _arguments(5, 3), _arguments(8, 3, seed=1)
    trained = _call(function, first)
    _require_training(trained, first)
    _require_no_memory(function, first, trained)
    unbiased = _require_training(_call(function, second), second)
    for arguments in (first, second):
        evaluated = arguments | {"is_training": False}
        _require_evaluation(function, _evaluate(function, evaluated), evaluated)
    _require_no_company(function, second | {"is_training": False})
    gradient = require_gradient(function, first)
    kept = (
        "It keeps the unbiased variance, as the paper and PyTorch do; this tutorial and Keras "
        "keep the biased one. Both are in use."
        if unbiased
        else "It keeps the biased variance, as this tutorial and Keras do."
    )
    return (
        "Right in training (outputs and population) and in evaluation (outputs, population "
        f"untouched, one sample at a time). {gradient} {kept}"
    )


def _arguments(samples: int, units: int, seed: int = 0) -> dict[str, object]:
    """Arguments for training; the population is far from the batch."""
    generator = np.random.default_rng(seed + 10)
    arguments = batch(samples, units, seed)
    return {
        "inputs": arguments["inputs"],
        "gamma": arguments["gamma"],
        "beta": arguments["beta"],
        "pop_mean": tf.constant(generator.uniform(28, 40, units), tf.float32),
        "pop_var": tf.constant(generator.uniform(12, 25, units), tf.float32),
        "is_training": True,
        "decay": DECAY,
        "epsilon": arguments["epsilon"],
    }


def _call(function: Callable, arguments: Arguments) -> Results:
    shape = tuple(arguments["inputs"].shape)
    returns = {"outputs": shape, "new pop_mean": shape[1:], "new pop_var": shape[1:]}
    return call(function, arguments, returns)


def _evaluate(function: Callable, arguments: Arguments) -> Results:
    try:
        return _call(function, arguments)
    except Mistaken as mistaken:
        if mistaken.name == "not written yet":
            raise Mistaken(
                "a result is missing",
                "In training the function returns its three results, in evaluation it returns "
                "nothing.",
            ) from None
        raise


def right_results(arguments: Arguments) -> Results:
    """What the package's own wrapper makes of the same."""
    names = ("gamma", "beta", "pop_mean", "pop_var")
    variables = batch_norm.BatchNormVariables(arguments["gamma"].shape[0])
    for name in names:
        getattr(variables, name).assign(arguments[name])
    settings = (arguments[name] for name in ("is_training", "decay", "epsilon"))
    outputs = batch_norm.batch_norm_wrapper(arguments["inputs"], variables, *settings)
    results = (outputs, variables.pop_mean, variables.pop_var)
    named = zip(("outputs", "new pop_mean", "new pop_var"), results, strict=True)
    return {name: value.numpy().astype(np.float64) for name, value in named}


def _require_training(found: Results, arguments: Arguments) -> bool:
    """Outputs and new population are right; whether the variance kept is the unbiased one."""
    normalization = {name: arguments[name] for name in ("inputs", "gamma", "beta", "epsilon")}
    require_outputs(found["outputs"], normalization, _population_in_training(arguments))
    right = right_results(arguments)
    if agree(found["new pop_mean"], right["new pop_var"]) and agree(
        found["new pop_var"], right["new pop_mean"]
    ):
        raise Mistaken(
            "pop_mean and pop_var swapped",
            "The new pop_mean and pop_var are right, in the wrong order: expected are outputs, "
            "pop_mean, pop_var.",
        )
    exact = in_float64(arguments)
    unbiased = update(exact["pop_var"], exact["inputs"].var(axis=0, ddof=1), DECAY)
    keeps_unbiased = agree(found["new pop_var"], unbiased)
    if keeps_unbiased:
        right["new pop_var"] = unbiased
    for name, model, mistakes in (
        ("new pop_mean", model_of_pop_mean, UPDATES),
        ("new pop_var", model_of_pop_var, [*UPDATES, *KEPT]),
    ):
        require(
            found[name], right[name], partial(model, **exact), mistakes,
            smoothing_in_numbers(name, found[name], right[name], exact),
            f"In training the outputs are right, `{name}` is not.",
        )  # fmt: skip
    return keeps_unbiased


def _population_in_training(arguments: Arguments) -> list[Mistake]:
    exact, new = in_float64(arguments), right_results(arguments)
    before = exact["pop_mean"], exact["pop_var"]
    after = new["new pop_mean"], new["new pop_var"]
    text = "In training, the outputs are those of inputs normalised by the population's statistics"
    return [
        _statistics(BY_POPULATION, f"{text}. The batch's belong there.", before),
        _statistics(BY_POPULATION, f"{text}, just updated. The batch's own belong there.", after),
    ]


def _statistics(
    name: str, text: str, values: tuple[np.ndarray, np.ndarray], place: Place = TWO_KINDS
) -> Mistake:
    return Mistake(name, text, place, {"statistics": lambda inputs: values})


def _require_no_memory(function: Callable, arguments: Arguments, before: Results) -> None:
    again = _call(function, arguments)
    for name, value in before.items():
        if not agree(again[name], value):
            raise Mistaken(
                WRONG_START,
                "The function remembers earlier calls: called again with the same arguments it "
                f"gives another `{name}`. All it knows of the population should be what it is "
                f"given.\n{difference(again[name], value)}",
                WRAPPER,
            )


def _require_evaluation(function: Callable, found: Results, arguments: Arguments) -> None:
    right, exact = right_results(arguments), in_float64(arguments)
    names = ("inputs", "gamma", "beta", "epsilon")
    model = partial(
        _model_of_evaluation,
        (exact["pop_mean"], exact["pop_var"]),
        **{name: exact[name] for name in names},
    )
    mistakes = [*_statistics_in_evaluation(arguments), *CENTERS, *INVERSES, *SPREADS, *AFFINES]
    numbers = unit_in_numbers(found["outputs"], right["outputs"], exact["gamma"], exact["beta"])
    otherwise = "In training all is right, in evaluation the outputs are not. "
    if not agree(found["outputs"], right["outputs"]):
        otherwise += what_holds(found["outputs"], right["outputs"])
        if not any(agree(found["outputs"], model(**m.changes)) for m in mistakes):
            _require_no_company(function, arguments)
    require(found["outputs"], right["outputs"], model, mistakes, numbers, otherwise)
    _require_unmoved(found, exact)


def _model_of_evaluation(
    pop: tuple[np.ndarray, np.ndarray], *, statistics: Callable | None = None, **changes: object
) -> np.ndarray:
    return model_of_outputs(statistics=statistics or (lambda inputs: pop), **changes)


def _statistics_in_evaluation(arguments: Arguments) -> list[Mistake]:
    exact = in_float64(arguments)
    pop = exact["pop_mean"], exact["pop_var"]
    inputs = exact["inputs"]
    own = inputs.mean(axis=0), inputs.var(axis=0)
    moved = tuple(update(old, new, DECAY) for old, new in zip(pop, own, strict=True))
    text = "In evaluation, the outputs are those of inputs normalised by "
    return [
        _statistics(
            BY_BATCH,
            f"{text}their own batch's statistics. So an answer depends on who shares the batch, "
            "and a batch of one gets beta, whatever it is.",
            own,
        ),
        _statistics(
            MOVED,
            f"{text}a population that this very batch has moved. In evaluation nothing is updated.",
            moved,
            UNTOUCHED,
        ),
        _statistics(
            WRONG_START,
            f"{text}a mean of 0 and a variance of 1: not by the population that was given.",
            (np.zeros_like(own[0]), np.ones_like(own[1])),
            WRAPPER,
        ),
        _statistics("pop_mean and pop_var swapped", f"{text}pop_var as mean.", pop[::-1], WRAPPER),
        _statistics(
            BY_BATCH, f"{text}the batch's mean, with the population's variance.", (own[0], pop[1])
        ),
        _statistics(
            BY_BATCH, f"{text}the batch's variance, with the population's mean.", (pop[0], own[1])
        ),
    ]


def _require_unmoved(found: Results, exact: dict[str, np.ndarray]) -> None:
    if agree(found["new pop_mean"], exact["pop_var"]) and agree(
        found["new pop_var"], exact["pop_mean"]
    ):
        raise Mistaken(
            "pop_mean and pop_var swapped", "In evaluation the two come back in the wrong order."
        )
    for name in ("pop_mean", "pop_var"):
        new = found[f"new {name}"]
        if not agree(new, exact[name], 1e-6):
            raise Mistaken(
                MOVED,
                f"In evaluation `{name}` comes back changed. There it should be returned as it was "
                f"given, or each look at a test set changes the network.\n"
                f"{difference(new, exact[name])}",
                UNTOUCHED,
            )


def _require_no_company(function: Callable, arguments: Arguments) -> None:
    """A sample alone gets what it gets in a batch."""
    together = _call(function, arguments)["outputs"][:1]
    only = arguments | {"inputs": arguments["inputs"][:1]}
    try:
        alone = _call(function, only)["outputs"]
    except Mistaken as mistaken:
        raise Mistaken(
            mistaken.name, f"In evaluation, for a batch of one: {mistaken.text}", COMPANY
        ) from None
    if not agree(alone, together, 1e-3):
        raise Mistaken(
            COMPANY_MATTERS,
            "In evaluation, a sample alone gets another answer than the same sample in a batch.\n"
            f"{difference(alone, together)} (Expected: as in the batch.)",
            COMPANY,
        )
