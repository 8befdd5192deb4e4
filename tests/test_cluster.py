"""Real workers on the loopback address. Each test ends with a look for processes that are left."""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf

from bn_tutorial.cluster import private_network
from bn_tutorial.cluster.__main__ import main, parser
from bn_tutorial.cluster.files import write_json
from bn_tutorial.cluster.supervisor import (
    ClusterError,
    Limits,
    Supervisor,
    free_ports,
    last_error,
    require_free,
    tf_config,
)

COMMAND = [sys.executable, "-m", "bn_tutorial.cluster", "--source", "digits"]
STEPS = 400
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def workers_of(process):
    """The processes a command has started, by worker."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def left_over():
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "bn_tutorial.cluster" in (process.info["cmdline"] or [])
        and str(os.environ.get("PYTEST_XDIST_WORKER")) == _marker(process)
    ]


def _marker(process):
    try:
        return str(process.environ().get("PYTEST_XDIST_WORKER"))
    except psutil.Error:
        return ""


@pytest.fixture
def cluster(tmp_path):
    """Starts the command; afterwards no process of it may be left."""
    started = []

    # Where tests run in a shell's background, Ctrl-C is ignored, and by all they start.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*options):
        output = tmp_path / f"result_{len(started)}.json"
        process = subprocess.Popen(
            [*COMMAND, "--output", str(output), *map(str, options)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        process.output = output
        started.append(process)
        return process

    yield start
    signal.signal(signal.SIGINT, ignored)
    for process in started:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 10
    while left_over() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_over()


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("100%") >= 1
    return json.loads(process.output.read_text())


def end(process):
    out, err = process.communicate(timeout=120)
    assert not process.output.exists()
    return process.returncode, out, err


def wait_for_workers(process, count):
    deadline = time.monotonic() + 60
    while len(workers := workers_of(process)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return workers


def wait_for_steps(folder, process):
    deadline = time.monotonic() + 120
    while tf.train.latest_checkpoint(folder) is None:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)


def assert_same(result, expected):
    assert result["steps"] == expected["steps"]
    assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert result["accuracy"] == pytest.approx(expected["accuracy"], abs=0.003)  # a digit
    for name in ("pop_mean", "pop_var"):
        for ours, theirs in zip(result[name], expected[name], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """One process, without a cluster; its result and its weights."""
    folder = tmp_path_factory.mktemp("undisturbed")
    output, checkpoints = folder / "result.json", folder / "checkpoints"
    options = ["--workers", "1", "--steps", str(STEPS), "--output", str(output)]
    options += ["--checkpoint-dir", str(checkpoints)]
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text()), weights_in(checkpoints)


def weights_in(folder):
    reader = tf.train.load_checkpoint(str(folder))
    names = [n for n in reader.get_variable_to_shape_map() if n.startswith("network/")]
    return {name: reader.get_tensor(name) for name in sorted(names)}


def assert_same_weights(folder, expected):
    for name, values in weights_in(folder).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5, err_msg=name)


@posix
@pytest.mark.slow
@pytest.mark.workers
def test_two_workers_equal_one_process_also_after_a_kill(cluster, undisturbed, tmp_path):
    result, weights = undisturbed
    folder = tmp_path / "checkpoints"
    process = cluster("--workers", 2, "--steps", STEPS, "--checkpoint-dir", folder, "--save-every",
                      10, "--restarts", 1)  # fmt: skip
    wait_for_steps(folder, process)
    workers_of(process)[1].kill()
    found = finish(process)
    assert (found["workers"], found["restarts"]) == (2, 1)
    assert_same(found, result)
    assert_same_weights(folder, weights)
    assert len(result["pop_mean"]) == 2
    assert len(result["pop_var"][1]) == 100


@posix
@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.parametrize("seed", range(10))
def test_ten_kills_at_random_moments(cluster, undisturbed, tmp_path, seed):
    result, weights = undisturbed
    generator = random.Random(seed)
    process = cluster("--workers", 2, "--steps", STEPS, "--checkpoint-dir", tmp_path / "c",
                      "--save-every", 7, "--restarts", 1)  # fmt: skip
    workers = wait_for_workers(process, 2)
    if seed % 2:  # while it trains and saves; else at start-up too
        wait_for_steps(tmp_path / "c", process)
    time.sleep(generator.uniform(0, 2.5 if seed % 2 else 8))
    workers[seed // 2 % 2].kill()  # the chief is number 0
    assert_same(finish(process), result)
    assert_same_weights(tmp_path / "c", weights)


@posix
@pytest.mark.slow
@pytest.mark.workers
def test_four_workers_equal_one_process(cluster, undisturbed):
    assert_same(finish(cluster("--workers", 4, "--steps", STEPS)), undisturbed[0])


@posix
@pytest.mark.slow
@pytest.mark.workers
def test_replicas_of_one_process_equal_one_device(cluster, undisturbed):
    assert_same(finish(cluster("--workers", 1, "--replicas", 8, "--steps", STEPS)), undisturbed[0])


@posix
@pytest.mark.slow
@pytest.mark.workers
def test_a_worker_that_hangs_is_found_within_the_limit(cluster, tmp_path):
    process = cluster("--workers", 2, "--steps", 10**6, "--checkpoint-dir", tmp_path / "c",
                      "--stall-limit", 5)  # fmt: skip
    wait_for_steps(tmp_path / "c", process)
    workers_of(process)[1].send_signal(signal.SIGSTOP)
    start = time.monotonic()
    code, _, err = end(process)
    assert code == 1
    assert "worker 1 gave no sign of life for" in err
    assert time.monotonic() - start < 30  # by the limit for a step alone it would be 60


@posix
@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_no_process(cluster, tmp_path, number):
    process = cluster("--workers", 2, "--steps", 10**6, "--checkpoint-dir", tmp_path / "c")
    wait_for_steps(tmp_path / "c", process)
    workers = workers_of(process)
    process.send_signal(number)
    code, _, err = end(process)
    expected = {signal.SIGINT: 130, signal.SIGKILL: -9}
    assert code == expected.get(number, 128 + number)
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


@posix
@pytest.mark.slow
@pytest.mark.workers
def test_a_failure_without_restarts_says_what_the_others_saw(cluster, tmp_path):
    process = cluster("--workers", 2, "--steps", 10**6, "--checkpoint-dir", tmp_path / "c",
                      "--others-limit", 60)  # fmt: skip
    wait_for_steps(tmp_path / "c", process)
    workers_of(process)[1].kill()
    code, _, err = end(process)
    assert code == 1
    assert "worker 1 was killed by SIGKILL" in err
    assert "s later worker 0 ended with exit code" in err


@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.skipif(private_network.available() is None, reason="no unshare, or not allowed")
def test_nothing_of_it_listens_where_others_can_reach_it(cluster, tmp_path):
    process = cluster("--workers", 2, "--steps", 10**6, "--checkpoint-dir", tmp_path / "c")
    wait_for_steps(tmp_path / "c", process)
    for worker in workers_of(process):
        process = Path(f"/proc/{worker.pid}")
        assert (process / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        devices = (process / "net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in devices] == ["lo"]


@posix
@pytest.mark.slow
@pytest.mark.workers
def test_a_checkpoint_of_another_run_is_refused(cluster, tmp_path):
    options = ("--workers", 1, "--steps", 20, "--checkpoint-dir", tmp_path / "c")
    finish(cluster(*options))
    code, _, err = end(cluster(*options, "--seed", 1))
    assert code == 1
    assert "is of a run with seed 0, batch_size 64" in err
    code, _, err = end(cluster("--workers", 1, "--steps", 10, "--checkpoint-dir", tmp_path / "c"))
    assert "has 20 steps, more than the 10 asked for" in err


def test_a_port_that_is_taken_is_named(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--workers", "2", "--port", str(port), "--source", "digits"]) == 1
    assert f"port {port} of 127.0.0.1 can't be had" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "3", "--batch-size", "64"], "must be a multiple of the 3 replicas"),
        (["--workers", "2", "--replicas", "2"], "--replicas is for one process"),
        ([], "give --workers N, or set TF_CONFIG"),
    ],
)
def test_wrong_options_are_named(monkeypatch, capsys, arguments, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert main([*arguments, "--source", "digits"]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--workers", "--steps", "--batch-size"])
def test_counts_are_one_or_more(option, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([option, "0"])
    assert "1 or more is expected, found 0" in capsys.readouterr().err


def test_tf_config_is_what_tensorflow_reads(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config([4001, 4002, 4003], 1))
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    addresses = ["127.0.0.1:4001", "127.0.0.1:4002", "127.0.0.1:4003"]
    assert resolver.cluster_spec().as_dict() == {"worker": addresses}
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)


def test_one_process_has_no_cluster():
    assert tf_config([4001], 0) == "{}"


def test_free_ports_are_free_and_differ():
    ports = free_ports(4)
    assert len(set(ports)) == 4
    require_free(ports)
    with pytest.raises(ClusterError, match="port 70000"):
        require_free([70000])


def supervised(code, restarts=0, **limits):
    """A supervisor of two small programs instead of workers."""
    limits = Limits(**{"start": 30, "stall": 30, **limits})
    return Supervisor([sys.executable, "-c", code], 2, 10, 0, limits, restarts)


WRITE = """
import json, os, pathlib, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
progress = pathlib.Path(options["--progress-file"])
def write(text):
    part = progress.with_suffix(".part")
    part.write_text(text)
    part.replace(progress)
first = json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 0
def done():
    if first:
        pathlib.Path(options["--output"]).write_text('{"steps": 10}')
"""


def test_result_and_restarts_come_back(tmp_path, capsys):
    flag = tmp_path / "failed_once"
    code = WRITE + (
        f"flag = pathlib.Path({str(flag)!r})\n"
        "if not first and not flag.exists():\n    flag.touch(); sys.exit('ValueError: so it is')\n"
        "if flag.exists():\n    write('10')\n    done()\n"
        "else:\n    time.sleep(60)\n"
    )
    assert supervised(code, restarts=1).run() == {"steps": 10, "restarts": 1}
    assert "worker 1 ended with exit code 1: ValueError: so it is" in capsys.readouterr().out


def test_workers_that_never_start_are_an_error():
    with pytest.raises(ClusterError, match="worker 0 gave no sign of life for 1 s"):
        supervised("import time; time.sleep(60)", start=1).run()


def test_workers_that_live_and_do_not_move_are_an_error():
    code = WRITE + "while True:\n    write('5'); time.sleep(0.1)"
    with pytest.raises(ClusterError, match="nothing moved for 4 s, at step 5"):
        supervised(code, stall=4).run()


def test_last_error_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("Traceback\n  x\ntensorflow.errors.UnavailableError: gone\n[Op:X]\n")
    assert last_error(log) == "tensorflow.errors.UnavailableError: gone"
    log.write_text("")
    assert last_error(log) == "it wrote nothing"


def test_a_file_that_can_not_be_written_whole_leaves_the_old_one(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"steps": 1})
    with pytest.raises(TypeError):
        write_json(path, {"steps": object()})
    assert json.loads(path.read_text()) == {"steps": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_help_names_each_option():
    names = {a.dest for a in parser()._actions if a.help != argparse.SUPPRESS}
    assert {"workers", "steps", "batch_size", "statistics", "checkpoint_dir", "seed",
            "learning_rate", "source", "output", "restarts"} <= names  # fmt: skip
