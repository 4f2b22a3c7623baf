"""doctor tells what is there, what is missing and how to get it; nothing is changed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from edgepose import doctor
from edgepose.cli import main
from edgepose.doctor import Diagnosis, diagnose, import_modules, module_of, requirements
from edgepose.errors import EdgeposeError
from edgepose.report.doctor import doctor_text
from edgepose.target import list_targets, load_target


def healthy(names: object) -> dict[str, str]:
    return {}


def found(*lines: str, **broken: str) -> Diagnosis:
    return diagnose(
        [load_target("onnx-android")],
        needed=[Requirement(line) for line in lines],
        try_imports=lambda names: {k: v for k, v in broken.items() if k in names},
    )


def test_every_package_that_edgepose_needs_is_looked_at() -> None:
    """The ranges are pyproject.toml's, and each package is imported by its real name."""
    needed = {r.name: r for r in requirements()}
    assert str(needed["torch"].specifier) == "<2.14,>=2.13"
    assert "pytest" not in needed
    for name in needed:
        assert importlib.util.find_spec(module_of(name)) is not None, name
    names = {f.name for f in diagnose([], try_imports=healthy).of("packages")}
    assert names == set(needed)


def test_a_missing_an_old_and_a_broken_package_are_errors_with_a_cure() -> None:
    result = found(
        "numpy", "click>=99", "no-such-thing>=3", "onnx", onnx="ImportError: libx.so: no such file"
    )
    states = {f.name: f for f in result.of("packages")}
    assert states["numpy"].state == "ok"
    assert "needed >=99" in states["click"].text
    assert states["click"].get == "pip install -c constraints.txt 'click>=99'"
    assert "missing" in states["no-such-thing"].text
    assert "libx.so" in states["onnx"].text
    assert "--force-reinstall" in (states["onnx"].get or "")
    assert not result.healthy
    (export,) = (f for f in result.of("onnx-android") if f.name == "export")
    assert export.state == "error"
    assert "onnx" in export.text


def test_a_missing_tool_is_a_warning_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda command: None)
    result = found("numpy")
    tools = {f.name: f for f in result.of("onnx-android") if f.state == "warning"}
    assert set(tools) == {"adb", "cmake"}
    assert "platform-tools" in (tools["adb"].get or "")
    assert result.healthy


def test_modules_are_tried_apart_from_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that raises and one that ends the interpreter are named; the others are still tried."""
    (tmp_path / "mod_fine.py").write_text("print('noise on stdout')")
    (tmp_path / "mod_raises.py").write_text("raise OSError('libgone.so: cannot open\\nfile')")
    (tmp_path / "mod_dies.py").write_text("import os; os._exit(7)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
                       if "PYTHONPATH" in os.environ else str(tmp_path))  # fmt: skip
    broken = import_modules(["mod_fine", "mod_raises", "mod_dies", "json", "mod_absent"])
    assert broken == {
        "mod_raises": "OSError: libgone.so: cannot open file",
        "mod_dies": "its import ends Python (exit code 7)",
        "mod_absent": "ModuleNotFoundError: No module named 'mod_absent'",
    }


def test_windows_is_refused_with_the_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.platform, "system", lambda: "Windows")
    (system,) = (f for f in diagnose([], try_imports=healthy).of("system") if f.name == "system")
    assert system.state == "error"
    assert "WSL 2" in (system.get or "")


def test_on_windows_it_runs_without_what_windows_lacks() -> None:
    """No fcntl there: doctor is the one command that must come through and say so."""
    code = (
        "import sys; sys.modules['fcntl'] = None; import edgepose.doctor as d; "
        "d.platform.system = lambda: 'Windows'; "
        "d.diagnose.__kwdefaults__['try_imports'] = lambda names: {}; "
        "from edgepose.cli import main; main(['doctor', '--target', 'host'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "run it inside WSL 2" in done.stdout


def test_text_fits_80_columns_and_names_every_target() -> None:
    result = diagnose([load_target(name) for name in list_targets()], try_imports=healthy)
    text = doctor_text(result)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    for name in list_targets():
        assert f"\n{name}\n" in text
        assert result.of(name)[0].state == "ok"
        assert any(f.name == "device" for f in result.of(name)), (
            f"{name} says nothing of its device"
        )
    for word in ("LiteRT", "QNN", "Windows", "macOS", "aarch64"):
        assert word in text


@pytest.mark.parametrize(("broken", "code"), [({}, 0), ({"onnx": "ImportError: no"}, 1)])
def test_exit_code_and_json(
    monkeypatch: pytest.MonkeyPatch, broken: dict[str, str], code: int
) -> None:
    monkeypatch.setattr(doctor.diagnose, "__kwdefaults__",
                        {"needed": None, "try_imports": lambda names: broken})  # fmt: skip
    result = CliRunner().invoke(main, ["doctor", "--target", "host", "--json"])
    assert result.exit_code == code, result.output
    said = json.loads(result.stdout)
    assert said["healthy"] is (code == 0)
    assert {f["group"] for f in said["findings"]} == {"system", "packages", "host"}
    assert CliRunner().invoke(main, ["doctor", "--target", "host"]).exit_code == code


@pytest.mark.parametrize("module", ["pydantic", "rich", "packaging"])
def test_it_speaks_even_where_it_cannot_look(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from edgepose.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (said,) = (line for line in done.stderr.splitlines() if "missing or broken" in line)
    assert module in said
    assert "fix: pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_package_data_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROJECT", tmp_path / "pyproject.toml")

    def absent(name: str) -> list[str]:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", absent)
    with pytest.raises(EdgeposeError, match="pip install"):
        requirements()
    lines = ["numpy>=2", "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: lines)
    assert [r.name for r in requirements()] == ["numpy"]
