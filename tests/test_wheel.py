"""The wheel: what is in it, and that it installs into an empty environment and imports."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built in a copy: setuptools would pick up what an earlier build has left in build/."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "bn_tutorial", source / "bn_tutorial")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    command = [*build, "--outdir", folder, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (path,) = folder.glob("bn_tutorial-*.whl")
    return path


def test_it_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    files = [path for path in ROOT.glob("bn_tutorial/**/*") if path.is_file()]
    package = {str(p.relative_to(ROOT)) for p in files if p.parent.name != "__pycache__"}
    assert package == {n for n in names if ".dist-info/" not in n}


def test_it_installs_into_an_empty_environment_and_imports(wheel, tmp_path):
    """The loader with what it needs; NumPy and the like come from here, not from the network."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    python = next(path for path in tmp_path.glob("*/python*") if path.is_file())
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True
    )
    code = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "import bn_tutorial; from bn_tutorial import mnist\n"
        "print(len(mnist.load_mnist(source='digits').train), 'tensorflow' in sys.modules)\n"
        "from bn_tutorial import batch_norm, figures, networks, prediction, training\n"
        "print(bn_tutorial.__file__, bn_tutorial.__version__)"
    )
    import numpy as np

    packages = Path(np.__file__).parents[1]
    output = subprocess.run(
        [python, "-I", "-c", code, packages], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert output[0] == "1317 False"
    file, version = output[1].split()
    assert Path(file).is_relative_to(tmp_path)
    assert version in wheel.name
