"""Prints the run-time dependencies that pyproject.toml declares, one on a line.

The image installs them in a layer of their own, before the code is copied.
"""

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"

if __name__ == "__main__":
    print("\n".join(tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]))
