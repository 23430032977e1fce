"""Compilers: which build the kernels, how the others are refused, and what none may rearrange."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMPILERS = ["c++", "g++-11", "clang++-14", "clang++-19"]

# Exits with 0 if products and their rounding errors have all digits, whether or not the kernels use
# the processor's fused multiply-add.
EXACT_PRODUCTS = r"""
#include "vector/vector.h"

using namespace softxent::SOFTXENT_LEVEL;

template <class T>
bool is_exact(T a, T b) {
  const V<T> x = broadcast(a), y = broadcast(b), product = x * y;
  const V<T> error = product_error<T>(x, y, product);
  const volatile T rounded = a * b;
  const T rounded_twice = a * b + b;
  return error[0] == static_cast<T>(__builtin_fmal(a, b, -static_cast<long double>(product[0]))) &&
         rounded_twice == rounded + b;
}

int main(int count, char**) {
  float f = 1 + 0x1p-20f * static_cast<float>(count);
  double d = 1 + 0x1p-50 * count;
  for (int i = 0; i < 1000; ++i) {
    f = f * 1.0471f < 1e9f ? f * 1.0471f : f * 1e-9f;
    d = d * 1.0471 < 1e9 ? d * 1.0471 : d * 1e-9;
    if (!is_exact<float>(f, 1.1f * f) || !is_exact<double>(d, 1.1 * d)) return 1;
  }
}
"""


def check(system: str, compiler: str, version: str) -> str:
    """What CMake says about a compiler on a system; empty where it may go on."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("needs cmake")
    known = {
        "CMAKE_SYSTEM_NAME": system,
        "CMAKE_CXX_COMPILER_ID": compiler,
        "CMAKE_CXX_COMPILER_VERSION": version,
    }
    command = [cmake, *(f"-D{name}={value}" for name, value in known.items())]
    done = subprocess.run(
        [*command, "-P", ROOT / "cmake" / "compiler.cmake"], capture_output=True, text=True
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("system", "compiler", "version"),
    [
        ("Linux", "GNU", "11.1.0"),
        ("Linux", "GNU", "15.2.0"),
        ("Linux", "Clang", "14.0.6"),
        ("Linux", "Clang", "22.1.0"),
        ("Darwin", "AppleClang", "14.0.0"),
        ("Darwin", "GNU", "14.2.0"),
    ],
)
def test_compilers_that_build_the_kernels(system: str, compiler: str, version: str) -> None:
    assert check(system, compiler, version) == ""


@pytest.mark.parametrize(
    ("system", "compiler", "version", "says"),
    [
        ("Windows", "MSVC", "19.44", "can't be compiled for Windows"),
        ("Windows", "Clang", "19.1.0", "Windows Subsystem for Linux"),
        (
            "Linux",
            "GNU",
            "10.5.0",
            "compiled with GNU 10.5.0: its kernels need version 11 or newer",
        ),
        ("Linux", "Clang", "13.0.1", "its kernels need version 14 or newer"),
        ("Darwin", "AppleClang", "13.1.6", "its kernels need version 14 or newer"),
        ("Linux", "IntelLLVM", "2025.1", "compiled with IntelLLVM 2025.1: its kernels need GCC 11"),
        ("Linux", "NVHPC", "25.1", "Clang 14 or a newer version of these"),
    ],
)
def test_other_compilers_are_refused_in_one_line(
    system: str, compiler: str, version: str, says: str
) -> None:
    message = check(system, compiler, version)
    assert "softxent can't be compiled" in message
    assert says in message
    assert message.endswith((".", "(WSL)."))


def kernel_flags() -> list[str]:
    (flags,) = re.findall(r"set\(KERNEL_FLAGS (.*)\)", (ROOT / "CMakeLists.txt").read_text())
    return str(flags).split()


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_product_is_fused(compiler: str, tmp_path: Path) -> None:
    """A distributor's flags may admit fused multiply-adds to the level that has none of its own."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    wide = platform.machine() == "x86_64" and " fma " in Path("/proc/cpuinfo").read_text()
    source, program = tmp_path / "products.cc", tmp_path / "products"
    source.write_text(EXACT_PRODUCTS)
    given = ["-std=c++17", "-ffast-math", "-ffp-contract=fast", *(["-mfma"] if wide else [])]
    level = ["-DSOFTXENT_LEVEL=baseline", f"-I{ROOT / 'native'}"]
    command = [compiler, *given, *kernel_flags(), *level, str(source), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True)
    assert subprocess.run([program]).returncode == 0
