"""The example with workers: one in this process, then real ones, of which none may be left."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import psutil
import pytest
import tensorflow as tf
import train_on_workers as example
import yaml

from bn_tutorial.mnist import load_mnist
from bn_tutorial.networks import BatchNormNetwork, initial_weights
from bn_tutorial.training import compile_steps

FILES = ["--checkpoint-dir", "checkpoints", "--output", "new/result.json"]
OPTIONS = [*FILES, "--source", "digits", "--save-every", "15", "--steps", "120"]
ALONE = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}


def run_alone(folder, *options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CONFIG", json.dumps(ALONE))
        patch.chdir(folder)
        example.main([*OPTIONS, *options])
    return folder


def outcome(folder):
    """The result of a run, and the variables in its last checkpoint."""
    reader = tf.train.load_checkpoint(str(folder / "checkpoints"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("network/")]
    variables = {name: reader.get_tensor(name) for name in names}
    return json.loads((folder / "new/result.json").read_text()) | variables


def assert_same(ours, theirs):
    for name in {*theirs} - {"workers", "restarts", "accuracy", "all_reduces"}:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run_alone(tmp_path_factory.mktemp("undisturbed"))


def test_one_worker_does_what_the_plain_loop_does(undisturbed):
    """The loop of the notebooks, on one device: the same loss and populations."""
    dataset, network = load_mnist(source="digits").train, BatchNormNetwork(initial_weights(0))
    batches = tf.constant(dataset.next_indices(120 * 64).reshape(120, 64))
    losses = compile_steps({"": network}, dataset, 64, {"": 0.01})(batches)
    found, layers = outcome(undisturbed), [layer.batch_norm for layer in network.layers]
    expected = {"steps": 120, "loss": losses[-1, 0]}
    expected["pop_mean"] = [layer.pop_mean for layer in layers]
    expected["pop_var"] = [layer.pop_var for layer in layers]
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_training_that_goes_on_ends_as_if_it_had_not_been_interrupted(undisturbed, tmp_path):
    run_alone(tmp_path, "--steps", "50")
    assert_same(outcome(run_alone(tmp_path)), outcome(undisturbed))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "1"], "run with seed 0, .*; this one has seed 1"),
        (["--batch-size", "32"], "batch_size 32"),
        (["--learning-rate", "0.1"], "learning_rate 0.1"),
        (["--statistics", "per-replica"], "statistics per-replica"),
        (["--source", "mnist"], "data mnist"),
        (["--steps", "100"], "has 120 steps, more than 100"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(undisturbed, monkeypatch, options, message):
    def load(source, seed):
        return dataclasses.replace(load_mnist(source="digits", seed=seed), source=source)

    monkeypatch.setattr(example, "load_mnist", load)
    with pytest.raises(SystemExit, match=message):
        run_alone(undisturbed, *options)


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        (["--workers", "3"], {}, "--batch-size must be a multiple of 3, found 64"),
        (["--workers", "0"], {}, "workers must be 1 or more, found 0"),
        (["--workers", "1", "--save-every", "0"], {}, "save_every must be 1 or more"),
        ([], {}, "expected --workers N, or .* TF_CONFIG"),
        ([], ALONE | {"cluster": {"ps": ["127.0.0.1:1"]}}, "chief and workers in TF_CONFIG"),
        ([], ALONE | {"task": {"type": "evaluator", "index": 0}}, "chief and workers in TF_CONFIG"),
    ],
)
def test_what_can_not_be_right_is_named_and_nothing_started(monkeypatch, options, config, message):
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    for name in ("load_mnist", "launch", "work"):
        monkeypatch.setattr(example, name, None)
    with pytest.raises(SystemExit, match=message):
        example.main([*OPTIONS, *options])


def block_of_page(language):
    """The block of that language in the example's own page."""
    page = Path(example.__file__).with_name("README.md").read_text(encoding="utf-8")
    return re.search(rf"```{language}\n(.+?)```", page, re.DOTALL)[1]


def test_the_job_for_kubernetes_has_options_of_the_program():
    job = yaml.safe_load(block_of_page("yaml"))["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    (container,) = job["spec"]["containers"]
    options = example.parser.parse_args(container["command"][2:])
    (volume,) = job["spec"]["volumes"]
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/shared"}]
    assert (options.steps, options.checkpoint_dir) == (40_000, "/shared/checkpoints")


def test_what_slurm_sets_becomes_the_second_of_two_workers(monkeypatch):
    slurm = {"PROCID": "1", "STEP_NUM_TASKS": "2", "STEP_NODELIST": "node[1-2]"}
    for name, value in {**slurm, "STEP_TASKS_PER_NODE": "1(x2)"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.setattr(os, "execv", lambda *arguments: None)
    exec(block_of_page("python"), {})
    expected = json.loads(example.tf_config([4001, 4001], 1))
    expected["cluster"]["worker"] = ["node1:4001", "node2:4001"]
    assert json.loads(os.environ["TF_CONFIG"]) == expected


@contextlib.contextmanager
def running(folder, *options, **variables):
    command = [sys.executable, example.__file__, *OPTIONS, *options]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    process = Popen(command, cwd=folder, env=os.environ | variables, stderr=PIPE, text=True)
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        yield process


def workers_of(process, folder):
    """The processes that it has started, once there is a checkpoint."""
    while tf.train.latest_checkpoint(folder / "checkpoints") is None:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return psutil.Process(process.pid).children()


@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
class TestWorkers:
    @pytest.mark.parametrize("restarts", [0, 1])
    def test_two_equal_one_also_after_a_kill(self, undisturbed, tmp_path, restarts):
        with running(tmp_path, "--workers=2", f"--restarts={restarts}") as process:
            if restarts:
                workers_of(process, tmp_path)[0].kill()
            assert process.wait(300) == 0, process.communicate()
        result = outcome(tmp_path)
        assert_same(result, outcome(undisturbed))
        assert (result["workers"], result["restarts"], result["all_reduces"]) == (2, restarts, 17)

    def test_a_chief_beside_a_worker_alone_writes_files(self, undisturbed, tmp_path):
        with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
            ports = {"chief": one.getsockname()[1], "worker": other.getsockname()[1]}
        cluster = {kind: [f"127.0.0.1:{port}"] for kind, port in ports.items()}
        processes = []
        with contextlib.ExitStack() as stack:
            for kind in cluster:
                config = json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}})
                (tmp_path / kind).mkdir()
                processes.append(stack.enter_context(running(tmp_path / kind, TF_CONFIG=config)))
            assert [process.wait(300) for process in processes] == [0, 0]
        assert_same(outcome(tmp_path / "chief"), outcome(undisturbed))
        assert not list((tmp_path / "worker").iterdir())

    def test_one_that_hangs_is_named(self, tmp_path):
        with running(tmp_path, "--workers=2", "--steps=9999", "--stall-limit=5") as process:
            workers_of(process, tmp_path)[1].send_signal(signal.SIGSTOP)
            _, errors = process.communicate(timeout=60)
        assert "worker 1 gave no sign of life" in errors
        assert (process.returncode, "worker 0" in errors) == (1, False)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_none_is_left_without_the_launcher(self, tmp_path, number):
        with running(tmp_path, "--workers=2", "--steps=9999") as process:
            workers = workers_of(process, tmp_path)
            devices = [path.read_text() for path in Path("/proc").glob(f"{workers[1].pid}/net/dev")]
            process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGINT: 130}.get(number, -number)
        assert not psutil.wait_procs(workers, timeout=10)[1]
        assert "notice" in errors or devices[0].count(":") == 1  # lo alone
