"""The device folder stands alone: on a board it needs Python 3.8 and numpy, nothing else."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgepose.device

FOLDER = Path(edgepose.device.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
NAMES = [path.name for path in FILES]
GUESTS = {"tensorrt", "onnxruntime"}  # may be asked for inside a function, never on import


def test_the_files_that_are_checked():
    assert {"geometry.py", "decode.py", "timing.py", "errors.py", "files.py"} <= set(NAMES)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_is_python_38(path):
    ast.parse(path.read_text(), filename=str(path), feature_version=(3, 8))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_only_itself_numpy_and_the_standard_library(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = {str(node.module).split(".")[0]}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path.name} imports from above its folder"
            continue
        else:
            continue
        assert roots <= {"numpy"} | GUESTS | set(sys.stdlib_module_names)


def test_a_copied_folder_imports_and_loads_nothing_heavy(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    modules = [f"guest.{path.stem}" for path in FILES if path.stem != "__init__"]
    code = (
        f"import sys, json, importlib; [importlib.import_module(m) for m in {modules!r}]; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    loaded = set(json.loads(output))
    assert {"guest", "numpy"} <= loaded
    assert not loaded & {"edgepose", "cv2", "torch", "pydantic", *GUESTS}
