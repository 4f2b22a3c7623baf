"""The TensorRT path without a GPU: against the names of the real 8.5.2.2 and a double of its rules."""

import ast
import importlib.util
import json
import lzma
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgepose.device.tensorrt_engine as module
from edgepose.device.codec import HeatmapCodec
from edgepose.device.contract import Contract
from edgepose.device.cuda import Cuda
from edgepose.device.engine_files import engine_key, load_engine, save_engine
from edgepose.device.errors import DeviceError
from edgepose.device.trtexec_engine import TrtexecEngine, parse_times, parse_version

_spec = importlib.util.spec_from_file_location(
    "edgepose_tensorrt_double", Path(__file__).with_name("tensorrt_double.py")
)
double = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(double)
INVENTORY = double.INVENTORY
SETTINGS = {"workspace_mib": 64, "builder_flags": ["INT8", "FP16"]}


@pytest.fixture
def contract(tmp_path):
    files = {"model": tmp_path / "model.onnx.xz", "build": tmp_path / "build.json"}
    files["model"].write_bytes(lzma.compress(b"onnx"))
    files["build"].write_text(json.dumps(SETTINGS))
    return Contract(
        name="pose", runtime="tensorrt", precision="int8", input_name="image",
        output_name="heatmaps", input_hw=(8, 8), fixed_batch=1, joints=2, mean=(0, 0, 0),
        std=(1, 1, 1), color="RGB", codec=HeatmapCodec(), padding=1.25,
        files={role: str(path) for role, path in files.items()},
    )  # fmt: skip


def make(contract, folder, *, lib=None, **options):
    lib = lib or double.Lib()
    trt = double.make_trt(lib, **options)
    engine = module.TensorRtEngine(contract, engines=str(folder), trt=trt, cuda=Cuda(lib))
    return engine, trt, lib


def test_every_name_is_in_the_real_package():
    """Of the module by reading our source; of its classes by what the double, which ran it, has."""
    assert INVENTORY["version"] == "8.5.2.2"
    used = {
        node.attr
        for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "trt"
    }
    assert {"Builder", "OnnxParser", "Runtime", "ILogger"} <= used
    assert used - {"__version__"} <= set(INVENTORY["names"])
    trt = double.make_trt(double.Lib())
    for name in used - {"__version__", "nptype"}:
        ours = double.public(getattr(trt, name)) - double.public(int)
        assert ours <= set(INVENTORY["classes"][name]), name
    for name in ("ICudaEngine", "IExecutionContext", "IBuilderConfig", "ParserError"):
        assert double.public(getattr(trt, name)) <= set(INVENTORY["classes"][name]), name


def test_infers_what_it_was_given(contract, tmp_path):
    engine, trt, lib = make(contract, tmp_path)
    for value in (1.0, -3.5):
        heatmaps = engine.infer(np.full((1, 3, 8, 8), value, np.float32))
        assert heatmaps.shape == (1, 2, 2, 2)
        np.testing.assert_allclose(heatmaps, value)
    assert lib.synchronised == 2  # before the clock is read
    assert trt.made == [(["int8", "fp16"], {"workspace": 64 << 20})]
    assert len(lib.device) == len(lib.pinned) == 2  # allocated once
    assert "Xavier (sm_72), CUDA 11.4" in engine.description
    assert engine.memory_bytes() == sum(len(block) for block in lib.device.values())
    with pytest.raises(DeviceError, match="takes"):
        engine.infer(np.zeros((2, 3, 8, 8), np.float32))
    engine.close()
    assert not lib.device
    assert not lib.pinned
    assert lib.streams == 0


def test_an_engine_is_kept_for_its_own_gpu_version_and_model(contract, tmp_path):
    def builds(contract=contract, lib=None, **options):
        engine, trt, _ = make(contract, tmp_path, lib=lib, **options)
        assert engine.build["cached"] == (not trt.made)
        return len(trt.made)

    assert builds() == 1
    assert builds() == 0
    assert builds(version="8.6.1") == 1
    assert builds(lib=double.Lib(name=b"Orin")) == 1
    other = tmp_path / "other.onnx.xz"
    other.write_bytes(lzma.compress(b"another onnx"))
    changed = replace(contract, files={**contract.files, "model": str(other)})
    assert builds(changed) == 1
    assert builds() == 0
    for path in tmp_path.glob("*.engine"):  # a damaged file is built again
        path.write_bytes(b"engine of")
    assert builds() == 1


def test_engine_files(tmp_path):
    facts = {"gpu": "Xavier", "model": "a"}
    assert load_engine(str(tmp_path), facts) is None
    save_engine(str(tmp_path), facts, b"engine", 12.5)
    assert load_engine(str(tmp_path), facts) == (b"engine", 12.5)
    assert load_engine(str(tmp_path), {**facts, "model": "b"}) is None
    notes = tmp_path / (engine_key(facts) + ".json")
    notes.write_text(notes.read_text().replace("Xavier", "Orin"))
    assert load_engine(str(tmp_path), facts) is None
    notes.write_text("[]")
    assert load_engine(str(tmp_path), facts) is None


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"parses": False}, "cannot read the model: node Resize is not supported"),
        ({"builds": False}, "cannot build an engine: could not find any implementation\n"),
        ({"half": True}, "float16 .*not float32"),
        ({"shapes": {"image": (-1, 3, 8, 8), "heatmaps": (1, 2, 2, 2)}}, "fixed shape"),
        ({"shapes": {"image": (1, 3, 8, 8), "other": (1, 2, 2, 2)}}, "artifact.json says"),
        ({"lib": double.Lib(memory_bytes=8)}, "cudaMallocHost failed on the board: a reason"),
    ],
)
def test_failures_are_told(contract, tmp_path, options, problem):
    with pytest.raises(DeviceError, match=problem) as caught:
        make(contract, tmp_path, **options)
    assert caught.value.fix


def test_cuda_errors_name_the_call():
    lib = double.Lib()
    cuda = Cuda(lib)
    lib.fail["cudaStreamSynchronize"] = 700
    with pytest.raises(DeviceError, match=r"cudaStreamSynchronize failed .*\(CUDA error 700\)"):
        cuda.synchronise()


TRTEXEC = """\
#!{python}
import json, sys
o = dict(w.lstrip("-").split("=", 1) for w in sys.argv[1:] if "=" in w)
print("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # " + " ".join(sys.argv))
if "onnx" in o:
    if {broken}:
        print("[E] Error[10]: no implementation"); sys.exit(1)
    assert open(o["onnx"], "rb").read() == b"onnx" and "--int8" in sys.argv and "--fp16" in sys.argv
    open(o["saveEngine"], "wb").write(b"an engine")
else:
    assert open(o["loadEngine"], "rb").read() == b"an engine"
if "loadInputs" in o:
    import array
    name, path = o["loadInputs"].split(":", 1)
    assert name == "image"
    values = array.array("f", open(path, "rb").read())
    mean = sum(values) / len(values)
    out = [{{"name": "heatmaps", "dimensions": "1x2x2x2", "values": [mean] * 8}}]
    json.dump(out, open(o["exportOutput"], "w"))
if "exportTimes" in o:
    json.dump([{{"latencyMs": 2.5}}] * int(o["iterations"]), open(o["exportTimes"], "w"))
"""


def test_trtexec(contract, tmp_path):
    program = tmp_path / "trtexec"
    program.write_text(TRTEXEC.format(python=sys.executable, broken=False))
    program.chmod(0o755)
    engine = TrtexecEngine(contract, engines=str(tmp_path / "engines"), program=str(program))
    assert engine.description == "TensorRT 8.5.2 INT8 by trtexec, copies included"
    assert engine.build["engine_bytes"] == 9
    np.testing.assert_allclose(engine.infer(np.full((1, 3, 8, 8), 2.0, np.float32)), 2.0)
    assert engine.times_ms(calls=7, seconds=0, warmup_ms=0) == [2.5] * 7
    engine.close()
    assert not list((tmp_path / "engines").iterdir())
    program.write_text(TRTEXEC.format(python=sys.executable, broken=True))
    with pytest.raises(DeviceError, match=r"cannot build an engine: \[E\] Error\[10\]"):
        TrtexecEngine(contract, engines=str(tmp_path / "engines"), program=str(program))
    assert not list((tmp_path / "engines").iterdir())


def test_what_trtexec_says():
    assert parse_version("[TensorRT v8502]") == "8.5.2"
    assert parse_version("[TensorRT v100300]") == "10.3.0"
    assert parse_version("no") == "of unknown version"
    for wrong in ([], [{"latencyMs": 0}], [{"latencyMs": float("nan")}]):
        with pytest.raises(ValueError, match="no usable times"):
            parse_times(wrong)
