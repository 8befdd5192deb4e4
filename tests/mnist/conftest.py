import pytest

from bn_tutorial.mnist import files, mirrors
from tests.mnist.faulty_mirror import FaultyMirrors
from tests.mnist.small_mnist import CONTENTS, PUBLISHED


@pytest.fixture(scope="module")
def server():
    server = FaultyMirrors(CONTENTS)
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def _small_mnist(monkeypatch, server, tmp_path):
    """The small MNIST instead of the real one, one good mirror, and short patience."""
    server.requests.clear()
    monkeypatch.setattr(files, "FILES", PUBLISHED)
    monkeypatch.setattr(files, "default_dir", lambda: tmp_path / "default")
    monkeypatch.setattr(mirrors, "MIRRORS", (server.url("good"),))
    monkeypatch.setattr(mirrors, "TIMEOUT", (0.5, 0.5))
    monkeypatch.delenv(files.ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(mirrors, "MIRRORS", ("http://127.0.0.1:1/",))
