"""pyformer trains and runs transformers on its own C++ core: `import pyformer as pf`."""

from pyformer import starting as _starting

if _starting.is_command():  # before anything else is imported: Ctrl-C may come at once
    _starting.listen()

import builtins as _builtins
from importlib import import_module as _import_module
from pathlib import Path as _Path
from pkgutil import extend_path as _extend_path
from typing import TYPE_CHECKING as _TYPE_CHECKING

# In a checkout the compiled core is not here but in the installed package.
__path__ = _extend_path(__path__, __name__)

from pyformer import _core, tensor_methods

tensor_methods.install()  # before anything else uses Tensor

from pyformer import cuda, ops
from pyformer._core import (
    DType,
    QuantizedWeight,
    Tensor,
    __version__,
    arange,
    asarray,
    device,
    empty_cache,
    from_dlpack,
    full,
    get_num_threads,
    manual_seed,
    ones,
    set_num_threads,
    tensor,
    zeros,
)

float32 = DType.float32
float64 = DType.float64
bfloat16 = DType.bfloat16
float16 = DType.float16
int64 = DType.int64
int32 = DType.int32
int8 = DType.int8
uint8 = DType.uint8
bool = DType.bool

# Operations by the names that torch and NumPy users look for here; all of them, and more, are in `pf.ops`.
from pyformer.ops import (
    abs,
    absolute,
    acos,
    acosh,
    add,
    addcdiv,
    addcmul,
    addmm,
    all,
    allclose,
    amax,
    amin,
    any,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    argmax,
    argmin,
    argsort,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bernoulli,
    bincount,
    bmm,
    broadcast_to,
    cat,
    cdist,
    ceil,
    chunk,
    clamp,
    clip,
    clone,
    concat,
    concatenate,
    copy,
    cos,
    cosh,
    count_nonzero,
    cumsum,
    diag,
    diagonal,
    div,
    divide,
    dot,
    dropout,
    einsum,
    embedding,
    empty,
    empty_like,
    eq,
    equal,
    erf,
    exp,
    expand,
    expand_dims,
    expm1,
    eye,
    flatten,
    flip,
    floor,
    floor_divide,
    full_like,
    gather,
    ge,
    get_default_dtype,
    greater,
    gt,
    hstack,
    index_select,
    isclose,
    isfinite,
    isinf,
    isnan,
    layer_norm,
    le,
    lerp,
    less,
    lgamma,
    linspace,
    log,
    log1p,
    log2,
    log10,
    log_softmax,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    logsumexp,
    lt,
    masked_fill,
    masked_select,
    matmul,
    max,
    maximum,
    mean,
    median,
    meshgrid,
    min,
    minimum,
    mm,
    moveaxis,
    movedim,
    mul,
    multinomial,
    multiply,
    mv,
    nan_to_num,
    ne,
    neg,
    negate,
    negative,
    nonzero,
    norm,
    normal,
    not_equal,
    ones_like,
    outer,
    pad,
    permute,
    pow,
    power,
    prod,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    ravel,
    reciprocal,
    relu,
    remainder,
    repeat_interleave,
    reshape,
    roll,
    round,
    rsqrt,
    scatter,
    scatter_add,
    set_default_dtype,
    sigmoid,
    sign,
    sin,
    sinh,
    softmax,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    sub,
    subtract,
    sum,
    swapaxes,
    t,
    tan,
    tanh,
    tile,
    topk,
    trace,
    transpose,
    tril,
    triu,
    true_divide,
    trunc,
    unbind,
    unflatten,
    unique,
    unsqueeze,
    var,
    view,
    vstack,
    where,
    zeros_like,
)

array = tensor
as_tensor = from_numpy = asarray
inf, nan, pi, e, newaxis = float("inf"), float("nan"), 3.141592653589793, 2.718281828459045, None
half, float, double, int, long = float16, float32, float64, int32, int64

# These use the names above.
from pyformer import autograd, pickling, random
from pyformer.autograd import (
    autocast,
    checkpoint,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from pyformer.limits import finfo, iinfo
from pyformer.products import bfloat16_products
from pyformer.random import Generator

__all__ = [
    "DType",
    "Generator",
    "QuantizedWeight",
    "SentenceEncoder",
    "Tensor",
    "TextClassifier",
    "__version__",
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "addcdiv",
    "addcmul",
    "addmm",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "arange",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "argmax",
    "argmin",
    "argsort",
    "array",
    "as_tensor",
    "asarray",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "autocast",
    "autograd",
    "bernoulli",
    "bfloat16",
    "bincount",
    "bmm",
    "bool",
    "broadcast_to",
    "cat",
    "cdist",
    "ceil",
    "chat",
    "checkpoint",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "cmake_dir",
    "concat",
    "concatenate",
    "copy",
    "cos",
    "cosh",
    "count_nonzero",
    "cuda",
    "cumsum",
    "device",
    "diag",
    "diagonal",
    "div",
    "divide",
    "dot",
    "double",
    "dropout",
    "e",
    "einsum",
    "embedding",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_grad",
    "eq",
    "equal",
    "erf",
    "exp",
    "expand",
    "expand_dims",
    "expm1",
    "eye",
    "finfo",
    "flatten",
    "flip",
    "float",
    "float16",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "from_dlpack",
    "from_numpy",
    "from_pretrained",
    "full",
    "full_like",
    "gather",
    "ge",
    "get_default_dtype",
    "get_num_threads",
    "greater",
    "gt",
    "half",
    "hstack",
    "iinfo",
    "index_select",
    "inf",
    "inference_mode",
    "int",
    "int8",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_tensor",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "layer_norm",
    "le",
    "lerp",
    "less",
    "lgamma",
    "linspace",
    "load",
    "load_tokenizer",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "long",
    "lt",
    "manual_seed",
    "masked_fill",
    "masked_select",
    "matmul",
    "max",
    "maximum",
    "mean",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "mm",
    "models",
    "moveaxis",
    "movedim",
    "mul",
    "multinomial",
    "multiply",
    "mv",
    "nan",
    "nan_to_num",
    "ne",
    "neg",
    "negate",
    "negative",
    "newaxis",
    "nn",
    "no_grad",
    "nonzero",
    "norm",
    "normal",
    "not_equal",
    "numel",
    "ones",
    "ones_like",
    "ops",
    "optim",
    "outer",
    "pad",
    "permute",
    "pi",
    "pow",
    "power",
    "prod",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "random",
    "randperm",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "repeat_interleave",
    "reshape",
    "roll",
    "round",
    "rsqrt",
    "save",
    "scatter",
    "scatter_add",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softmax",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "t",
    "tan",
    "tanh",
    "tensor",
    "tile",
    "topk",
    "trace",
    "transpose",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "uint8",
    "unbind",
    "unflatten",
    "unique",
    "unsqueeze",
    "var",
    "view",
    "vstack",
    "where",
    "zeros",
    "zeros_like",
]


if _TYPE_CHECKING:
    from pyformer import models, nn, optim
    from pyformer.conversation import chat
    from pyformer.models import from_pretrained
    from pyformer.saving import load, save
    from pyformer.sentences import SentenceEncoder
    from pyformer.text_classifier import TextClassifier
    from pyformer.tokenizers import load as load_tokenizer

_LAZY_NAMES = {
    "SentenceEncoder": ("sentences", "SentenceEncoder"),
    "TextClassifier": ("text_classifier", "TextClassifier"),
    "chat": ("conversation", "chat"),
    "from_pretrained": ("models", "from_pretrained"),
    "load": ("saving", "load"),
    "load_tokenizer": ("tokenizers", "load"),
    "save": ("saving", "save"),
}
_LAZY = ("amp", "data", "datasets", "generation", "lora", "models", "nn", "optim", "tokenizers", "training", "utils")
# Names of torch that have no place here, and what there is instead.
_ELSEWHERE = {
    "backends": "pf.show_config() says what this build uses; PYFORMER_CPU_ISA chooses among it",
    "compile": "operations run at once, and the layers use fused ones by themselves",
    "grad": "gradients are those of loss.backward() or pf.autograd.grad(loss, inputs)",
    "jit": "operations run at once, and the layers use fused ones by themselves",
    "linalg": "pf.norm is here; np.linalg takes x.numpy() for the rest, without gradients",
    "seed": "pf.manual_seed(n) sets the seed, pf.Generator().seed() draws one",
    "set_printoptions": "tensors are printed as NumPy's arrays, by np.set_printoptions",
    "use_deterministic_algorithms": "all of them are, always",
    "vmap": "operations take leading axes of batches by themselves",
}


def __getattr__(name: str) -> object:
    # `import pyformer` stays quick: these rooms are imported when they are first asked for.
    if name in _LAZY:
        return _import_module(f"{__name__}.{name}")
    if name in _LAZY_NAMES:
        room, inside = _LAZY_NAMES[name]
        return getattr(_import_module(f"{__name__}.{room}"), inside)
    from difflib import get_close_matches

    near = get_close_matches(name, __dir__(), 1)
    hint = f". Did you mean: {near[0]!r}?" if near and not name.startswith("_") else ""
    hint = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else hint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_LAZY})


def show_config() -> str:
    """What this build is and what it uses: version, instruction set, threads, devices; one line each.

    Example:
        >>> print(pf.show_config().split()[0])
        pyformer
    """
    lines = [
        f"pyformer {__version__}",
        f"instruction set: {_core.isa()} (this machine can: {', '.join(_core.supported_isas())})",
        f"bfloat16 products: {bfloat16_products()}",
        f"threads: {get_num_threads()}",
        f"devices: {_devices()}",
    ]
    return "\n".join(lines)


def _devices() -> str:
    """The devices that are known to be there, the default one named; or why PYFORMER_DEVICE names none."""
    names = ["cpu", *(f"cuda:{i}" for i in range(cuda.device_count()))]
    try:
        default = str(_core.default_device())
    except ValueError as error:
        return f"{', '.join(names)} ({error})"
    if default not in names:
        names.append(default)
    return ", ".join(names) + ("" if default == "cpu" else f" (PYFORMER_DEVICE: {default})")


def is_tensor(value: object) -> _builtins.bool:
    """Whether a value is a Tensor.

    Example:
        >>> pf.is_tensor(pf.zeros(1)), pf.is_tensor([0.0])
        (True, False)
    """
    return isinstance(value, Tensor)


def numel(x: Tensor) -> int:
    """The number of a tensor's elements.

    Raises:
        AttributeError: x is no Tensor.

    Example:
        >>> pf.numel(pf.zeros(2, 3))
        6
    """
    return x.numel()


def cmake_dir() -> str:
    """The folder where CMake's `find_package(pyformer)` finds the C++ library, for CMAKE_PREFIX_PATH or pyformer_DIR.

    Returns:
        The folder's path, a str.

    Raises:
        FileNotFoundError: the package was not installed by pip but put together by hand.

    Example:
        >>> try:
        ...     folder = pf.cmake_dir()
        ... except FileNotFoundError:
        ...     folder = None
    """
    folder = _Path(_core.__file__).parent / "lib" / "cmake" / "pyformer"
    if not folder.is_dir():
        raise FileNotFoundError(f"cmake_dir: expected the C++ library's CMake package in {folder}, got no such folder")
    return str(folder)
