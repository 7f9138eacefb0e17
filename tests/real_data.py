"""Real data for tests: skips, with the reason, where it can't be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyformer import datasets


def load(fetch: Callable[[], Any]) -> Any:
    """What a function of `pyformer.datasets` gives."""
    try:
        return fetch()
    except datasets.DataUnavailable as error:
        pytest.skip(str(error))
