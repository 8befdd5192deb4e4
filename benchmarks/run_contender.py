"""Run one contender in this process, and print what was measured as a line of JSON.

python -m benchmarks.run_contender "this package" --steps 2000 --width 100 --networks 2
"""

import time

BEGIN = time.perf_counter()  # before anything heavy is imported

import argparse
import importlib.util
import json
import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
RECORD_EVERY = 50
MODULES = {"PyTorch": "torch", "JAX": "jax"}  # needed by the contenders with this in their name


def peak_megabytes() -> float:
    """The largest resident size of this process so far; 0 where the platform doesn't tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(name: str, steps: int, width: int, networks: int, with_bn: int) -> dict:
    """Train and measure in turn, as the article does, and time the two apart."""
    import numpy as np

    from benchmarks.contenders import CONTENDERS, FLOORS
    from bn_tutorial.mnist import load_mnist

    data = load_mnist()
    generator = np.random.default_rng(0)
    sizes = ((784, width), (width, width), (width, 10))
    weights = [generator.normal(size=size).astype(np.float32) for size in sizes]
    kinds = [(weights, number >= networks - with_bn) for number in range(networks)]
    contender = (CONTENDERS | FLOORS)[name](data, kinds)
    contender.train(data.train.next_indices(RECORD_EVERY * 60).reshape(RECORD_EVERY, 60))
    first = time.perf_counter() - BEGIN
    contender.measure()
    train, measure = [], []
    for _ in range(steps // RECORD_EVERY):
        indices = data.train.next_indices(RECORD_EVERY * 60).reshape(RECORD_EVERY, 60)
        start = time.perf_counter()
        contender.train(indices)
        middle = time.perf_counter()
        accuracies = contender.measure()
        train.append((middle - start) / RECORD_EVERY)
        measure.append(time.perf_counter() - middle)
    return {
        "train_ms": 1000 * statistics.mean(train),
        "measure_ms": 1000 * statistics.mean(measure),
        "seconds": sum(train) * RECORD_EVERY + sum(measure),
        "steps": steps,
        "first_step_s": first,
        "peak_mb": peak_megabytes(),
        "accuracies": accuracies,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--networks", type=int, default=2)
    parser.add_argument("--with-bn", type=int, help="how many of them; half, if not given")
    parser.add_argument("--threads", type=int, help="for TensorFlow to use")
    options = parser.parse_args()
    if options.threads:  # read when TensorFlow is imported
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(options.threads)
        os.environ["TF_NUM_INTEROP_THREADS"] = str(options.threads)
    half = options.networks // 2
    with_bn = half if options.with_bn is None else options.with_bn
    needed = [module for name, module in MODULES.items() if name in options.name]
    if needed and importlib.util.find_spec(needed[0]) is None:
        print(json.dumps({"missing": needed[0]}))
    else:
        sizes = (options.steps, options.width, options.networks, with_bn)
        print(json.dumps(run(options.name, *sizes)))
