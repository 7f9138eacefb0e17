"""The comparative benchmark: `python -m bench` beside PyTorch and `transformers`, on one machine in one run."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Without a built extension in it, the checkout's pyformer/ would hide the installed package.
if not any((ROOT / "pyformer").glob("_core*.*")):
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
# The case table is shared with the tests.
sys.path.append(str(ROOT / "tests"))
