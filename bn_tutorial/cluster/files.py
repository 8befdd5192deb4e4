"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_json(path: str | Path, value: Mapping[str, object]) -> None:
    """Write the whole file, or leave what was there."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(value) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
