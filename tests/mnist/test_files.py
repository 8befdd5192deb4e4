import gzip
import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bn_tutorial.mnist import MnistError, files, mirrors
from bn_tutorial.mnist.files import FILES, WORKPLACE, expand, mnist_arrays
from tests.mnist.faulty_mirror import idx_bytes
from tests.mnist.small_mnist import (
    ARRAYS,
    CONTENTS,
    PUBLISHED,
    ROOT,
    assert_small_mnist,
    run_python,
    start_download,
    visible,
)

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

pytestmark = pytest.mark.usefixtures("_small_mnist")


def place(folder, names=tuple(CONTENTS)):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(CONTENTS[name])
    return folder


class TestWhereItLooks:
    def test_downloads_what_is_nowhere(self, server, tmp_path):
        assert_small_mnist(mnist_arrays())
        assert visible(tmp_path / "default") == sorted(CONTENTS)
        assert len(server.requests) == 4
        assert_small_mnist(mnist_arrays())
        assert len(server.requests) == 4  # the second time all is there

    def test_downloads_into_data_dir_if_there_is_one(self, tmp_path):
        assert_small_mnist(mnist_arrays(tmp_path / "mine"))
        assert visible(tmp_path / "mine") == sorted(CONTENTS)
        assert not (tmp_path / "default").exists()

    def test_data_dir_comes_first(self, tmp_path, monkeypatch, server):
        monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere"))
        assert_small_mnist(mnist_arrays(place(tmp_path / "mine")))
        assert server.requests == []

    def test_environment_variable(self, tmp_path, monkeypatch, server):
        monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(place(tmp_path / "mine")))
        assert_small_mnist(mnist_arrays())
        assert server.requests == []

    def test_environment_variable_that_names_no_folder(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere"))
        assert_small_mnist(mnist_arrays())
        assert (
            "nowhere: BN_TUTORIAL_DATA names it, but it is not a folder" in capsys.readouterr().err
        )

    def test_downloads_not_into_the_environments_folder(self, tmp_path, monkeypatch):
        (tmp_path / "named").mkdir()
        monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path / "named"))
        assert_small_mnist(mnist_arrays())
        assert visible(tmp_path / "named") == []
        assert visible(tmp_path / "default") == sorted(CONTENTS)

    def test_only_what_is_missing_is_downloaded(self, tmp_path, server):
        place(tmp_path / "mine", [f"{IMAGES}.gz", f"{LABELS}.gz"])
        assert_small_mnist(mnist_arrays(tmp_path / "mine"))
        assert [name for _, name in server.requests] == list(CONTENTS)[2:]

    def test_default_dir_is_the_repositorys(self, monkeypatch):
        monkeypatch.undo()
        assert files.default_dir() == ROOT / "data"


class TestPlacedByHand:
    def test_unpacked(self, tmp_path, offline):
        for name, content in CONTENTS.items():
            (tmp_path / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
        assert_small_mnist(mnist_arrays(tmp_path))

    def test_unpacked_by_a_browser_that_kept_the_name(self, tmp_path, offline):
        for name, content in CONTENTS.items():
            (tmp_path / name).write_bytes(gzip.decompress(content))
        assert_small_mnist(mnist_arrays(tmp_path))

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_keras_npz(self, tmp_path, offline, save):
        names = [published.npz_name for published in PUBLISHED.values()]
        save(tmp_path / "mnist.npz", **dict(zip(names, ARRAYS, strict=True)))
        assert_small_mnist(mnist_arrays(tmp_path))

    def test_npz_is_never_unpickled(self, tmp_path, offline):
        class Trap:
            def __reduce__(self):
                return Path.touch, (tmp_path / "sprung",)

        trap = np.array([Trap()], dtype=object)
        np.savez(tmp_path / "mnist.npz", x_train=trap)
        with pytest.raises(MnistError, match=r"mnist\.npz: .*allow_pickle=False"):
            mnist_arrays(tmp_path)
        assert not (tmp_path / "sprung").exists()

    def test_npz_of_something_else(self, tmp_path, offline):
        np.savez(tmp_path / "mnist.npz", x_train=ARRAYS[0] + np.uint8(1))
        with pytest.raises(MnistError, match="found uint8 .*expected an archive with y_train"):
            mnist_arrays(tmp_path)


def rot(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


class TestCachedFiles:
    @pytest.mark.parametrize("position", [0, 5, 12, 400, -6, -1])
    def test_a_rotten_file_is_fetched_again(self, position, tmp_path, server, capsys):
        path = place(tmp_path) / f"{IMAGES}.gz"
        rot(path, position)
        assert_small_mnist(mnist_arrays(tmp_path))
        if position != 5:  # a date in gzip's header: the values are right all the same
            assert path.read_bytes() == CONTENTS[f"{IMAGES}.gz"]
            assert server.requests == [("good", f"{IMAGES}.gz")]
            assert f"passed over {path}" in capsys.readouterr().err

    def test_a_rotten_file_is_named_where_it_cannot_be_fetched(self, tmp_path, offline):
        path = place(tmp_path) / f"{IMAGES}.gz"
        rot(path, 400)
        with pytest.raises(MnistError) as caught:
            mnist_arrays(tmp_path)
        assert str(caught.value).startswith(str(path))
        assert "To place MNIST by hand" in str(caught.value)
        assert path.exists()  # what is there is not thrown away

    @pytest.mark.parametrize("position", [2, 7, 8, 20])
    def test_an_unpacked_file_that_rots(self, position, tmp_path, server):
        """Its type code, a dimension, a value: no gzip is there to notice."""
        for name, content in CONTENTS.items():
            (tmp_path / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
        content = bytearray((tmp_path / LABELS).read_bytes())
        content[position] ^= 1
        (tmp_path / LABELS).write_bytes(content)
        assert_small_mnist(mnist_arrays(tmp_path))
        assert server.requests == [("good", f"{LABELS}.gz")]

    def test_the_right_values_in_another_shape(self, tmp_path, server):
        place(tmp_path)
        (tmp_path / f"{IMAGES}.gz").write_bytes(idx_bytes(ARRAYS[0].reshape(28, -1, 28)))
        assert_small_mnist(mnist_arrays(tmp_path))
        assert len(server.requests) == 1

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are Unix's")
    @pytest.mark.parametrize("name", [f"{IMAGES}.gz", IMAGES, "mnist.npz"])
    def test_a_fifo_is_refused_not_read(self, name, tmp_path, monkeypatch, capsys):
        """To read one is to wait for whoever writes to it."""
        os.mkfifo(tmp_path / name)
        monkeypatch.setenv(files.ENVIRONMENT_VARIABLE, str(tmp_path))
        assert_small_mnist(mnist_arrays())
        error = capsys.readouterr().err
        assert f"passed over {tmp_path / name}: expected a" in error
        assert "found: not a regular file" in error

    def test_a_closed_stderr_is_not_blamed_on_the_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/",))
        with io.TextIOWrapper(io.BytesIO()) as closed:
            pass
        monkeypatch.setattr(sys, "stderr", closed)
        with pytest.raises(MnistError, match=r"expected an open standard error .*passed over http"):
            mnist_arrays(tmp_path)


class TestFolders:
    def test_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        folder = tmp_path / "file" / "data"
        with pytest.raises(MnistError, match="file.data: expected a folder to download to, found:"):
            mnist_arrays(folder)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_that_is_read_only(self, tmp_path):
        tmp_path.chmod(0o500)
        with pytest.raises(MnistError, match="expected a folder to download to, found:.*ermission"):
            mnist_arrays(tmp_path)

    def test_that_is_read_only_as_the_lock_finds_it(self, tmp_path, monkeypatch):
        """The same for root, who may write everywhere."""

        def refuse(*arguments, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(files.filelock.FileLock, "acquire", refuse)
        with pytest.raises(MnistError, match="expected a folder to download to, found:.*ermission"):
            mnist_arrays(tmp_path)

    def test_that_may_not_be_searched(self, tmp_path, monkeypatch):
        """It is named, and the next one is tried."""

        def refuse(path):
            raise MnistError(f"{path}: denied") from PermissionError(13, "Permission denied")

        monkeypatch.setattr(files, "read_idx", refuse)
        monkeypatch.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/",))
        with pytest.raises(MnistError, match=rf"{tmp_path}/{IMAGES}.gz: denied.*refused"):
            mnist_arrays(tmp_path)

    @pytest.mark.parametrize("name", ["x" * 5000, "nul\0"])
    def test_that_cannot_exist(self, name, tmp_path):
        with pytest.raises(MnistError, match="expected a folder to download to, found:"):
            mnist_arrays(tmp_path / name)

    def test_with_a_tilde_that_is_no_home(self, tmp_path, monkeypatch):
        """Nothing down the line may take it for one."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert_small_mnist(mnist_arrays(expand("./~/mine")))
        assert visible(tmp_path / "~" / "mine") == sorted(CONTENTS)
        assert not (tmp_path / "home").exists()

    def test_of_a_user_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert_small_mnist(mnist_arrays(expand("~nosuchuser/mnist")))
        assert visible(tmp_path / "~nosuchuser" / "mnist") == sorted(CONTENTS)

    def test_in_the_home_folder(self, tmp_path, monkeypatch, offline):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        place(tmp_path / "mine")
        assert_small_mnist(mnist_arrays(expand("~/mine")))

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of Unix")
    def test_that_is_full(self, tmp_path, server):
        code = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
            "import runpy; runpy.run_module('tests.mnist.download_process')"
        )
        process = run_python("-c", code, tmp_path, 20, server.url("good"))
        _, error = process.communicate()
        assert "MnistError: " in error
        assert f"{tmp_path}: expected a folder to download to, found: [Errno 27]" in error
        assert visible(tmp_path) == []


class TestProcesses:
    def test_eight_at_once_end_with_one_copy_and_no_error(self, tmp_path, server):
        processes = [start_download(tmp_path, server.url("slow")) for _ in range(8)]
        for process in processes:
            output, error = process.communicate()
            assert output == "ready\nloaded\n", error
        assert visible(tmp_path) == sorted(CONTENTS)
        for name, content in CONTENTS.items():
            assert (tmp_path / name).read_bytes() == content
        assert len(server.requests) == 4  # one process has downloaded for all

    @pytest.mark.slow
    def test_killed_at_any_moment_the_next_run_starts_clean(self, tmp_path, server, generator):
        """Killed twenty times while it downloads, at random moments, then loaded here."""
        interrupted = 0
        for number in range(20):
            folder = tmp_path / str(number)
            process = start_download(folder, server.url("slow"))
            assert process.stdout.readline() == "ready\n"
            try:
                process.wait(timeout=generator.uniform(0, 0.5))
            except subprocess.TimeoutExpired:
                process.kill()
                interrupted += 1
            process.communicate()
            assert_small_mnist(mnist_arrays(folder))
            assert visible(folder) in (sorted(CONTENTS), [WORKPLACE, *sorted(CONTENTS)])
        assert interrupted >= 5  # else the test has shown nothing


class TestCost:
    def test_memory_of_the_real_files(self, real_mnist, monkeypatch):
        """The peak stays under 2.2 times the arrays."""
        monkeypatch.undo()
        tracemalloc.start()
        try:
            arrays = mnist_arrays()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [array.shape for array in arrays] == [file.shape for file in FILES.values()]
        assert peak < 2.2 * sum(array.nbytes for array in arrays)
