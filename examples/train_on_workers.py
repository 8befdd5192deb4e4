"""Train the network of the notebooks on several workers, and start again when one of them dies.

    python examples/train_on_workers.py --workers 2 --checkpoint-dir checkpoints --restarts 3

With `--workers N` this is a launcher of N workers on this machine. Without, it is one worker of the
cluster that the environment variable `TF_CONFIG` describes; there all workers must read one folder
of checkpoints. A step needs all of them, so when one dies or hangs, the launcher ends the others,
and all start again from the last whole checkpoint, which holds the position in the data as well.

TensorFlow's servers take orders from whoever reaches them, and listen on all addresses of a machine
whatever `TF_CONFIG` says (tensorflow/tensorflow#11689). Where Linux allows it, the launcher moves
to a network of its own, which has nothing but the loopback address; elsewhere it prints a notice.
"""

import argparse
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import PIPE, Popen, getstatusoutput

from tqdm import tqdm

from bn_tutorial.arguments import require_at_least
from bn_tutorial.mnist import MnistError, load_mnist

parser = argparse.ArgumentParser(description="Train on several workers.")
parser.add_argument("--workers", type=int, help="number of workers to start on this machine")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--batch-size", type=int, default=64, help="samples in the global batch")
parser.add_argument("--statistics", default="synchronized", choices=["synchronized", "per-replica"])
parser.add_argument("--checkpoint-dir", metavar="FOLDER", help="continue from its last checkpoint")
parser.add_argument("--save-every", type=int, default=50, metavar="STEPS")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--learning-rate", type=float, default=0.01)
parser.add_argument("--source", default="auto", help="mnist, digits, or auto for what is there")
parser.add_argument("--output", metavar="FILE", help="where to write the result, as JSON")
parser.add_argument("--all-reduce", action="store_true", help="time all-reduces instead")
parser.add_argument("--restarts", type=int, default=0, help="number of times to start all again")
parser.add_argument("--stall-limit", type=float, default=60, help="seconds to wait for a step")
parser.add_argument("--restarted", type=int, help=argparse.SUPPRESS)  # set by the launcher


def count_workers(options: argparse.Namespace) -> int:
    """How many workers there are; a ValueError if an option or `TF_CONFIG` can't be right."""
    if (workers := options.workers) is None:
        text, config = os.environ.get("TF_CONFIG"), {}
        with suppress(TypeError, ValueError):
            config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        if not {*cluster, task.get("type")} <= {"chief", "worker"}:
            raise ValueError(f"expected --workers N, or chief and workers in TF_CONFIG: {text}")
        workers = sum(len(addresses) for addresses in cluster.values())
    require_at_least(1, workers=workers, steps=options.steps)
    require_at_least(1, batch_size=options.batch_size, save_every=options.save_every)
    require_at_least(0, seed=options.seed, restarts=options.restarts)
    if (size := options.batch_size) % workers:
        raise ValueError(f"--batch-size must be a multiple of {workers}, found {size}")
    return workers


class Training:
    """The network on the replicas of all workers, and how far it is; a checkpoint has both."""

    def __init__(self, options: argparse.Namespace, workers: int) -> None:
        import tensorflow as tf  # here, since it takes seconds, and the launcher does without

        from bn_tutorial import distributed, networks

        self.options, self.strategy = options, tf.distribute.get_strategy()
        if workers > 1:
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self.data = load_mnist(source=options.source, seed=options.seed)
        weights = networks.initial_weights(options.seed)
        network = distributed.build_replicas(self.strategy, weights, options.statistics)
        self.run_steps = distributed.compile_replica_steps(
            self.strategy, network, self.data.train, options.batch_size, options.learning_rate
        )
        names = ("seed", "batch_size", "learning_rate", "statistics")
        self.run = ", ".join(f"{name} {getattr(options, name)}" for name in names)
        self.run += f", data {self.data.source}"
        self.state = tf.train.Checkpoint(
            network=network, step=tf.Variable(0), loss=tf.Variable(0.0), run=tf.Variable(self.run)
        )
        folder = options.checkpoint_dir
        self.manager = tf.train.CheckpointManager(self.state, folder, 2) if folder else None

    def restore(self) -> None:
        """Go on from the last whole checkpoint; a ValueError if it is of another run."""
        if path := self.manager and self.manager.latest_checkpoint:
            self.state.restore(path).assert_consumed()
            if (found := self.state.run.numpy().decode()) != self.run:
                raise ValueError(f"{path} is of a run with {found}; this one has {self.run}")
            if (step := int(self.state.step)) > self.options.steps:
                raise ValueError(f"{path} has {step} steps, more than {self.options.steps}")
            self.data.train.next_indices(step * self.options.batch_size)  # those it has seen

    def take_steps(self) -> None:
        """Train on what is left; the chief saves alone, since reading a variable asks no other."""
        self.restore()
        options, step = self.options, int(self.state.step)
        while step < options.steps:
            count = min(options.save_every, options.steps - step)
            indices = self.data.train.next_indices(count * options.batch_size)
            losses = self.run_steps(indices.reshape(count, options.batch_size))
            step += count
            self.state.loss.assign(losses[-1])
            self.state.step.assign(step)
            if self.manager and self.strategy.extended.should_checkpoint:
                self.manager.save(step)
            print(f"step {step} of {options.steps}", flush=True)

    def result(self) -> dict[str, object]:
        """What came out, or how long all-reduces take; statistics are the first replica's."""
        from bn_tutorial import distributed, prediction

        if self.options.all_reduce:
            sizes = (1, 100, 1_000, 10_000, 100_000, 1_000_000)
            return {"seconds": distributed.measure_all_reduce(self.strategy, sizes)}
        self.take_steps()
        network = distributed.copy_first_replica(self.state.network)
        return {
            "steps": int(self.state.step),
            "loss": float(self.state.loss),
            "accuracy": prediction.measure_accuracy(network, self.data.test),
            "pop_mean": [layer.batch_norm.pop_mean.numpy().tolist() for layer in network.layers],
            "pop_var": [layer.batch_norm.pop_var.numpy().tolist() for layer in network.layers],
            "all_reduces": distributed.count_all_reduces(self.run_steps),
        }


def work(options: argparse.Namespace, workers: int) -> None:
    """Be a worker. The chief, which is the task of that name or else worker 0, writes files."""
    if options.restarted is not None:  # the launcher holds the pipe to this, and writes nothing
        threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
    training = Training(options, workers)
    result = {"workers": workers, "restarts": options.restarted or 0, **training.result()}
    if options.output and training.strategy.extended.should_checkpoint:
        Path(options.output).parent.mkdir(parents=True, exist_ok=True)
        Path(f"{options.output}.part").write_text(json.dumps(result) + "\n")
        Path(f"{options.output}.part").replace(options.output)


def tf_config(ports: list[int], index: int) -> str:
    """What the environment variable `TF_CONFIG` says to one of the workers on this machine."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def launch(options: argparse.Namespace, arguments: list[str]) -> None:
    """Run workers to their end; when one fails, start all again, as often as `restarts` says."""
    for restarted in range(options.restarts + 1):
        command = [sys.executable, __file__, *arguments, "--restarted", str(restarted)]
        try:
            with ExitStack() as stack:  # in the end no worker is left
                watch(start_workers(command, options.workers, stack), options)
            break
        except ChildProcessError as error:
            if restarted == options.restarts:
                raise
            print(f"{error}\nStarting all again.")


def start_workers(command: list[str], count: int, stack: ExitStack) -> dict[Path, Popen]:
    """Start workers, by their logs, each with a pipe from here; the end of the stack ends them."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    workers = {}
    for index, probe in enumerate(probes):
        probe.close()
        log, environment = Path(folder, f"worker {index}"), {"TF_CONFIG": tf_config(ports, index)}
        out = stack.enter_context(log.open("wb"))
        worker = Popen(command, stdin=PIPE, stdout=out, stderr=out, env=os.environ | environment)
        workers[log] = stack.enter_context(worker)
        stack.callback(worker.kill)
    return workers


def watch(workers: dict[Path, Popen], options: argparse.Namespace) -> None:
    """Wait for all workers; a ChildProcessError if one fails, or no step is done for too long."""
    running, failures, failed, deadline = {**workers}, [], [], time.monotonic() + 300
    task = "all-reduces" if options.all_reduce else "training"
    with tqdm(total=options.steps, unit=" steps", desc=task, file=sys.stdout) as bar:
        while running and time.monotonic() < deadline:
            time.sleep(0.1)
            for log in [log for log, worker in running.items() if worker.poll() is not None]:
                if running.pop(log).returncode:
                    failed.append(time.monotonic())
                    failures.append(describe(log, workers[log], failed[-1] - failed[0]))
                    deadline = failed[0] + 20  # seconds, in which the others may notice
            steps = re.findall(r"^step (\d+)", min(workers).read_text(errors="replace"), re.M)
            if steps and int(steps[-1]) > bar.n and not failures:
                bar.update(int(steps[-1]) - bar.n)
                deadline = time.monotonic() + options.stall_limit
        for worker in running.values():
            worker.stdin.close()  # so that it ends, unless it hangs
        time.sleep(2 if running else 0)
        failures += [describe(log, workers[log]) for log in running if workers[log].poll() is None]
        if running or failures:
            first, *others = failures or ["no step was done in time"]
            raise ChildProcessError("; ".join([f"{first} (at step {bar.n} or later)", *others]))
        bar.update(bar.total - bar.n)


def describe(log: Path, worker: Popen, seconds: float = 0) -> str:
    """What became of a worker, so long after the first failure, and the last errors in its log."""
    code = worker.returncode
    how = "gave no sign of life" if code is None else f"ended with exit code {code}:"
    if code is not None and code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    errors = r"^(?:error|F\d{4}|[\w.]*(?:Error|Exit)\b|.* is aborted by: ).*"
    found = re.findall(errors, log.read_text(errors="replace"), re.MULTILINE)
    later = f"{seconds:.1f} s later " if seconds else ""
    return later + " ".join([log.name, how, *found[-2:]])


def enter_private_network(arguments: list[str]) -> None:
    """Go on in a network of its own, if this is root or the system lets users make networks."""
    for unshare in ("unshare --net", "unshare --net --map-root-user"):
        if getstatusoutput(f"{unshare} ip link set lo up")[0] == 0:
            os.environ["BN_TUTORIAL_PRIVATE_NETWORK"] = "entered"
            enter = [*unshare.split(), "sh", "-c", 'ip link set lo up && exec "$0" "$@"']
            os.execvp("unshare", [*enter, sys.executable, __file__, *arguments])
    print("notice: others on this network can reach TensorFlow's servers", file=sys.stderr)


def main(arguments: list[str]) -> None:
    """Be the launcher, or a worker."""
    options = parser.parse_args(arguments)
    try:
        workers = count_workers(options)
        if options.workers is None or options.restarted is not None:
            return work(options, workers)
        arguments += ["--source", load_mnist(source=options.source).source]
        if workers > 1 and "BN_TUTORIAL_PRIVATE_NETWORK" not in os.environ:
            enter_private_network(arguments)
        launch(options, arguments)
    except (ChildProcessError, MnistError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
