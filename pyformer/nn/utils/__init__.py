"""torch's place of gradient clipping, which is `pf.optim`'s here."""

from pyformer.optim.clipping import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
