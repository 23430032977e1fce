"""What is loaded when, and what is said where an optional package is missing."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    "matplotlib",
    "msgspec",
    "pandas",
    "pyarrow",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
]


def run(script: str, *arguments: str, blocked: list[str] | None = None) -> tuple[int, str, str]:
    """A script in a fresh interpreter in which some packages can't be imported."""
    lines = [f"sys.modules[{name!r}] = None" for name in blocked or []]
    command = [sys.executable, "-c", "\n".join(["import sys", *lines, script]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def loaded(script: str, names: list[str]) -> list[str]:
    """Which of these packages a script has loaded when it ends."""
    code, out, err = run(f"{script}\nprint(*(name for name in {names!r} if name in sys.modules))")
    assert code == 0, err
    return out.split()


USE = """
import softxent
softxent.cross_entropy_with_grad([[2.0, -1.0, 0.1]], [2])
softxent.top_k(softxent.softmax([1.0, 2.0]), 1)
print(softxent.explain([2, -1, 0.1], 2).text(), file=sys.stderr)
"""


def test_import_loads_nothing_heavy() -> None:
    assert loaded("import softxent", HEAVY) == []


def test_use_on_arrays_loads_nothing_heavy() -> None:
    assert loaded(USE, HEAVY) == []


@pytest.mark.slow
def test_modules_are_loaded_on_first_use() -> None:
    """`import softxent` alone gives nn, doctor and learn, and loads torch with the first use."""
    assert loaded("import softxent\nsoftxent.doctor.check", HEAVY) == []
    pytest.importorskip("torch")
    script = """
import softxent
assert {"nn", "doctor", "learn"} <= set(dir(softxent))
assert "torch" not in sys.modules
assert softxent.nn.CrossEntropyLoss()
"""
    assert loaded(script, ["torch", "sklearn"]) == ["torch"]
    pytest.importorskip("safetensors")
    assert "torch" in loaded("import softxent\nsoftxent.learn.train", HEAVY)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    import softxent

    with pytest.raises(AttributeError, match="module 'softxent' has no attribute 'cross_entrpy'"):
        softxent.cross_entrpy  # noqa: B018


@pytest.mark.slow
def test_the_check_can_fail() -> None:
    pytest.importorskip("msgspec")
    assert loaded("import softxent, colorsys", ["colorsys", "torch"]) == ["colorsys"]
    assert loaded("import softxent.record", HEAVY) == ["msgspec"]


def test_arrays_need_none_of_it() -> None:
    code, _, err = run(USE, blocked=HEAVY)
    assert code == 0, err


@pytest.mark.slow
def test_tensors_load_torch_only_with_torch() -> None:
    """A tensor is recognised because torch is loaded already."""
    pytest.importorskip("torch")
    script = """
import softxent
softxent.softmax([1.0, 2.0])
assert "torch" not in sys.modules
import torch
assert isinstance(softxent.softmax(torch.ones(3)), torch.Tensor)
"""
    assert loaded(script, ["torch", "sklearn", "matplotlib"]) == ["torch"]


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("softxent.record", "msgspec", "learn"),
        ("softxent.report", "msgspec", "learn"),
        ("softxent.nn", "torch", "torch"),
        ("softxent.learn", "torch", "learn"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module: str, package: str, extra: str) -> None:
    if module == "softxent.learn":
        pytest.importorskip("safetensors")  # which would be missed first
    script = f"""
from softxent.errors import MissingExtraError, SoftxentError
try:
    import {module}
except MissingExtraError as error:
    assert isinstance(error, ImportError) and isinstance(error, SoftxentError)
    print(error)
"""
    code, out, err = run(script, blocked=[package])
    assert code == 0, err
    assert f"needs {package}, which is not installed" in out
    assert f'pip install "softxent[{extra}]"' in out
    assert out.count("\n") == 1


@pytest.mark.parametrize("package", ["msgspec", "torch", "safetensors", "sklearn"])
@pytest.mark.slow
def test_train_says_what_it_misses(package: str, tmp_path: Path) -> None:
    """One line, exit code 2, nothing written."""
    for other in {"msgspec", "torch", "safetensors", "sklearn"} - {package}:
        if importlib.util.find_spec(other) is None:
            pytest.skip(f"{other} would be missed first")
    script = "from softxent.cli import main\nsys.exit(main(sys.argv[1:]))"
    out = tmp_path / "run"
    arguments = ["train", "digits", "--epochs", "1", "--out", str(out)]
    code, stdout, err = run(script, *arguments, blocked=[package])
    assert code == 2, (stdout, err)
    assert stdout == ""
    assert err.startswith("softxent train: error: [")
    assert err.count("\n") == 1
    name = {"sklearn": "scikit-learn"}.get(package, package)
    assert f"needs {name}, which is not installed" in err
    assert 'pip install "softxent[learn]"' in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"]])
def test_help_needs_none_of_it(command: list[str]) -> None:
    script = "from softxent.cli import main\nmain(sys.argv[1:])"
    code, out, err = run(script, *command, blocked=HEAVY)
    assert code == 0, err
    assert out.startswith("usage: softxent")
