import gzip
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bn_tutorial import mirrors, mnist_files
from bn_tutorial.idx import MnistError
from bn_tutorial.mnist_files import FILES, WORKPLACE, mnist_arrays
from tests.faulty_mirror import FaultyMirrors, idx_bytes, small_mnist

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
ROOT = Path(__file__).parents[1]
CONTENTS, PUBLISHED, ARRAYS = small_mnist()


@pytest.fixture(scope="module")
def server():
    server = FaultyMirrors(CONTENTS)
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(autouse=True)
def _small_mnist(monkeypatch, server, tmp_path):
    """The small MNIST instead of the real one, one good mirror, and short patience."""
    server.requests.clear()
    monkeypatch.setattr(mnist_files, "FILES", PUBLISHED)
    monkeypatch.setattr(mnist_files, "default_dir", lambda: tmp_path / "default")
    monkeypatch.setattr(mirrors, "MIRRORS", (server.url("good"),))
    monkeypatch.setattr(mirrors, "TIMEOUT", (0.5, 0.5))
    monkeypatch.delenv(mnist_files.ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/",))


def place(folder, names=tuple(CONTENTS)):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(CONTENTS[name])
    return folder


def assert_small_mnist(arrays):
    for array, right in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, right)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".download.lock")


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
        monkeypatch.setenv(mnist_files.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere"))
        assert_small_mnist(mnist_arrays(place(tmp_path / "mine")))
        assert server.requests == []

    def test_environment_variable(self, tmp_path, monkeypatch, server):
        monkeypatch.setenv(mnist_files.ENVIRONMENT_VARIABLE, str(place(tmp_path / "mine")))
        assert_small_mnist(mnist_arrays())
        assert server.requests == []

    def test_environment_variable_that_names_no_folder(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv(mnist_files.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere"))
        assert_small_mnist(mnist_arrays())
        assert (
            "nowhere: BN_TUTORIAL_DATA names it, but it is not a folder" in capsys.readouterr().err
        )

    def test_downloads_not_into_the_environments_folder(self, tmp_path, monkeypatch):
        (tmp_path / "named").mkdir()
        monkeypatch.setenv(mnist_files.ENVIRONMENT_VARIABLE, str(tmp_path / "named"))
        for nothing in (None, ""):
            assert_small_mnist(mnist_arrays(nothing))
        assert visible(tmp_path / "named") == []
        assert visible(tmp_path / "default") == sorted(CONTENTS)

    def test_only_what_is_missing_is_downloaded(self, tmp_path, server):
        place(tmp_path / "mine", [f"{IMAGES}.gz", f"{LABELS}.gz"])
        assert_small_mnist(mnist_arrays(tmp_path / "mine"))
        assert [name for _, name in server.requests] == list(CONTENTS)[2:]

    def test_default_dir_is_the_repositorys(self, monkeypatch):
        monkeypatch.undo()
        assert mnist_files.default_dir() == ROOT / "data"


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


FAULTS = {
    "403": "answers 403",
    "404": "answers 404",
    "500": "answers 500",
    "html": "sends another file",
    "wrong": "sends another file",
    "empty": "sends another file",
    "midway": "closes midway",
    "silent": "sends nothing for 0.5 s",
    "stalling": "sends nothing for 0.5 s",
    "trickle": "slower than 10,000 bytes a second",
    "headers": "sends nothing of use for 1 s",
    "trailers": "sends nothing of use for 1 s",
    "chunk_size": "sends nothing of use for 1 s",
    "redirect": "answers 302",
    "broken_redirect": "answers 302",
}


class TestMirrors:
    @pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
    def test_a_faulty_mirror_is_passed_over_with_one_line(
        self, fault, reason, server, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url(fault), server.url("good")))
        assert_small_mnist(mnist_arrays(tmp_path))
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line == f"MNIST: passed over {server.url(fault)}: {line.split(': ')[-1]}"
        assert reason in line
        assert visible(tmp_path) == sorted(CONTENTS)
        assert sum(asked == fault for asked, _ in server.requests) == 1  # then it comes last

    def test_mirrors_that_have_half_each(self, server, tmp_path, monkeypatch):
        """One that has failed is asked again when the other fails too."""
        halves = (server.url("only_labels"), server.url("only_images"))
        monkeypatch.setattr(mirrors, "MIRRORS", halves)
        assert_small_mnist(mnist_arrays(tmp_path))

    def test_it_asks_for_the_file_as_it_is(self, server, tmp_path):
        mnist_arrays(tmp_path)
        assert server.headers["Accept-Encoding"] == "identity"

    @pytest.mark.skipif(sys.platform == "win32", reason="modes are Unix's")
    def test_files_are_for_all_to_read_that_the_umask_lets(self, tmp_path):
        before = os.umask(0o027)
        try:
            mnist_arrays(tmp_path)
        finally:
            os.umask(before)
        for name in CONTENTS:
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o640

    def test_what_hangs_does_not_keep_the_process(self, server, tmp_path):
        """The server would go on for a second and a half."""
        process = start_download(tmp_path, server.url("headers"), timeout=0.1)
        begin = time.monotonic()
        _, error = process.communicate()
        assert "sends nothing of use for 0.2 s" in error
        assert time.monotonic() - begin < 30

    def test_a_proxy_that_is_down(self, server, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(MnistError, match="the proxy cannot be reached"):
            mnist_arrays(tmp_path)

    def test_no_certificates(self, server, tmp_path, monkeypatch, capsys):
        """An error of requests that is none of its own kind."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
        monkeypatch.setattr(mirrors, "MIRRORS", ("https://127.0.0.1:1/", server.url("good")))
        assert_small_mnist(mnist_arrays(tmp_path))
        assert "127.0.0.1:1/: Could not find a suitable TLS CA" in capsys.readouterr().err

    def test_a_mirror_that_is_down(self, server, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/", server.url("good")))
        assert_small_mnist(mnist_arrays(tmp_path))
        assert "127.0.0.1:1/: the connection is refused" in capsys.readouterr().err

    def test_a_name_that_cannot_be_resolved(self, server, tmp_path, monkeypatch, capsys):
        address = "http://mirror.invalid/"
        monkeypatch.setattr(mirrors, "MIRRORS", (address, server.url("good")))
        assert_small_mnist(mnist_arrays(tmp_path))
        assert f"{address}: its name cannot be resolved" in capsys.readouterr().err

    @pytest.mark.parametrize("manner", ["chunked", "encoded"])
    def test_a_mirror_with_manners_of_its_own(self, manner, server, tmp_path, monkeypatch, capsys):
        """Each byte is counted once: the largest file is just within the bound."""
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url(manner),))
        monkeypatch.setattr(mirrors, "MAXIMUM_BYTES", max(map(len, CONTENTS.values())))
        assert_small_mnist(mnist_arrays(tmp_path))
        assert capsys.readouterr().err == ""

    def test_a_good_start_does_not_count_for_ever(self, server, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url("burst"), server.url("good")))
        assert_small_mnist(mnist_arrays(tmp_path))
        assert "slower than 10,000 bytes a second" in capsys.readouterr().err

    def test_a_mirror_that_is_slow_but_steady(self, server, tmp_path, monkeypatch, capsys):
        """It may take longer than the time-out in all, as long as something comes."""
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url("slow"),))
        monkeypatch.setattr(mirrors, "TIMEOUT", (0.5, 0.05))
        monkeypatch.setattr(mirrors, "MINIMUM_SPEED", 1)
        assert_small_mnist(mnist_arrays(tmp_path))
        assert capsys.readouterr().err == ""

    def test_a_mirror_without_end(self, server, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url("endless"), server.url("good")))
        monkeypatch.setattr(mirrors, "MAXIMUM_BYTES", 10**6)
        assert_small_mnist(mnist_arrays(tmp_path))
        assert "sends more than 1,000,000 bytes" in capsys.readouterr().err

    def test_all_fail(self, server, tmp_path, monkeypatch):
        some = ("403", "html", "midway", "silent", "headers")
        addresses = [server.url(fault) for fault in some]
        monkeypatch.setattr(mirrors, "MIRRORS", addresses)
        with pytest.raises(MnistError) as caught:
            mnist_arrays(tmp_path)
        message = str(caught.value)
        for fault in some:
            assert f"{server.url(fault)}: " in message
            assert FAULTS[fault] in message
        assert "To place MNIST by hand, put its four .gz files" in message
        assert "BN_TUTORIAL_DATA" in message
        assert visible(tmp_path) == []
        assert len(server.requests) == len(some)  # the other three files are not tried in vain


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

        monkeypatch.setattr(mnist_files.filelock.FileLock, "acquire", refuse)
        with pytest.raises(MnistError, match="expected a folder to download to, found:.*ermission"):
            mnist_arrays(tmp_path)

    def test_that_may_not_be_searched(self, tmp_path, monkeypatch):
        """It is named, and the next one is tried."""

        def refuse(path):
            raise MnistError(f"{path}: denied") from PermissionError(13, "Permission denied")

        monkeypatch.setattr(mnist_files, "read_idx", refuse)
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
        assert_small_mnist(mnist_arrays("./~/mine"))
        assert visible(tmp_path / "~" / "mine") == sorted(CONTENTS)
        assert not (tmp_path / "home").exists()

    def test_of_a_user_that_is_not_there(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert_small_mnist(mnist_arrays("~nosuchuser/mnist"))
        assert visible(tmp_path / "~nosuchuser" / "mnist") == sorted(CONTENTS)

    def test_in_the_home_folder(self, tmp_path, monkeypatch, offline):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        place(tmp_path / "mine")
        assert_small_mnist(mnist_arrays("~/mine"))

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of Unix")
    def test_that_is_full(self, tmp_path, server):
        code = (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
            "import runpy; runpy.run_module('tests.download_process')"
        )
        process = run_python("-c", code, tmp_path, 20, server.url("good"))
        _, error = process.communicate()
        assert "MnistError: " in error
        assert f"{tmp_path}: expected a folder to download to, found: [Errno 27]" in error
        assert visible(tmp_path) == []


def run_python(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_download(folder, address, timeout=20):
    return run_python("-m", "tests.download_process", folder, timeout, address)


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
