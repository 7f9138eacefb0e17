"""pyformer trains and runs transformers on its own C++ core: `import pyformer as pf`."""

from pyformer import starting as _starting

if _starting.is_command():  # before anything else is imported: Ctrl-C may come at once
    _starting.listen()

from importlib import import_module
from pathlib import Path as _Path
from pkgutil import extend_path

# In a checkout the compiled core is not here but in the installed package.
__path__ = extend_path(__path__, __name__)

from pyformer import _core, cuda, ops
from pyformer._core import (
    DType,
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
    rand,
    randn,
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

# These use the names above.
from pyformer import autograd, models, nn, optim, pickling
from pyformer.autograd import autocast, checkpoint, enable_grad, no_grad
from pyformer.models import from_pretrained
from pyformer.products import bfloat16_products

__all__ = [
    "DType",
    "Tensor",
    "__version__",
    "arange",
    "asarray",
    "autocast",
    "autograd",
    "bfloat16",
    "bool",
    "checkpoint",
    "cmake_dir",
    "cuda",
    "device",
    "empty_cache",
    "enable_grad",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_pretrained",
    "full",
    "get_num_threads",
    "int8",
    "int32",
    "int64",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "ones",
    "ops",
    "optim",
    "pickling",
    "rand",
    "randn",
    "set_num_threads",
    "show_config",
    "tensor",
    "uint8",
    "zeros",
]


def __getattr__(name: str) -> object:
    # `import pyformer` stays quick: these rooms are imported when they are first asked for.
    if name in ("datasets", "training"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
