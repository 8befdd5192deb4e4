"""A plug-in for pytest: the tests' asserts are recorded, and every seed in them is another one.

BN_TUTORIAL_SHIFT=1 BN_TUTORIAL_CLAIMS=records python -m pytest -p tools.margins.seeds tests/...
"""

from __future__ import annotations

import ast
import builtins
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np

from tools.margins.claims import RecordClaims, Slack

SHIFT = (
    "BN_TUTORIAL_SHIFT"  # the environment variable that names the shift of all seeds; 0 leaves them
)
TESTS = Path(__file__).parents[2] / "tests"


class RecordingLoader(SourceFileLoader):
    """Loads a file of tests with its asserts rewritten."""

    def source_to_code(self, data: bytes, path: str, **_: object) -> CodeType:  # type: ignore[override]
        """Parse, rewrite, compile."""
        return compile(RecordClaims().visit(ast.parse(data, path)), path, "exec", dont_inherit=True)

    def get_code(self, fullname: str) -> CodeType:
        """From the source; what is cached was compiled without the rewriting."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class RecordingFinder(MetaPathFinder):
    """Finds the files of tests, before pytest's own finder does."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec with our loader, or None for what is not a file of tests."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not spec.origin or not Path(spec.origin).name.startswith("test_"):
            return None
        if TESTS not in Path(spec.origin).parents:
            return None
        spec.loader = RecordingLoader(fullname, spec.origin)
        return spec


def pytest_configure() -> None:
    """Rewrite from here on, and shift the seeds."""
    builtins.__slack__ = Slack
    sys.meta_path.insert(0, RecordingFinder())
    if shift := int(os.environ.get(SHIFT, 0)):
        shift_seeds(shift)


def shift_seeds(shift: int) -> None:
    """NumPy's and Keras' seeds, from which all others come: `seed` stands for `[seed, shift]`."""
    import keras

    default_rng, set_random_seed = np.random.default_rng, keras.utils.set_random_seed

    def shifted_rng(seed: object = None) -> np.random.Generator:
        return default_rng([seed, shift] if isinstance(seed, int) else seed)

    np.random.default_rng = shifted_rng
    keras.utils.set_random_seed = lambda seed: set_random_seed(seed + 1000 * shift)
