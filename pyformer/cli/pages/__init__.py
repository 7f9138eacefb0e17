"""Pages that need nothing else: templates, and the style and scripts that go into them."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent


def filled(template: str, data: Any) -> str:
    """The page of a template: each `include FILE` line becomes that file, and DATA the data as JSON."""
    text = (FOLDER / template).read_text(encoding="utf-8")
    text = re.sub(r"^include (\S+)$", lambda match: (FOLDER / match[1]).read_text(encoding="utf-8"), text, flags=re.M)
    # No word of the data may end the script element that carries it.
    return text.replace("DATA", json.dumps(data).replace("<", "\\u003c"), 1)


def packed(array: np.ndarray) -> str:
    """An array's bytes, little-endian, as base64."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")
