"""`python -m bn_tutorial.cluster`: train on workers of this machine, or as one of a real cluster.

With `--workers N` it starts N processes on the loopback address and watches them. Without, it is
one worker of the cluster that the environment variable `TF_CONFIG` describes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from bn_tutorial.cluster import private_network
from bn_tutorial.cluster.files import write_json
from bn_tutorial.cluster.supervisor import TF_CONFIG, ClusterError, Limits, Supervisor, require_free
from bn_tutorial.mnist import SOURCES, MnistError, load_mnist


def parser() -> argparse.ArgumentParser:
    """The options; a worker gets the same ones as the command that starts it."""
    options = argparse.ArgumentParser(prog="python -m bn_tutorial.cluster", description=__doc__)
    options.add_argument("--workers", type=_from(1), help="start so many on this machine")
    options.add_argument("--steps", type=_from(1), default=1000)
    options.add_argument("--batch-size", type=_from(1), default=64, help="of the global batch")
    options.add_argument("--statistics", choices=["synchronized", "per-replica"],
                         default="synchronized")  # fmt: skip
    options.add_argument("--replicas", type=_from(1), default=1, metavar="N",
                         help="divide the processor into so many devices")  # fmt: skip
    options.add_argument("--checkpoint-dir", metavar="FOLDER", help="go on from what is there")
    options.add_argument("--save-every", type=_from(1), default=50, metavar="STEPS")
    options.add_argument("--seed", type=_from(0), default=0)
    options.add_argument("--learning-rate", type=float, default=0.01)
    options.add_argument("--source", choices=SOURCES, default="auto", help="of the digits")
    options.add_argument("--output", metavar="FILE", help="JSON")
    options.add_argument("--all-reduce", action="store_true", help="do not train: time all-reduces")
    local = options.add_argument_group("with --workers")
    local.add_argument("--restarts", type=_from(0), default=0, metavar="N")
    local.add_argument("--port", type=_from(0), default=0, help="the first; 0 takes free ones")
    limits = Limits()
    local.add_argument("--start-limit", type=float, default=limits.start, metavar="SECONDS",
                       help="until the first steps are done (%(default)s)")  # fmt: skip
    local.add_argument("--stall-limit", type=float, default=limits.stall, metavar="SECONDS",
                       help="without a step, or a sign of life (%(default)s)")  # fmt: skip
    local.add_argument("--others-limit", type=float, default=limits.others, metavar="SECONDS",
                       help="wait for what the others say of a failure (%(default)s)")  # fmt: skip
    local.add_argument("--log-dir", metavar="FOLDER", help="keep what the workers print")
    options.add_argument("--progress-file", help=argparse.SUPPRESS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(arguments)
    try:
        if options.workers is None:
            return _work(options)
        return _supervise(options, arguments)
    except (ClusterError, MnistError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: all workers have ended.", file=sys.stderr)
        return 130


def _supervise(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminated)
    _require_sensible(options)
    source = load_mnist(source=options.source).source  # fetched here: workers have no network
    command = [sys.executable, "-m", "bn_tutorial.cluster"]
    if options.workers > 1 and not private_network.enter([*command, *arguments]):
        print(
            "notice: TensorFlow's servers listen on all addresses of this machine, and it has no "
            "`unshare` that would shut them in. Use a network that you trust.",
            file=sys.stderr,
        )
    limits = Limits(options.start_limit, options.stall_limit, options.others_limit)
    supervisor = Supervisor(
        [*command, *_of_workers(options, source)],
        options.workers,
        options.steps,
        options.port,
        limits,
        options.restarts,
        options.log_dir,
        "all-reduces" if options.all_reduce else "training",
    )
    result = supervisor.run()
    if options.output:
        write_json(options.output, result)
    return 0


def _require_sensible(options: argparse.Namespace) -> None:
    """What can be known before anything is started."""
    if options.port:
        require_free(range(options.port, options.port + options.workers))
    if options.workers > 1 and options.replicas > 1:
        raise ValueError("--replicas is for one process: give --workers 1")
    replicas = options.workers * options.replicas
    if options.batch_size % replicas:
        raise ValueError(
            f"--batch-size must be a multiple of the {replicas} replicas, "
            f"found {options.batch_size}"
        )


def _of_workers(options: argparse.Namespace, source: str) -> list[str]:
    """The options that a worker takes over, as arguments."""
    names = ("steps", "batch_size", "statistics", "replicas", "checkpoint_dir", "save_every",
             "seed", "learning_rate")  # fmt: skip
    arguments = ["--source", source] + ["--all-reduce"] * options.all_reduce
    for name in names:
        value = getattr(options, name)
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def _work(options: argparse.Namespace) -> int:
    if TF_CONFIG not in os.environ:
        raise ValueError("give --workers N, or set TF_CONFIG as a cluster does")
    if options.progress_file:
        threading.Thread(target=_end_with_supervisor, daemon=True).start()
    from bn_tutorial.cluster.worker import run_worker  # TensorFlow, which takes seconds

    run_worker(options)
    return 0


def _end_with_supervisor() -> None:
    """The supervisor holds the other end of our input, and sends nothing."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _from(minimum: int):  # noqa: ANN202
    def whole_number(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{minimum} or more is expected, found {text}")
        return number

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
