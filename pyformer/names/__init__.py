"""Names that users of torch and NumPy know: aliases and compositions of the compiled operations, without kernels.

Each function stands in `pf`, in `pf.ops` and, where its first argument is a tensor, as a method of Tensor. `dim` and
`keepdim` are taken for `axis` and `keepdims`. docs/from-torch.md has the table, and what is different here. A name
stands once, in the `__all__` of its module.
"""

from pyformer.names import (
    arithmetic,
    choosing,
    drawing,
    losses,
    making,
    margins,
    products,
    reductions,
    resizing,
    shapes,
    special,
    trigonometry,
)
from pyformer.names.arguments import explain_arguments

_TENSOR_FIRST = (arithmetic, choosing, products, reductions, shapes, special, trigonometry)
for _module in (*_TENSOR_FIRST, drawing, losses, making, margins, resizing):
    explain_arguments(_module)

from pyformer.names.arithmetic import *  # noqa: E402, F403
from pyformer.names.choosing import *  # noqa: E402, F403
from pyformer.names.drawing import *  # noqa: E402, F403
from pyformer.names.losses import *  # noqa: E402, F403
from pyformer.names.making import *  # noqa: E402, F403
from pyformer.names.margins import *  # noqa: E402, F403
from pyformer.names.products import *  # noqa: E402, F403
from pyformer.names.reductions import *  # noqa: E402, F403
from pyformer.names.resizing import *  # noqa: E402, F403
from pyformer.names.shapes import *  # noqa: E402, F403
from pyformer.names.special import *  # noqa: E402, F403
from pyformer.names.trigonometry import *  # noqa: E402, F403

_of_tensors: list[str] = []
for _module in _TENSOR_FIRST:
    _of_tensors += _module.__all__

__all__ = [*_of_tensors, *drawing.__all__, *losses.__all__, *margins.__all__, *making.__all__, *resizing.__all__]

# The methods of Tensor: what takes a tensor first, but for what torch and NumPy have as functions only.
_FUNCTIONS_ONLY = {
    *("bincount", "cat", "cdist", "concatenate", "cosine_similarity", "einsum", "hstack", "meshgrid", "mod", "one_hot"),
    "vstack",
    "where",
}
METHODS = sorted({*_of_tensors, "bernoulli", "multinomial"} - _FUNCTIONS_ONLY)
