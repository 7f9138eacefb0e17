"""Builds and opens the device "second" of second_device.cpp, against the headers and library that are installed."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import pyformer as pf

SOURCE = Path(__file__).with_name("second_device.cpp")


def _installed() -> tuple[Path, Path]:
    """Where the headers and the library are: in the package, or in the checkout of an editable install."""
    package = Path(pf.__file__).parent
    if (package / "include").is_dir():
        return package / "include", package / "lib" / "libpyformer.so"
    libraries = [p for p in (package / "libpyformer.so", package / "lib/libpyformer.so") if p.exists()]
    return SOURCE.parents[2] / "csrc", libraries[0]


@cache
def library() -> ctypes.CDLL:
    """Opens the device; its own functions count memory."""
    include, lib = _installed()
    folder = Path(tempfile.mkdtemp(prefix="second_device"))
    target = folder / "libpyformer_second.so"
    compiler = os.environ.get("CXX") or sysconfig.get_config_var("CXX").split()[0]
    subprocess.run(
        [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", f"-I{include}", SOURCE, lib, "-o", target], check=True
    )
    os.environ["PYFORMER_DEVICE_PATH"] = str(folder)
    assert pf.device("second").index == 0
    os.environ.pop("PYFORMER_DEVICE_PATH")
    return ctypes.CDLL(str(target))


def live_bytes() -> int:
    """What tensors hold on the device."""
    count = library().second_device_live_bytes
    count.restype = ctypes.c_int64
    return count()
