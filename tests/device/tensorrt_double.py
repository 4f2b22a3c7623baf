"""A stand-in for TensorRT 8.5 and libcudart: it keeps their rules and has none but their names.

Memory on the "GPU" is a dictionary of byte arrays; copies happen only at synchronisation, so a
forgotten one gives wrong numbers. Every class is checked against the inventory of the real wheel.
"""

import ctypes
import enum
import json
from pathlib import Path

import numpy as np

INVENTORY = json.loads(Path(__file__).with_name("tensorrt-8.5.2.2.json").read_text())


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


class Lib:
    """The functions of libcudart that are called, by their C names and codes."""

    def __init__(self, *, name=b"Xavier", memory_bytes=1 << 30, multiprocessors=8):
        self.name, self.memory_bytes = name, memory_bytes
        self.multiprocessors = multiprocessors
        self.device, self.pinned, self.queue, self.synchronised, self.streams = {}, {}, [], 0, 0
        self.fail = {}
        self.cudaGetErrorString = self._Text(b"a reason")

    class _Text:
        restype = None

        def __init__(self, text):
            self.text = text

        def __call__(self, code):
            return self.text

    def __getattribute__(self, name):
        fail = object.__getattribute__(self, "__dict__").get("fail", {})
        if name in fail:
            return lambda *arguments: fail[name]
        return object.__getattribute__(self, name)

    def cudaStreamCreate(self, stream):
        stream._obj.value = 77
        self.streams += 1
        return 0

    def cudaStreamDestroy(self, stream):
        self.streams -= 1
        return 0

    def _give(self, where, pointer, size):
        if sum(len(b) for b in where.values()) + size.value > self.memory_bytes:
            return 2
        block = (ctypes.c_uint8 * size.value)()
        pointer._obj.value = ctypes.addressof(block)
        where[pointer._obj.value] = block
        return 0

    def cudaMalloc(self, pointer, size):
        return self._give(self.device, pointer, size)

    def cudaMallocHost(self, pointer, size):
        return self._give(self.pinned, pointer, size)

    def cudaFree(self, pointer):
        return 0 if self.device.pop(pointer.value, None) is not None else 1

    def cudaFreeHost(self, pointer):
        return 0 if self.pinned.pop(pointer.value, None) is not None else 1

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        assert stream.value == 77
        to, of = (self.device, self.pinned) if kind.value == 1 else (self.pinned, self.device)
        assert len(to[target.value]) == len(of[source.value]) == size.value
        self.queue.append(lambda: ctypes.memmove(target.value, source.value, size.value))
        return 0

    def cudaStreamSynchronize(self, stream):
        for step in self.queue:
            step()
        self.queue.clear()
        self.synchronised += 1
        return 0

    def cudaGetDeviceProperties(self, properties, device):
        properties[: len(self.name)] = self.name
        return 0

    def cudaDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = {75: 7, 76: 2, 16: self.multiprocessors}[attribute.value]
        return 0

    def cudaRuntimeGetVersion(self, value):
        value._obj.value = 11040
        return 0

    def cudaMemGetInfo(self, free, total):
        total._obj.value = self.memory_bytes
        free._obj.value = self.memory_bytes - sum(len(b) for b in self.device.values())
        return 0


def convolution(name, *, of="Int8", kind="Convolution", shape=(1, 8, 4, 4), weights=1152):
    """A layer in the words of TensorRT 8.5's engine inspector, built with all details."""
    formats = {
        "Int8": "Thirty-two wide channel vectorized row major Int8 format.",
        "Half": "Channel major FP16 format where channel % 8 == 0",
        "Float": "Row major linear FP32",
    }
    port = {"Name": name + " in", "Dimensions": list(shape), "Format/Datatype": formats[of]}
    return {
        "Name": name, "LayerType": "Cask" + kind, "Inputs": [port],
        "Outputs": [{**port, "Name": name + " out"}], "ParameterType": kind,
        "Weights": {"Type": of, "Count": weights}, "Bias": {"Type": "Float", "Count": 8},
    }  # fmt: skip


def make_trt(
    lib,
    *,
    version="8.5.2.2",
    shapes=None,
    parses=True,
    builds=True,
    half=False,
    dlas=2,
    layers=("conv1", "final_layer"),
    built=None,
    inspected=None,
    image=np.float32,
    starts=True,
    lacking=(),
):
    """A module like `tensorrt`: its "engine" gives heatmaps that are the mean of the image.

    dlas: cores of the board; layers: of whatever is parsed; built: a list that gets what was built
    starts: without, as where CUDA fails; lacking: builder flags of which a later version has none
    image: type of the input; inspected: the engine's layers as its inspector tells them, see `convolution`
    """
    shapes = shapes or {"image": (1, 3, 8, 8), "heatmaps": (1, 2, 2, 2)}
    made, loggers = [], []
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    header = f"TRT-{major}{minor}{patch:02d}"

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = "error", "internal", "warning"

    def registered(logger):
        """The library keeps the first logger that it is given, and writes to it from then on."""
        assert isinstance(logger, ILogger)
        if not starts:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        loggers.append(logger)
        assert logger is loggers[0], "two loggers in one process"

    class DataType(enum.Enum):
        FLOAT, HALF, UINT8 = "float32", "float16", "uint8"

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        EXPLICIT_BATCH = 0

    class MemoryPoolType:
        WORKSPACE = "workspace"

    class BuilderFlag:
        FP16, INT8, TF32 = "fp16", "int8", "tf32"
        GPU_FALLBACK, OBEY_PRECISION_CONSTRAINTS = "fallback", "obey"

    for flag in lacking:
        delattr(BuilderFlag, flag)

    class DeviceType:
        GPU, DLA = "gpu", "dla"

    class ProfilingVerbosity:
        LAYER_NAMES_ONLY, NONE, DETAILED = "names", "none", "detailed"

    class LayerInformationFormat:
        ONELINE, JSON = "oneline", "json"

    class IInt8EntropyCalibrator2:
        pass

    class ILayer:
        def __init__(self, name):
            self.name, self.precision = name, None

    class ITimingCache:
        def __init__(self, data):
            self._data = data

        def serialize(self):
            return memoryview(self._data)

    class TensorIOMode:
        INPUT, OUTPUT = "in", "out"

    class INetworkDefinition:
        def __init__(self):
            self._layers = [ILayer(name) for name in layers]

        @property
        def num_layers(self):
            return len(self._layers)

        def get_layer(self, index):
            return self._layers[index]

    class ParserError:
        def desc(self):
            return "node Resize is not supported"

    class OnnxParser:
        def __init__(self, network, logger):
            assert isinstance(network, INetworkDefinition)
            self.num_errors = 0

        def parse(self, onnx):
            assert isinstance(onnx, bytes)
            self.num_errors = 0 if parses else 1
            return parses

        def get_error(self, index):
            return ParserError()

    class IBuilderConfig:
        int8_calibrator = None
        default_device_type = DeviceType.GPU
        DLA_core = -1
        profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

        def __init__(self):
            self._flags, self._pools, self._timing = ["tf32"], {}, None

        def set_flag(self, flag):
            self._flags.append(flag)

        def clear_flag(self, flag):
            self._flags.remove(flag)

        def create_timing_cache(self, data):
            """None where the data is no timing cache, as the C++ samples expect it."""
            assert isinstance(data, bytes)
            return ITimingCache(data) if not data or data.endswith(b" timed;") else None

        def set_timing_cache(self, cache, ignore_mismatch):
            """Of this version, or empty. pybind11 refuses None for a reference."""
            if not isinstance(cache, ITimingCache):
                raise TypeError("set_timing_cache(): incompatible function arguments")
            fits = not cache._data or cache._data.startswith(version.encode())
            self._timing = cache if fits else self._timing
            return fits

        def get_timing_cache(self):
            return self._timing

        def set_memory_pool_limit(self, pool, size):
            self._pools[pool] = size

    class Builder:
        num_DLA_cores = dlas

        def __init__(self, logger):
            registered(logger)
            self._logger = logger

        def create_network(self, flags):
            assert flags == 1
            return INetworkDefinition()

        def create_builder_config(self):
            return IBuilderConfig()

        def build_serialized_network(self, network, config):
            made.append((config._flags, config._pools))
            known = bytes(config._timing.serialize())
            config._timing = ITimingCache(known + (b"" if known else version.encode()) + b" timed;")
            calibrator, scales = config.int8_calibrator, None
            if calibrator is not None:
                cache = calibrator.read_calibration_cache()
                if not cache.startswith(header.encode() + b"-EntropyCalibration2\n"):
                    assert calibrator.get_batch_size() == 1
                    assert calibrator.get_batch(["image"]) is None
                    self._logger.log(ILogger.ERROR, "calibration has no images")
                    return None
                scales = dict(line.split(": ") for line in cache.decode().split("\n")[1:] if line)
                calibrator.write_calibration_cache(cache)
            if built is not None:
                built.append({
                    "flags": config._flags, "scales": scales, "timing": known,
                    "device": config.default_device_type, "core": config.DLA_core,
                    "precisions": {x.name: x.precision.value for x in network._layers if x.precision},
                })  # fmt: skip
            if not builds:
                self._logger.log(ILogger.WARNING, "unimportant")
                self._logger.log(ILogger.ERROR, "could not find any implementation")
                return None
            return memoryview(f"engine of {version} {config.profiling_verbosity}".encode())

    class IExecutionContext:
        def __init__(self, verbosity):
            self._at, self.nvtx_verbosity = {}, verbosity

        def set_tensor_address(self, name, address):
            self._at[name] = address
            return address in lib.device

        def execute_async_v3(self, stream):
            assert stream == 77

            assert self.nvtx_verbosity == ProfilingVerbosity.NONE, "markers slow every launch"

            def launch():
                source = lib.device[self._at["image"]]
                pixels = np.frombuffer(source, image).reshape(shapes["image"])
                result = np.frombuffer(lib.device[self._at["heatmaps"]], np.float32)
                result.reshape(shapes["heatmaps"])[:] = pixels.mean()

            lib.queue.append(launch)
            return True

    class EngineInspector:
        def __init__(self, detailed):
            self._detailed = detailed

        def get_engine_information(self, how):
            assert how == LayerInformationFormat.JSON
            told = [convolution(name) for name in layers] if inspected is None else inspected
            told = told if self._detailed else [layer["Name"] for layer in told]
            return json.dumps({"Layers": told, "Bindings": list(shapes)})

    class ICudaEngine:
        num_io_tensors = 2

        def __init__(self, verbosity):
            self._verbosity = verbosity

        def create_engine_inspector(self):
            return EngineInspector(self._verbosity == ProfilingVerbosity.DETAILED)

        def get_tensor_name(self, index):
            return list(shapes)[index]

        def get_tensor_mode(self, name):
            return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

        def get_tensor_shape(self, name):
            return shapes[name]

        def get_tensor_dtype(self, name):
            if name == "image":
                return DataType(np.dtype(image).name)
            return DataType.HALF if half else DataType.FLOAT

        def create_execution_context(self):
            return IExecutionContext(self._verbosity)

    class Runtime:
        DLA_core = -1

        def __init__(self, logger):
            registered(logger)

        def deserialize_cuda_engine(self, data):
            assert isinstance(data, bytes)
            *_, made_by, verbosity = data.decode().split(" ")
            return ICudaEngine(verbosity) if made_by == version else None

    class Module:
        __version__ = version
        float16, float32 = DataType.HALF, DataType.FLOAT

    for thing in (ILogger, DataType, NetworkDefinitionCreationFlag, MemoryPoolType, BuilderFlag, TensorIOMode,
                  DeviceType, ProfilingVerbosity, LayerInformationFormat, EngineInspector,
                  IInt8EntropyCalibrator2, ILayer, ITimingCache,
                  INetworkDefinition, ParserError, OnnxParser, IBuilderConfig, Builder,
                  IExecutionContext, ICudaEngine, Runtime):  # fmt: skip
        setattr(Module, thing.__name__, thing)
    Module.made = made
    return Module
