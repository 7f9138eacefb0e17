"""The emulator of CUDA: its C++ tests, plain and under sanitizers, and the arithmetic of its tensor cores.

Needs cmake and ninja: `pytest tests/cuda_emulator.py`, a part of the gate and none of `pytest`.
"""

from __future__ import annotations

import math
import os
import subprocess
from fractions import Fraction
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("PYFORMER_SOURCES", Path(__file__).parent.parent))  # the former from tests/mutants.py


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """built(target, sanitizer): the path of a program, built once."""
    folder = tmp_path_factory.mktemp("emulator")

    @cache
    def build(target: str, sanitizer: str = "") -> Path:
        tree = folder / (sanitizer or "plain").replace(",", "_")
        flags = ["-DPYFORMER_PYTHON=OFF", "-DPYFORMER_CUDA_EMULATED=ON", "-DPYFORMER_WERROR=ON"]
        level = ["-DCMAKE_BUILD_TYPE=Test", "-DCMAKE_CXX_FLAGS=-O1", f"-DPYFORMER_SANITIZE={sanitizer}"]
        subprocess.run(["cmake", "-S", ROOT, "-B", tree, "-G", "Ninja", *flags, *level], check=True)
        subprocess.run(["cmake", "--build", tree, "--target", target], check=True)
        return tree / "csrc/pyformer/cuda" / target

    return build


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, capture_output=True, env=os.environ | environment)


def test_kernels_in_every_schedule_and_planted_faults(built):
    result = run(built("pyformer_emulated_tests"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_is_out_of_bounds_or_undefined(built):
    program = built("pyformer_emulated_races", "address,undefined")
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    right = run(program, "right", **options)
    assert right.returncode == 0, right.stdout + right.stderr
    beyond = run(program, "beyond", **options)
    assert "heap-buffer-overflow" in beyond.stderr, beyond.stderr
    assert "layer_norm_kernel.h" in beyond.stderr, beyond.stderr


def races(program: Path, what: str) -> subprocess.CompletedProcess[str]:
    # GCC 12's sanitizer finds no room for its shadow memory where addresses are too random.
    result = run("setarch", "-R", program, what, TSAN_OPTIONS="report_thread_leaks=0:halt_on_error=0:exitcode=66")
    assert result.returncode in (0, 66), result.stdout + result.stderr
    assert (result.returncode == 66) == ("data race" in result.stderr), result.stderr
    return result


def test_right_kernels_have_no_races(built):
    text = races(built("pyformer_emulated_races", "thread"), "right").stderr
    assert "data race" not in text, text


@pytest.mark.parametrize("schedule", ["plain", "highest,late,plain"])
@pytest.mark.parametrize("device", ["sm80", "sm90"])
def test_the_librarys_kernels_on_tensor_cores_have_no_races(built, device, schedule):
    result = races(built("pyformer_emulated_library_races", "thread"), f"{schedule},{device}")
    assert "data race" not in result.stderr, result.stderr
    assert result.stdout.count(" 0 wgmma") == (2 if device == "sm80" else 0), result.stdout


# A kernel, and of wgmma what is wrong with it: a slot is given back, or registers are touched, before the wait.
FAULTS = ["layer_norm", "matmul_sm80", "matmul_sm90"]
FAULTS += ["matmul_sm90 no_wgmma_wait", "primitives early_read", "primitives early_write"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_missing_barrier_or_wait_is_a_race(built, fault):
    text = races(built("pyformer_emulated_races", "thread"), fault).stderr
    assert "data race" in text, text
    assert f"{fault.split()[0]}_kernel.h" in text, text


# ---- the arithmetic of tensor cores, from its definition (tensor_core.h) -------------------------------------------


def exponent(x: float, least: int) -> int:
    return -126 if x == 0 else max(math.frexp(x)[1] - 1, least)


def truncated(x: Fraction) -> float:
    """To a float, toward zero."""
    if x == 0:
        return 0.0
    e = math.frexp(abs(x.numerator) / x.denominator)[1] - 1
    e = max(e - (abs(x) < Fraction(2) ** e), -126)
    unit = Fraction(2) ** (e - 23)
    return float(int(x / unit) * unit)


def step(a: list[float], b: list[float], c: float, fraction: int, least: int) -> float:
    most = max([exponent(c, -126), *(exponent(p, least) + exponent(q, least) for p, q in zip(a, b, strict=True))])
    unit = Fraction(2) ** (most - fraction)
    terms = [Fraction(c), *(Fraction(p) * Fraction(q) for p, q in zip(a, b, strict=True))]
    return truncated(sum(int(term / unit) for term in terms) * unit)


def nearest(x: Fraction) -> float:
    """To a float, ties to even."""
    down = truncated(x)
    up = math.copysign(1, x) * (abs(down) + 2.0 ** (max(exponent(down, -126), -126) - 23))
    below, above = abs(x - Fraction(down)), abs(Fraction(up) - x)
    if below == above:
        return down if int(abs(Fraction(down)) / abs(Fraction(up) - Fraction(down))) % 2 == 0 else up
    return down if below < above else up


def test_tensor_cores_add_as_defined(built):
    lines = run(built("pyformer_emulated_tests"), "--dots").stdout.splitlines()
    assert len(lines) == 4500
    different = 0
    for line in lines:
        kind, count, *numbers = line.split()
        c, plain, ampere, hopper, *factors = map(float.fromhex, numbers)
        a, b, half, least = factors[::2], factors[1::2], int(count) // 2, -14 if kind == "float16" else -126
        assert hopper == step(a, b, c, 25, least), line
        assert ampere == step(a[half:], b[half:], step(a[:half], b[:half], c, 24, least), 24, least), line
        exact = Fraction(c) + sum(Fraction(p) * Fraction(q) for p, q in zip(a, b, strict=True))
        assert math.isclose(plain, nearest(exact), rel_tol=2.0**-22, abs_tol=1e-12), line
        different += hopper != ampere
    assert different > 500
