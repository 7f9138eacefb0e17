"""torch's place of `pf.data`: `pf.utils.data.DataLoader`."""

from pyformer import data

__all__ = ["data"]
