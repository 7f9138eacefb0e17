"""`pf.ops` by the name of torch's module: `import pyformer.nn.functional as F`. The functions are those of `pf.ops`."""

from pyformer.ops import *  # noqa: F403
from pyformer.ops import __all__ as __all__
