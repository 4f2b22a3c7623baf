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

import edgepose.device.tensorrt_build as building
import edgepose.device.tensorrt_engine as module
from edgepose.device.codec import HeatmapCodec
from edgepose.device.contract import Contract
from edgepose.device.cuda import Cuda
from edgepose.device.engine_files import engine_key, load_engine, save_engine
from edgepose.device.engine_layers import layers_of
from edgepose.device.engine_settings import MAIN, cache_for, forms_of, may_use_dla, settings_of
from edgepose.device.errors import DeviceError
from edgepose.device.trtexec_engine import TrtexecEngine, parse_times, parse_version

_spec = importlib.util.spec_from_file_location(
    "edgepose_tensorrt_double", Path(__file__).with_name("tensorrt_double.py")
)
double = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(double)
INVENTORY = double.INVENTORY
SETTINGS = {"workspace_mib": 64, "builder_flags": ["INT8", "FP16"]}
CACHE = b"TRT-8502-EntropyCalibration2\nimage: 3caa6000\nconv1: 3dcc8000\n"
FORMS = {
    "implicit": {
        "form": "implicit", "model": "model_fp16", "calibration": "calibration_implicit",
        "builder_flags": ["INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"], "workspace_mib": 64,
        "layer_precisions": {"final_layer": "fp16"}, "dla": True,
    },
    "fp16": {
        "form": "fp16", "model": "model_fp16", "builder_flags": ["FP16"], "workspace_mib": 64,
        "dla": True,
    },
    "fp32": {
        "form": "fp32", "model": "model_fp16", "builder_flags": [], "cleared_flags": ["TF32"],
        "workspace_mib": 64,
    },
}  # fmt: skip


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


@pytest.fixture
def forms(contract, tmp_path):
    """The same with an implicit, an FP16 and an FP32 form, which share one ONNX."""
    files = dict(contract.files)
    for role, data in (
        ("model_fp16", lzma.compress(b"onnx")),
        ("calibration_implicit", CACHE),
        *((f"build_{name}", json.dumps(said).encode()) for name, said in FORMS.items()),
    ):
        path = tmp_path / role
        path.write_bytes(data)
        files[role] = str(path)
    return replace(contract, files=files)


def make(contract, folder, *, lib=None, form=MAIN, dla=None, **options):
    lib = lib or double.Lib()
    trt = double.make_trt(lib, **options)
    engine = module.TensorRtEngine(
        contract, engines=str(folder), trt=trt, cuda=Cuda(lib), form=form, dla=dla
    )
    return engine, trt, lib


def test_every_name_is_in_the_real_package():
    """Of the module by reading our source; of its classes by what the double, which ran it, has."""
    assert INVENTORY["version"] == "8.5.2.2"
    used = {
        node.attr
        for source in (module, building)
        for node in ast.walk(ast.parse(Path(source.__file__).read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "trt"
    }
    assert {"Builder", "OnnxParser", "Runtime", "ILogger"} <= used
    assert used - {"__version__"} <= set(INVENTORY["names"])
    trt = double.make_trt(double.Lib())
    for name in used - {"__version__", "float16", "float32"}:
        ours = double.public(getattr(trt, name)) - double.public(int)
        assert ours <= set(INVENTORY["classes"][name]), name
    overridden = {
        "get_batch_size",
        "get_batch",
        "read_calibration_cache",
        "write_calibration_cache",
    }
    assert overridden <= set(INVENTORY["classes"]["IInt8EntropyCalibrator2"])
    others = "ICudaEngine IExecutionContext IBuilderConfig ParserError INetworkDefinition ILayer"
    for name in (*others.split(), "ITimingCache", "EngineInspector"):
        assert double.public(getattr(trt, name)) <= set(INVENTORY["classes"][name]), name


def test_infers_what_it_was_given(contract, tmp_path):
    engine, trt, lib = make(contract, tmp_path)
    for value in (1.0, -3.5):
        heatmaps = engine.infer(np.full((1, 3, 8, 8), value, np.float32))
        assert heatmaps.shape == (1, 2, 2, 2)
        np.testing.assert_allclose(heatmaps, value)
    assert lib.synchronised == 2  # before the clock is read
    assert trt.made == [(["tf32", "int8", "fp16"], {"workspace": 64 << 20})]
    assert len(lib.device) == len(lib.pinned) == 2  # allocated once
    assert "Xavier (sm_72), CUDA 11.4" in engine.description
    assert engine.memory_bytes() == sum(len(block) for block in lib.device.values())
    with pytest.raises(DeviceError, match="takes"):
        engine.infer(np.zeros((2, 3, 8, 8), np.float32))
    engine.close()
    assert not lib.device
    assert not lib.pinned
    assert lib.streams == 0


def test_a_whole_pose_graph_takes_the_image_as_it_is(contract, tmp_path):
    """uint8 (N, H, W, 3) in, joints out; an engine of heatmaps is not taken for one."""
    shapes = {"image": (1, 8, 8, 3), "heatmaps": (1, 2, 3)}
    whole = replace(contract, gives="joints", where="graph")
    crops = np.full((1, 8, 8, 3), 200, np.uint8)
    assert whole.prepare(crops).dtype == np.uint8
    np.testing.assert_array_equal(replace(whole, color="BGR").prepare(crops), crops[..., ::-1])
    engine, _, lib = make(whole, tmp_path, shapes=shapes, image=np.uint8)
    joints = engine.infer(whole.prepare(crops))
    assert {len(block) for block in lib.device.values()} == {192, 24}
    crop_xy, image_xy, score = whole.find(joints, np.array([[2.0, 0, 10], [0, 2, 20]]))
    assert (crop_xy == 200).all()
    assert (score == 200).all()
    np.testing.assert_allclose(image_xy[0], [[95, 90]] * 2)
    with pytest.raises(DeviceError, match=r"float32 .*not uint8"):
        make(whole, tmp_path, shapes=shapes)


def test_an_engine_is_kept_for_its_own_gpu_version_and_model(contract, tmp_path):
    def builds(contract=contract, lib=None, **options):
        engine, trt, _ = make(contract, tmp_path, lib=lib, **options)
        assert engine.build["cached"] == (not trt.made)
        return len(trt.made)

    assert builds() == 1
    assert builds() == 0
    assert builds(version="8.6.1") == 1
    assert builds(lib=double.Lib(name=b"Orin")) == 1
    assert builds(lib=double.Lib(multiprocessors=6)) == 1  # Xavier NX calls itself Xavier, too
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
        ({"builds": False}, "cannot build form int8: could not find any implementation\n"),
        ({"starts": False}, "cannot start on the board: pybind11"),
        ({"lacking": ("INT8",), "version": "11.0.0"}, "TensorRT 11.0.0 .* cannot be told INT8"),
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


def test_every_form_is_built_as_it_says(forms, tmp_path):
    """Explicit, implicit with its cache under this TensorRT's header, FP16 on a DLA, FP32 without TF32."""
    built = []
    assert forms_of(forms) == ["int8", "fp16", "fp32", "implicit"]
    assert [may_use_dla(forms, name) for name in forms_of(forms)] == [False, True, False, True]
    for form, dla in (
        (MAIN, None),
        ("implicit", None),
        ("implicit", 1),
        ("fp16", 0),
        ("fp32", None),
    ):
        for cached in (False, True):
            engine, _, _ = make(forms, tmp_path, form=form, dla=dla, built=built, version="8.6.1")
            assert engine.build["cached"] == cached
    explicit, implicit, on_dla, half, full = built
    assert explicit["flags"] == ["tf32", "int8", "fp16"]
    assert (explicit["scales"], explicit["precisions"], explicit["device"]) == (None, {}, "gpu")
    assert implicit["flags"] == ["tf32", "int8", "fp16", "obey"]
    assert implicit["scales"] == {"image": "3caa6000", "conv1": "3dcc8000"}
    assert implicit["precisions"] == {"final_layer": "float16"}
    assert (implicit["device"], on_dla["device"], on_dla["core"]) == ("gpu", "dla", 1)
    assert on_dla["flags"] == [*implicit["flags"], "fallback"]
    assert half["flags"] == ["tf32", "fp16", "fallback"]
    assert full["flags"] == []
    assert (
        "FP16 (fp16) on DLA 0 on Xavier" in make(forms, tmp_path, form="fp16", dla=0)[0].description
    )


def test_a_timing_cache_is_kept_for_its_gpu_and_version(forms, tmp_path):
    built = []
    for form in (MAIN, "fp16"):
        make(forms, tmp_path, form=form, built=built)
    make(forms, tmp_path, built=built, version="8.6.1")
    make(forms, tmp_path, built=built, lib=double.Lib(name=b"Orin"))
    assert [bool(found["timing"]) for found in built] == [False, True, False, False]
    assert built[1]["timing"] == b"8.5.2.2 timed;"
    (tmp_path / "engines").mkdir()
    for path in tmp_path.glob("*.timing"):  # damaged: the builder begins anew
        path.write_bytes(b"something else")
    make(forms, tmp_path, form="fp32", built=built)
    assert built[4]["timing"] == b""


@pytest.mark.parametrize(
    ("change", "options", "problem"),
    [
        ({}, {"form": "other"}, r"has no form 'other', it has int8, fp16, fp32, implicit"),
        ({}, {"dla": 0}, "form int8 cannot run on a DLA: it has explicit Q/DQ"),
        ({}, {"form": "fp32", "dla": 0}, "form fp32 cannot run on a DLA: a DLA computes in FP16"),
        ({}, {"form": "fp16", "dla": 2}, "the board has 2 DLA cores, there is no number 2"),
        ({}, {"form": "fp16", "dla": 0, "dlas": 0}, "the board has 0 DLA cores"),
        (
            {},
            {"form": "implicit", "layers": ("conv1",)},
            "no layer final_layer, which form implicit",
        ),
        (
            {"calibration_implicit": b"image: 1"},
            {"form": "implicit"},
            "cache begins with 'image: 1'",
        ),
        ({"build_implicit": b"{"}, {"form": "implicit"}, r"build_implicit\.json is no JSON"),
        ({"build_implicit": b"{}"}, {"form": "implicit"}, r"implicit\.json has no builder_flags"),
        ({"model_fp16": b"this is no xz file"}, {"form": "fp16"}, "damaged"),
    ],
)
def test_forms_that_cannot_be_built(forms, tmp_path, change, options, problem):
    for role, data in change.items():
        Path(forms.files[role]).write_bytes(data)
    with pytest.raises(DeviceError, match=problem) as caught:
        make(forms, tmp_path, **options)
    assert caught.value.fix
    assert not list(tmp_path.glob("*.engine"))


def test_engines_side_by_side_share_the_logger(forms, tmp_path):
    """TensorRT writes to the first logger that it was given: the second engine's words arrive, too."""
    lib = double.Lib()
    trt = double.make_trt(lib)
    options = {"engines": str(tmp_path), "trt": trt}
    first = module.TensorRtEngine(forms, cuda=Cuda(lib), **options)
    second = module.TensorRtEngine(forms, cuda=Cuda(lib), form="fp16", **options)
    log = building.logger_of(trt)
    log.log(trt.ILogger.ERROR, "of another engine")
    module.TensorRtEngine(forms, cuda=Cuda(lib), form="fp32", **options).close()
    assert log.lines == []
    for engine in (first, second):
        engine.close()
    assert not lib.device


def test_types_are_read_without_numpys_bool(contract, tmp_path):
    """tensorrt.nptype of 8.5.2 reads np.bool, which numpy 1.24 has not: it fails for every type."""
    used = ast.walk(ast.parse(Path(module.__file__).read_text()))
    assert "nptype" not in {node.attr for node in used if isinstance(node, ast.Attribute)}
    assert {"FLOAT", "HALF", "UINT8"} <= set(INVENTORY["classes"]["DataType"])
    engine, _, _ = make(contract, tmp_path)
    assert engine.infer(np.zeros((1, 3, 8, 8), np.float32)).dtype == np.float32


def test_a_changed_cache_or_setting_is_another_engine(forms, tmp_path):
    assert not make(forms, tmp_path, form="implicit")[0].build["cached"]
    Path(forms.files["calibration_implicit"]).write_bytes(CACHE.replace(b"3caa", b"3cab"))
    assert not make(forms, tmp_path, form="implicit")[0].build["cached"]
    said = {**FORMS["implicit"], "workspace_mib": 65}
    Path(forms.files["build_implicit"]).write_text(json.dumps(said))
    assert not make(forms, tmp_path, form="implicit")[0].build["cached"]
    assert make(forms, tmp_path, form="implicit")[0].build["cached"]
    assert not make(forms, tmp_path, form="implicit", dla=0)[0].build["cached"]


def test_the_engine_says_what_ran_in_which_precision(forms, tmp_path):
    """Of the planned convolutions those that ran otherwise are named; what is kept in float may be."""
    conv = double.convolution
    inspected = [
        conv("conv1.weight + QuantizeLinear_3 + conv1 + Relu_1", weights=3000),
        conv("layer1.conv || layer1.downsample", of="Half"),
        conv("up.0", kind="Deconvolution", shape=(1, 8, 2, 2), weights=4608),
        conv("final_layer", of="Half", weights=128),
        {**conv("PWN(Add_7)", of="Half"), "ParameterType": "PointWise"},
        {**conv("Reformatting CopyNode for Input Tensor 0 to conv1"), "ParameterType": "Reformat"},
        {**conv("{ForeignNode[a...b]}"), "ParameterType": "DLA"},
    ]  # fmt: skip
    implicit, _, _ = make(forms, tmp_path, form="implicit", inspected=inspected)
    half = {"name": "layer1.conv || layer1.downsample", "planned": "int8", "ran": "fp16"}
    macs = {"int8": 16 * 3000 + 4 * 4608, "fp16": 16 * (1152 + 128)}
    assert implicit.layers == {
        "planned": "int8", "counts": {"int8": 2, "fp16": 3, "unknown": 1},
        "convolutions": {"int8": 2, "fp16": 2}, "moves": 1, "other": [half],
        "mac_share": {k: round(v / sum(macs.values()), 5) for k, v in macs.items()},
    }  # fmt: skip
    explicit, _, _ = make(forms, tmp_path, inspected=inspected)
    assert [layer["name"] for layer in explicit.layers["other"]] == [half["name"], "final_layer"]
    fp16, _, _ = make(forms, tmp_path, form="fp16", inspected=inspected[1:2])
    assert fp16.layers["other"] == []
    fp32, _, _ = make(forms, tmp_path, form="fp32", inspected=[conv("conv1", of="Float")])
    assert (fp32.layers["convolutions"], fp32.layers["mac_share"]) == ({"fp32": 1}, {"fp32": 1.0})
    no_sizes = {**conv("conv1"), "Weights": {}}
    dumb, _, _ = make(forms, tmp_path, inspected=[no_sizes])
    assert (dumb.layers["convolutions"], dumb.layers["mac_share"]) == ({"int8": 1}, {})


@pytest.mark.parametrize("inspected", [[], None, [{"LayerType": "Convolution"}], [3]])
def test_an_inspector_that_says_nothing_costs_no_benchmark(contract, tmp_path, inspected):
    settings = settings_of(contract)
    found = layers_of(json.dumps({"Layers": inspected}), settings)
    assert "engine inspector cannot be read" in found["why_not"]
    names = layers_of(json.dumps({"Layers": ["conv1"]}), settings)  # built without details
    assert (names["counts"], names["convolutions"]) == ({"unknown": 1}, {})


def test_headers_of_caches():
    assert cache_for(CACHE, "8.6.1.6") == CACHE.replace(b"8502", b"8601")
    assert cache_for(CACHE, "10.3.0") == CACHE.replace(b"8502", b"100300")
    with pytest.raises(DeviceError, match="TensorRT's version is 'of unknown version'"):
        cache_for(CACHE, "of unknown version")


def test_cuda_errors_name_the_call():
    lib = double.Lib()
    cuda = Cuda(lib)
    lib.fail["cudaStreamSynchronize"] = 700
    with pytest.raises(DeviceError, match=r"cudaStreamSynchronize failed .*\(CUDA error 700\)"):
        cuda.synchronise()


LAYERS = json.dumps({"Layers": [double.convolution("conv1")], "Bindings": []})
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
    if o["profilingVerbosity"] == "detailed" and {layers!r}:
        open(o["exportLayerInfo"], "w").write({layers!r})
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
    program.write_text(TRTEXEC.format(python=sys.executable, broken=False, layers=LAYERS))
    program.chmod(0o755)
    engine = TrtexecEngine(contract, engines=str(tmp_path / "engines"), program=str(program))
    assert engine.description == "TensorRT 8.5.2 INT8 (int8) by trtexec, copies included"
    assert engine.build["engine_bytes"] == 9
    assert engine.layers["convolutions"] == {"int8": 1}
    assert engine.layers["other"] == []
    np.testing.assert_allclose(engine.infer(np.full((1, 3, 8, 8), 2.0, np.float32)), 2.0)
    assert engine.times_ms(calls=7, seconds=0, warmup_ms=0) == [2.5] * 7
    engine.close()
    assert not list((tmp_path / "engines").iterdir())
    program.write_text(TRTEXEC.format(python=sys.executable, broken=False, layers=""))
    mute = TrtexecEngine(contract, engines=str(tmp_path / "engines"), program=str(program))
    assert "cannot be read" in mute.layers["why_not"]
    mute.close()
    program.write_text(TRTEXEC.format(python=sys.executable, broken=True, layers=""))
    with pytest.raises(DeviceError, match=r"cannot build form int8: \[E\] Error\[10\]"):
        TrtexecEngine(contract, engines=str(tmp_path / "engines"), program=str(program))
    assert not list((tmp_path / "engines").iterdir())


def test_trtexec_builds_every_form(forms, tmp_path):
    log = tmp_path / "words"
    program = tmp_path / "trtexec"
    text = TRTEXEC.format(python=sys.executable, broken=False, layers=LAYERS)
    text = text.replace(' and "--int8" in sys.argv and "--fp16" in sys.argv', "")
    head, onnx, rest = text.partition('if "onnx" in o:')
    head += f'log = open({str(log)!r}, "a")\nlog.write(" ".join(sys.argv[1:]) + "\\n")\n'
    head += '"calib" in o and log.write(open(o["calib"]).readline())\n'
    text = head + '"--help" in sys.argv and sys.exit(0)\n' + onnx + rest
    program.write_text(text)
    program.chmod(0o755)
    for form, dla in (("implicit", 1), ("fp32", None)):
        TrtexecEngine(
            forms, engines=str(tmp_path / "e"), program=str(program), form=form, dla=dla
        ).infer(np.zeros((1, 3, 8, 8), np.float32))
    asked, build, header, ran, full, again = log.read_text().splitlines()
    assert asked == "--help"
    assert "--int8 --fp16 --calib=" in build
    assert "--precisionConstraints=obey --layerPrecisions=final_layer:fp16 " in build
    assert "--useDLACore=1 --allowGPUFallback" in build
    assert "--timingCacheFile=" in build
    assert header == "TRT-8502-EntropyCalibration2"
    assert "--useDLACore=1" in ran
    assert "--noTF32" in full
    assert "--int8" not in full
    assert "DLA" not in again


def test_what_trtexec_says():
    assert parse_version("[TensorRT v8502]") == "8.5.2"
    assert parse_version("[TensorRT v100300]") == "10.3.0"
    assert parse_version("no") == "of unknown version"
    for wrong in ([], [{"latencyMs": 0}], [{"latencyMs": float("nan")}]):
        with pytest.raises(ValueError, match="no usable times"):
            parse_times(wrong)
