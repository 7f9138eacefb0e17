"""Follows CONTRIBUTING's worked example to the letter in a copy of the checkout, builds that, runs the example's tests.

Needs cmake, make, a C++ compiler and pybind11; object files of the newest build of this checkout serve again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
STEP = re.compile(
    r"(?:Make `(?P<made>[^`]+)`|In `(?P<changed>[^`]+)`, (?P<where>below|above) `(?P<anchor>[^`]+)`, add):\n\n"
    r"```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    path: str
    text: str
    where: str | None = None  # "below" or "above" the line `anchor`; None: a new file
    anchor: str | None = None

    def apply(self, checkout: Path) -> None:
        path = checkout / self.path
        if self.where is None:
            assert not path.exists(), f"{self.path} is there already"
            path.parent.mkdir(exist_ok=True)
            path.write_text(self.text)
            return
        lines = path.read_text().splitlines(keepends=True)
        found = [i for i, line in enumerate(lines) if line.rstrip("\n") == self.anchor]
        assert len(found) == 1, f"{self.path}: the line {self.anchor!r} is there {len(found)} times"
        lines.insert(found[0] + (self.where == "below"), self.text)
        path.write_text("".join(lines))


def steps() -> list[Step]:
    page = PAGE.read_text()
    example = page[page.index("## A worked example") :]
    found = [Step(m["made"] or m["changed"], m["text"], m["where"], m["anchor"]) for m in STEP.finditer(example)]
    blocks = len(re.findall(r"^```(?:cpp|python|text)$", example, re.MULTILINE))
    assert len(found) == blocks, f"{blocks} blocks, of which {len(found)} say where they go"
    return found


def copy_of_checkout(to: Path) -> Path:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    return to


def build_folder() -> Path | None:
    """The newest build of this checkout, whose object files serve again."""
    found = sorted(ROOT.glob("build/*/CMakeCache.txt"), key=lambda cache: cache.stat().st_mtime)
    return found[-1].parent if found else None


def take_over_objects(of: Path, into: Path, changed: set[str]) -> None:
    """Copies the object files of sources that did not change: make then takes them for up to date.

    Those older than a header or than their source are left behind.
    """
    newest = max(header.stat().st_mtime for header in ROOT.glob("csrc/**/*.h"))
    for built in of.glob("CMakeFiles/*.dir/**/*.o"):
        name = built.relative_to(of)
        source = Path(*name.parts[2:]).with_suffix("")
        if str(source) in changed or not (ROOT / source).exists() or not into.joinpath(*name.parts[:2]).exists():
            continue
        if built.stat().st_mtime > max(newest, (ROOT / source).stat().st_mtime):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(built, into / name)


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def main() -> None:
    import pybind11

    with tempfile.TemporaryDirectory() as folder:
        checkout, build = copy_of_checkout(Path(folder) / "checkout"), Path(folder) / "build"
        todo = steps()
        for step in todo:
            step.apply(checkout)
        options = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"]
        run("cmake", "-S", str(checkout), "-B", str(build), "-G", "Unix Makefiles", *options, cwd=checkout)
        if (before := build_folder()) is not None:
            take_over_objects(before, build, {step.path for step in todo})
        run("cmake", "--build", str(build), "--target", "_core", "-j", str(os.cpu_count() or 1), cwd=checkout)
        for library in [*build.glob("**/_core*.so"), *build.glob("**/libpyformer*.so*")]:
            shutil.copy2(library, checkout / "pyformer")
        pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        files = [f"tests/test_{name}.py" for name in ("cases", "oracle", "half", "reference")]
        example = run(*pytest, "-k", "leaky_relu", *files, cwd=checkout, PYTHONPATH=str(checkout))
        rules = (
            "tests/test_stubs.py",
            "tests/test_layers.py",
            "tests/test_reference.py::test_every_public_name_is_on_a_page",
        )
        run(*pytest, *rules, "-k", "not strict", cwd=checkout, PYTHONPATH=str(checkout))
        print(f"{len(todo)} steps of the worked example: {example.splitlines()[-1]}")


if __name__ == "__main__":
    main()
