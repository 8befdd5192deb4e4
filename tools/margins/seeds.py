"""A plug-in for pytest: the tests' asserts are recorded, and every seed in them is another one.

BN_TUTORIAL_SHIFT=1 BN_TUTORIAL_CLAIMS=records python -m pytest -p tools.margins.seeds tests/...
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

import numpy as np

from tools.margins.claims import RecordClaims, watch

SHIFT = "BN_TUTORIAL_SHIFT"  # the environment variable that says by how much; 0 changes nothing


class RecordingLoader(SourceFileLoader):
    """Finds files of tests, before pytest's own finder does, and rewrites their asserts."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec with this loader, or None for what is not a file of tests."""
        if not re.match(r"tests\.(\w+\.)?test_", name):
            return None
        spec = PathFinder.find_spec(name, path, target)
        spec.loader = cls(name, spec.origin)
        return spec

    def get_code(self, fullname: str) -> CodeType:
        """From the source, because what is cached was compiled without the rewriting."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        return compile(RecordClaims().visit(tree), path, "exec", dont_inherit=True)


def pytest_configure() -> None:
    """Rewrite from here on, and shift NumPy's and Keras' seeds, from which all others come.

    `seed` then stands for `[seed, shift]`.
    """
    import keras

    watch()
    sys.meta_path.insert(0, RecordingLoader)
    default_rng, set_random_seed = np.random.default_rng, keras.utils.set_random_seed
    shift = int(os.environ.get(SHIFT, 0))

    def shifted_rng(seed: object = None) -> np.random.Generator:
        return default_rng([seed, shift] if shift and isinstance(seed, int) else seed)

    np.random.default_rng = shifted_rng
    keras.utils.set_random_seed = lambda seed: set_random_seed(seed + 1000 * shift)
