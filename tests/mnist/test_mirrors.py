import logging
import os
import signal
import ssl
import sys
import time

import pooch
import pytest
import trustme

from bn_tutorial.mnist import MnistError, mirrors
from bn_tutorial.mnist.files import mnist_arrays
from tests.mnist.faulty_mirror import FaultyMirrors
from tests.mnist.small_mnist import CONTENTS, assert_small_mnist, start_download, visible

pytestmark = pytest.mark.usefixtures("_small_mnist")

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
        """The server would go on for a second and a half; 30 is what a slow machine may take."""
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

    def test_certificates(self, tmp_path, monkeypatch, capsys):
        """One that nobody vouches for is refused; requests' variable names who does."""
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server = FaultyMirrors(CONTENTS, context)
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url("good"),))
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        with pytest.raises(MnistError, match="no secure connection"):
            mnist_arrays(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        with pytest.raises(MnistError, match="Could not find a suitable TLS CA.*authority.pem"):
            mnist_arrays(tmp_path)
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        assert_small_mnist(mnist_arrays(tmp_path))

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
        monkeypatch.setattr(mirrors, "MIRRORS", (server.url("steady"),))
        monkeypatch.setattr(mirrors, "TIMEOUT", (0.5, 0.4))
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

    def test_a_proxy_from_the_environment_is_used(self, server, tmp_path, monkeypatch):
        """The address exists only for the proxy, which is the good mirror."""
        monkeypatch.setenv("http_proxy", server.url("good"))
        monkeypatch.setattr(mirrors, "MIRRORS", ("http://mirror.invalid/good/",))
        assert_small_mnist(mnist_arrays(tmp_path))

    def test_an_address_that_needs_no_proxy(self, tmp_path, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert_small_mnist(mnist_arrays(tmp_path))

    @pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")
    def test_ctrl_c_ends_a_download_at_once(self, server, tmp_path):
        process = start_download(tmp_path, server.url("silent"))
        assert process.stdout.readline() == "ready\n"
        while not server.requests:
            time.sleep(0.01)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
        assert error.strip().endswith("KeyboardInterrupt")
        assert time.monotonic() - begin < 20  # without the signal it waits for 40
        assert visible(tmp_path) == []

    def test_poochs_logger_is_put_back(self, tmp_path, monkeypatch):
        logger = pooch.get_logger()
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        mnist_arrays(tmp_path)
        assert logger.level == logging.DEBUG
