"""torch's place of `pf.autocast`."""

from pyformer.autograd import autocast

__all__ = ["autocast"]
