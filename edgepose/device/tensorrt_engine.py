"""TensorRT 8.5 to 10: build on the board, then one copy in, one launch, one copy out.

Memory is allocated once, copies are asynchronous from page-locked memory, and `infer` returns after
the stream was synchronised: its time includes both copies.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import time
from typing import TYPE_CHECKING, Any, Dict, Optional

import numpy as np

from .cuda import Cuda
from .engine_files import load_engine, load_timing, save_engine, save_timing
from .engine_layers import layers_of
from .engine_settings import MAIN, settings_of
from .errors import DeviceError
from .tensorrt_build import build_engine, logger_of, said, started

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Contract

# Not by tensorrt.nptype: 8.5's reads np.bool, which numpy 1.24 has not.
_NUMPY = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8"}


class TensorRtEngine:
    """An engine that belongs to this GPU. engines: folder of those built before.

    form: of the artifact, dla: a DLA core or None, see engine_settings
    trt, cuda: the modules to use; a test gives its own
    """

    runtime = "tensorrt"
    stand_in = False

    def __init__(
        self,
        contract: Contract,
        *,
        engines: str,
        form: str = MAIN,
        dla: Optional[int] = None,
        trt: Any = None,
        cuda: Optional[Cuda] = None,
    ) -> None:
        settings = settings_of(contract, form=form, dla=dla)
        if trt is None:
            trt = importlib.import_module("tensorrt")
        self._cuda = Cuda() if cuda is None else cuda
        gpu, capability = self._cuda.gpu()
        log = logger_of(trt)
        log.lines.clear()
        place = {
            "gpu": gpu, "capability": "{}.{}".format(*capability), "tensorrt": trt.__version__,
            "multiprocessors": str(self._cuda.multiprocessors()), "cuda": self._cuda.version(),
        }  # fmt: skip
        facts = {
            **place, "precision": settings.precision, "form": settings.form,
            "dla": "none" if dla is None else str(dla), "model": _sha(settings.model),
            "build": _sha(settings.build), "calibration": _sha(settings.cache or b""),
            "profiling": "detailed",
        }  # fmt: skip
        start = time.perf_counter()
        kept = load_engine(engines, facts)
        self._runtime = started(trt.Runtime, log)
        if dla is not None:
            self._runtime.DLA_core = dla
        self._engine: Any = None if kept is None else self._runtime.deserialize_cuda_engine(kept[0])
        cached = self._engine is not None
        if self._engine is None:
            timing = load_timing(engines, place)
            serialized, timed = build_engine(trt, log, settings, timing=timing)
            kept = serialized, time.perf_counter() - start
            save_engine(engines, facts, *kept)
            save_timing(engines, place, timed)
            self._engine = self._runtime.deserialize_cuda_engine(serialized)
        if self._engine is None:
            raise DeviceError(
                "TensorRT cannot load the engine that it built: {}".format(said(log)),
                fix="update TensorRT on the board, or free its memory",
            )
        assert kept is not None
        self.build: Dict[str, Any] = {"seconds": kept[1], "cached": cached, **facts}
        self.build["engine_bytes"] = len(kept[0])
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DeviceError(
                "no memory on the GPU to run the engine: {}".format(said(log)),
                fix="close other programs that use the GPU",
            )
        # Markers for profilers, which details switch on, would slow every launch.
        self._context.nvtx_verbosity = trt.ProfilingVerbosity.NONE
        self.layers = layers_of(self._inspected(trt), settings)
        self._bind(trt, contract)
        self.description = "TensorRT {} {} on {} (sm_{}{}), CUDA {}, copies included".format(
            trt.__version__, settings.label, gpu, *capability, facts["cuda"]
        )

    def _inspected(self, trt: Any) -> str:
        """The engine inspector's JSON of the whole engine; "" where there is none."""
        inspector = self._engine.create_engine_inspector()
        if inspector is None:
            return ""
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

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
            kind = str(self._engine.get_tensor_dtype(name).name)
            image = name == contract.input_name and contract.where == "graph"
            needed = "uint8" if image else "float32"
            if min(shape) < 1 or _NUMPY.get(kind) != needed:
                raise DeviceError(
                    "tensor {} of the engine is {} {}, not {} of a fixed shape".format(
                        name, _NUMPY.get(kind, kind), shape, needed
                    ),
                    fix="export for this target again; its models take one fixed batch",
                )
            dtype = np.dtype(needed)
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

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
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
