"""TensorRT 8.5 and newer: build on the board, then one copy in, one launch, one copy out.

Memory is allocated once, copies are asynchronous from page-locked memory, and `infer` returns after
the stream was synchronised: its time includes both copies.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import numpy as np

from .cuda import Cuda
from .engine_files import load_engine, save_engine
from .errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Contract

MIB = 1 << 20


def _logger(trt: Any) -> Any:
    """A logger that keeps what TensorRT complains about, for the message that the user reads."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.lines.append(str(message))

    return Log()


def _said(log: Any, extra: str = "") -> str:
    lines = [*([extra] if extra else []), *log.lines[-3:]]
    return "; ".join(lines) or "it did not say why"


def _build(trt: Any, log: Any, onnx: bytes, settings: Dict[str, Any]) -> bytes:
    """The serialized engine; DeviceError with the parser's or the builder's own words."""
    builder = trt.Builder(log)
    explicit = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(explicit)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        problems = "; ".join(parser.get_error(i).desc() for i in range(min(parser.num_errors, 3)))
        raise DeviceError(
            "TensorRT {} on the board cannot read the model: {}".format(
                trt.__version__, _said(log, problems)
            ),
            fix="check it with `edgepose lint`, and give the message to its author",
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace_mib"] * MIB)
    for flag in settings["builder_flags"]:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise DeviceError(
            "TensorRT {} on the board cannot build an engine: {}".format(
                trt.__version__, _said(log)
            ),
            fix="free memory on the board and try again; else export in fp16 and compare",
        )
    return bytes(serialized)


class TensorRtEngine:
    """An engine that belongs to this GPU. engines: folder of those built before.

    trt, cuda: the modules to use; a test gives its own
    """

    runtime = "tensorrt"
    stand_in = False

    def __init__(
        self, contract: Contract, *, engines: str, trt: Any = None, cuda: Optional[Cuda] = None
    ) -> None:
        if trt is None:
            trt = importlib.import_module("tensorrt")
        self._cuda = Cuda() if cuda is None else cuda
        gpu, capability = self._cuda.gpu()
        log = _logger(trt)
        settings = json.loads(contract.read("build").decode())
        onnx = contract.onnx()
        facts = {
            "gpu": gpu, "capability": "{}.{}".format(*capability), "tensorrt": trt.__version__,
            "cuda": self._cuda.version(), "precision": contract.precision,
            "model": _sha(contract.read("model")), "build": _sha(contract.read("build")),
        }  # fmt: skip
        start = time.perf_counter()
        kept = load_engine(engines, facts)
        self._runtime = trt.Runtime(log)
        self._engine: Any = None if kept is None else self._runtime.deserialize_cuda_engine(kept[0])
        cached = self._engine is not None
        if self._engine is None:
            serialized = _build(trt, log, onnx, settings)
            save_engine(engines, facts, serialized, time.perf_counter() - start)
            self._engine = self._runtime.deserialize_cuda_engine(serialized)
            kept = serialized, time.perf_counter() - start
        if self._engine is None:
            raise DeviceError(
                "TensorRT cannot load the engine that it built: {}".format(_said(log)),
                fix="update TensorRT on the board, or free its memory",
            )
        assert kept is not None
        self.build: Dict[str, Any] = {"seconds": kept[1], "cached": cached, **facts}
        self.build["engine_bytes"] = len(kept[0])
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceError(
                "no memory on the GPU to run the engine: {}".format(_said(log)),
                fix="close other programs that use the GPU",
            )
        self._bind(trt, contract)
        self.description = "TensorRT {} {} on {} (sm_{}{}), CUDA {}, copies included".format(
            trt.__version__, contract.precision.upper(), gpu, *capability, facts["cuda"]
        )

    def _bind(self, trt: Any, contract: Contract) -> None:
        """Memory for one input and one output, named as the contract names them."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        wanted = [contract.input_name, contract.output_name]
        inputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        if sorted(names) != sorted(wanted) or inputs != wanted[:1]:
            raise DeviceError(
                "the engine has the tensors {}, artifact.json says {}".format(names, wanted),
                fix="export again; the files are not of one artifact",
            )
        self._views: Dict[str, NDArray[Any]] = {}
        self._device: Dict[str, int] = {}
        self._host: Dict[str, int] = {}
        for name in wanted:
            shape = tuple(int(side) for side in self._engine.get_tensor_shape(name))
            dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            if min(shape) < 1 or dtype != np.float32:
                raise DeviceError(
                    "tensor {} of the engine is {} {}, not float32 of a fixed shape".format(
                        name, dtype, shape
                    ),
                    fix="export for this target again; its models take one fixed batch",
                )
            size = int(np.prod(shape)) * dtype.itemsize
            memory = self._cuda.pinned(size)
            self._views[name] = np.frombuffer(memory, dtype=dtype).reshape(shape)
            self._host[name] = ctypes.addressof(memory)
            self._device[name] = self._cuda.malloc(size)
            if not self._context.set_tensor_address(name, self._device[name]):
                raise DeviceError(
                    "TensorRT refused the memory of tensor {}".format(name),
                    fix="update TensorRT on the board; 8.5 is the oldest that works",
                )
        self._input, self._output = wanted
        self.fixed_batch: Optional[int] = int(self._views[self._input].shape[0])

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """The result is a view of page-locked memory: the next call overwrites it."""
        source, result = self._views[self._input], self._views[self._output]
        if images.shape != source.shape:
            raise DeviceError(
                "the engine takes {}, not {}".format(source.shape, images.shape),
                fix="give batches of the size that it was built for",
            )
        np.copyto(source, images)
        self._cuda.to_device(self._device[self._input], self._host[self._input], source.nbytes)
        if not self._context.execute_async_v3(int(self._cuda.stream.value or 0)):
            raise DeviceError(
                "TensorRT could not run the engine", fix="look at the board's log (dmesg)"
            )
        self._cuda.to_host(self._host[self._output], self._device[self._output], result.nbytes)
        self._cuda.synchronise()
        return result

    def memory_bytes(self) -> Optional[int]:
        """GPU memory in use, by all programs."""
        return self._cuda.used_bytes()

    def close(self) -> None:
        self._views.clear()
        self._context = self._engine = self._runtime = None
        self._cuda.close()


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
