"""Start the workers, watch them, and leave none behind.

A worker that fails takes the others with it: they wait for it, some without end. So one failure
ends all, and all start again from the last checkpoint, or the command ends with an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

ADDRESS = "127.0.0.1"
POLL = 0.05  # seconds
SILENCE = 2  # seconds; a worker that lives gives a sign each half second
TF_CONFIG = "TF_CONFIG"


class ClusterError(RuntimeError):
    """The cluster could not do its work; no process of it is left."""


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds.

    Attributes:
        start: until each worker has done its first steps.
        stall: for a sign of life, and from one step that is reported to the next.
        others: after one worker has failed, until the others end by themselves; what they say is
            then part of the report. 0 ends them at once.
    """

    start: float = 300
    stall: float = 60
    others: float = 0


@dataclass
class Worker:
    """A process, and what is known of it."""

    index: int
    process: subprocess.Popen
    log: Path
    progress_file: Path
    step: int | None = None
    moved: float = field(default_factory=time.monotonic)
    alive: float = field(default_factory=time.monotonic)
    sign: int = 0

    def look(self) -> None:
        """Read what the worker has written since the last look."""
        try:
            sign, text = self.progress_file.stat().st_mtime_ns, self.progress_file.read_text()
        except FileNotFoundError:
            return
        if sign != self.sign:
            self.sign, self.alive = sign, time.monotonic()
        if int(text) != self.step:
            self.step, self.moved = int(text), time.monotonic()

    def ending(self) -> str:
        """How the process ended, in words."""
        code = self.process.returncode
        if code < 0:
            return f"worker {self.index} was killed by {signal.Signals(-code).name}"
        return f"worker {self.index} ended with exit code {code}: {last_error(self.log)}"


def last_error(log: Path) -> str:
    """The last line of a log that names an error, or its last line; TensorFlow's reason besides."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Interrupt|Exit)\b", line)]
    reason = [line for line in lines if " is aborted by: " in line][-1:]
    return " ".join([(named or lines or ["it wrote nothing"])[-1].strip(), *reason])


def tf_config(ports: Sequence[int], index: int) -> str:
    """The `TF_CONFIG` of one worker: all addresses, and which of them is its own.

    One process without a cluster has an empty one.
    """
    if len(ports) < 2:
        return "{}"
    cluster = {"worker": [f"{ADDRESS}:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def require_free(ports: Sequence[int]) -> None:
    """Each of these ports can be listened on.

    Raises:
        ClusterError: one is taken.
    """
    for port in ports:
        with socket.socket() as probe:
            if os.name == "posix":  # a port whose last connection is just closed is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except (OSError, OverflowError) as error:
                raise ClusterError(f"port {port} of {ADDRESS} can't be had: {error}") from None


def free_ports(count: int) -> list[int]:
    """So many ports that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((ADDRESS, 0))
        return [probe.getsockname()[1] for probe in probes]


class Supervisor:
    """Runs `command` as so many workers, and again after a failure if restarts are allowed.

    Args:
        command: a worker's; where to write its progress and its result is added to it.
        workers: how many processes.
        steps: for the progress bar.
        port: of the first worker, the others have the next ones; 0 takes free ones.
        limits: how long to wait for what.
        restarts: how often to start again.
        keep_logs: a folder for the workers' output, or None.
        task: what the progress bar calls it.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        steps: int,
        port: int,
        limits: Limits,
        restarts: int,
        keep_logs: str | None = None,
        task: str = "training",
    ) -> None:
        self.command = list(command)
        self.count = workers
        self.port = port
        self.limits = limits
        self.restarts = restarts
        self.keep_logs = keep_logs
        self.bar = tqdm(total=steps, unit=" steps", desc=task, file=sys.stdout)
        self.workers: list[Worker] = []

    def run(self) -> dict[str, object]:
        """Until the workers are done; returns what the chief has written, and the restarts.

        Raises:
            ClusterError: a worker failed or nothing moved, once more than `restarts`.
        """
        with self.bar, tempfile.TemporaryDirectory(prefix="bn_tutorial_cluster_") as scratch:
            folder = Path(self.keep_logs or scratch)
            folder.mkdir(parents=True, exist_ok=True)
            for attempt in range(self.restarts + 1):
                output = Path(scratch) / f"result_{attempt}.json"
                try:
                    with self._processes(folder, Path(scratch), attempt, output):
                        self._watch()
                    return {**json.loads(output.read_text()), "restarts": attempt}
                except ClusterError as error:
                    if attempt == self.restarts:
                        raise
                    self.bar.write(f"{error}\nStarting again, {attempt + 1} of {self.restarts}.",
                                   file=sys.stdout)  # fmt: skip
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextlib.contextmanager
    def _processes(self, logs: Path, scratch: Path, attempt: int, output: Path) -> Iterator[None]:
        """The workers; at the end all are gone, however it comes."""
        if self.port:
            ports = list(range(self.port, self.port + self.count))
            require_free(ports)
        else:
            ports = free_ports(self.count)
        self.workers = []
        try:
            for index in range(self.count):
                log = logs / f"worker_{index}_start_{attempt}.log"
                self.workers.append(self._start(ports, index, log, scratch, output))
            yield
        finally:
            for worker in self.workers:  # SIGTERM is not heard inside an all-reduce
                worker.process.kill()
            for worker in self.workers:
                worker.process.wait()
                worker.process.stdin.close()

    def _start(
        self, ports: Sequence[int], index: int, log: Path, scratch: Path, output: Path
    ) -> Worker:
        progress_file = scratch / f"{output.stem}_worker_{index}"
        command = [*self.command, "--progress-file", str(progress_file)]
        command += ["--output", str(output)] if index == 0 else []
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # it closes when this process ends, and so do they
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, TF_CONFIG: tf_config(ports, index)},
                start_new_session=True,  # Ctrl-C in a terminal is for this process alone
            )
        return Worker(index, process, log, progress_file)

    def _watch(self) -> None:
        while any(worker.process.poll() is None for worker in self.workers):
            for worker in self.workers:
                worker.look()
                if worker.process.poll():
                    raise ClusterError(self._report(worker))
                if worker.process.poll() is None:
                    self._require_movement(worker)
            self._show()
            time.sleep(POLL)
        for worker in self.workers:
            if worker.process.returncode:
                raise ClusterError(self._report(worker))
            worker.look()
        self._show()

    def _require_movement(self, worker: Worker) -> None:
        now = time.monotonic()
        if now - worker.alive > (self.limits.stall if worker.sign else self.limits.start):
            raise ClusterError(self._silence(worker))
        if now - worker.moved > (self.limits.stall if worker.step else self.limits.start):
            # A worker that hangs stops the others too; they may be the first to reach the limit.
            silent = [self._silence(other) for other in self.workers if now - other.alive > SILENCE]
            still = f"nothing moved for {now - worker.moved:.0f} s, at step {worker.step or 0}"
            raise ClusterError("; ".join([still, *silent]))

    def _silence(self, worker: Worker) -> str:
        seconds = time.monotonic() - worker.alive
        return f"worker {worker.index} gave no sign of life for {seconds:.0f} s"

    def _show(self) -> None:
        step = self.workers[0].step or 0
        if step != self.bar.n:  # back too, after a restart
            self.bar.update(step - self.bar.n)

    def _report(self, failed: Worker) -> str:
        """How the worker ended, and the others, as far as they do within the limit."""
        start = time.monotonic()
        said = [f"{failed.ending()} (at step {self.workers[0].step or 0} or later)"]
        waiting = [worker for worker in self.workers if worker is not failed]
        while waiting and time.monotonic() - start < self.limits.others:
            for worker in [worker for worker in waiting if worker.process.poll() is not None]:
                waiting.remove(worker)
                said.append(f"{time.monotonic() - start:.1f} s later {worker.ending()}")
            time.sleep(POLL)
        return "; ".join(said)
