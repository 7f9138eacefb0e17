"""Runs every Python block of the README, in order, in one namespace, as a reader who pastes them would."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def main() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks, "the README has no Python block"
    namespace = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, block in enumerate(blocks, 1):
            exec(compile(block, f"README block {number}", "exec"), namespace)
    print(f"{len(blocks)} README blocks ran")


if __name__ == "__main__":
    main()
