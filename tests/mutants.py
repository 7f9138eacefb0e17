"""Do the tests notice? Makes one mistake at a time in a copy of the library and runs the few tests that must fail.

    python tests/mutants.py [WORD ...]            the mistakes in Python: on a copy of the installed package
    python tests/mutants.py --build [WORD ...]    those in C++: a copy of the source, compiled anew; slow
    python tests/mutants.py --cuda [WORD ...]     those in CUDA: the emulated device of a copy of the source

The mistakes stand in mutant_table/. Words choose some by name. Prints a line for each; the exit code is 1 if one is
missed, or if its old text isn't found exactly once: a mistake names no file, so code can move.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cuda_device
from mutant_table import CPP, CUDA, PYTHON, Mutant

ROOT = Path(__file__).resolve().parent.parent
FAILED = 1  # pytest's exit code for tests that failed


def copy_of_package(folder: Path) -> Path:
    """The installed package, to be changed; what is compiled is not copied."""
    import pyformer

    source = Path(pyformer.__file__).parent

    def take(path: str, to: str) -> None:
        os.symlink(path, to) if ".so" in Path(path).suffixes else shutil.copy(path, to)

    not_taken = shutil.ignore_patterns("__pycache__", "_bench")  # the latter is a copy of bench/
    shutil.copytree(source, folder / "pyformer", ignore=not_taken, copy_function=take)
    return folder / "pyformer"


def run_tests(tests: Iterable[str], folder: Path, **more: str) -> tuple[int, str]:
    """pytest's exit code and last lines for `tests`, with the package that lies in `folder`; `more` of environment."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command += ["--rootdir", str(ROOT), *(str(ROOT / "tests" / test) for test in tests)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment |= more
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, "\n".join(done.stdout.splitlines()[-15:] + done.stderr.splitlines()[-5:])


def judge(mutant: Mutant, sources: Path, pattern: str, run: Callable[[], tuple[int, str]]) -> str:
    """ "caught", or what went wrong."""
    try:
        path, text = mutant.place(sorted(p for p in sources.rglob(pattern) if p.is_file()))
    except ValueError as error:
        return str(error)
    before = path.read_text()
    path.write_text(text)
    try:
        code, output = run()
    finally:
        path.write_text(before)
    if code == FAILED:
        return "caught"
    return "MISSED" if code == 0 else f"its tests did not run:\n{output}"


def judge_python(mutant: Mutant) -> str:
    with tempfile.TemporaryDirectory() as folder:
        package = copy_of_package(Path(folder))
        return judge(mutant, package, "*.py", lambda: run_tests(mutant.tests, Path(folder)))


def copy_sources(folder: Path) -> None:
    not_taken = shutil.ignore_patterns("build", ".emulated", ".git", "*.so*", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=not_taken)


class EmulatedDevice:
    """A copy of the source tree, whose emulated device is compiled after each change of it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.package = folder / "source", copy_of_package(folder).parent
        copy_sources(self.source)

    def run(self, tests: Iterable[str]) -> tuple[int, str]:
        try:
            cuda_device.build(self.source)
        except AssertionError as error:
            return -1, str(error)[-2000:]
        return run_tests(tests, self.package, PYFORMER_SOURCES=str(self.source))

    def judge(self, mutant: Mutant) -> str:
        return judge(mutant, self.source / "csrc" / "pyformer", "*.[hc]*", lambda: self.run(mutant.tests))


class Build:
    """A copy of the source tree, compiled after each change of it. CMAKE_ARGS are more arguments of cmake."""

    def __init__(self, folder: Path) -> None:
        import pybind11

        self.source, self.build = folder / "source", folder / "source" / "build" / "dev"
        copy_sources(self.source)
        more = [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", *shlex.split(os.environ.get("CMAKE_ARGS", ""))]
        self.command("cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", *more)
        self.compile()

    def command(self, *words: object) -> None:
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{words[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def compile(self) -> None:
        self.command("cmake", "--build", self.build, "--target", "_core")
        for library in [*self.build.glob("**/_core*.so"), *self.build.glob("**/libpyformer*.so*")]:
            shutil.copy(library, self.source / "pyformer")

    def run(self, mutant: Mutant) -> tuple[int, str]:
        try:
            self.compile()
        except RuntimeError as error:
            return -1, str(error)
        return run_tests(mutant.tests, self.source)

    def judge(self, mutant: Mutant) -> str:
        return judge(mutant, self.source / "csrc" / "pyformer", "*.[hc]*", lambda: self.run(mutant))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="choose the mistakes whose names have one of these words")
    parser.add_argument("--build", action="store_true", help="those in C++")
    parser.add_argument("--cuda", action="store_true", help="those in CUDA")
    options = parser.parse_args()
    every = CUDA if options.cuda else CPP if options.build else PYTHON
    chosen = [m for m in every if not options.words or any(w in m.name for w in options.words)]
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    missed, in_python = 0, every is PYTHON
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2 if in_python else 1) as pool:
        if options.cuda:
            device = EmulatedDevice(Path(name))
            (code, output), judge_one = device.run(tests), device.judge
        elif options.build:
            build = Build(Path(name))
            (code, output), judge_one = run_tests(tests, build.source), build.judge
        else:
            (code, output), judge_one = run_tests(tests, copy_of_package(Path(name)).parent), judge_python
        if code:
            print(f"the tests do not pass without a mistake:\n{output}")
            return 1
        for mutant, result in zip(chosen, pool.map(judge_one, chosen), strict=True):
            print(f"{'caught' if result == 'caught' else 'MISSED'}  {mutant.name}", flush=True)
            if result != "caught":
                missed += 1
                print("" if result == "MISSED" else f"        {result}")
    print(f"{len(chosen) - missed} of {len(chosen)} mistakes caught")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
