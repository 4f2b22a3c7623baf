"""What can run a network on this board, and the choice among them."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from .engine_settings import MAIN
from .errors import DeviceError

if TYPE_CHECKING:
    from typing import Protocol

    import numpy as np
    from numpy.typing import NDArray

    from .contract import Contract

    class Engine(Protocol):
        """A network, loaded. `infer` returns when its result is in memory; the array that it
        returns may be reused by the next call. images: as `Contract.prepare` gives them

        stand_in: executes the file, but is not the runtime that it was made for
        build:    {"seconds", "cached", ...} where something was built on the board, else {}
        layers:   the engine's own word on its layers, see engine_layers.py; {} where it has none
        """

        description: str
        runtime: str
        stand_in: bool
        fixed_batch: Optional[int]
        build: Dict[str, Any]
        layers: Dict[str, Any]

        def infer(self, images: NDArray[Any]) -> NDArray[np.float32]: ...

        def memory_bytes(self) -> Optional[int]: ...

        def close(self) -> None: ...


TRTEXEC_PATHS = "/usr/src/tensorrt/bin:/opt/tensorrt/bin"


@dataclass(frozen=True)
class Found:
    """name: of the runtime; version: None where it cannot be used, `why` then says why not."""

    name: str
    version: Optional[str]
    why: Optional[str] = None


def _module(name: str) -> Found:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return Found(name, None, "cannot be imported: {}".format(error))
    except Exception as error:  # a broken installation may raise anything
        return Found(name, None, "fails on import: {}: {}".format(type(error).__name__, error))
    return Found(name, str(getattr(module, "__version__", "unknown")))


def trtexec_path() -> Optional[str]:
    """Where trtexec is: on the path, or where JetPack puts it."""
    return shutil.which("trtexec") or shutil.which("trtexec", path=TRTEXEC_PATHS)


def find_runtimes() -> List[Found]:
    """Every runtime that this runner knows, usable or not, best first."""
    tensorrt = _module("tensorrt")
    if tensorrt.version is not None:
        from .cuda import Cuda

        try:
            Cuda().close()
        except DeviceError as error:
            tensorrt = Found("tensorrt", None, error.problem)
    path = trtexec_path()
    trtexec = Found("trtexec", path, None if path else "is not installed")
    return [tensorrt, trtexec, _module("onnxruntime")]


def open_engine(
    contract: Contract,
    *,
    engines: str,
    threads: Optional[int] = None,
    runtime: str = "auto",
    form: str = MAIN,
    dla: Optional[int] = None,
) -> Engine:
    """Load the artifact with the best runtime of this board, building where that is needed.

    engines: folder of built engines; runtime: a name insists on that one
    form, dla: of a TensorRT artifact, see engine_settings
    A TensorRT artifact goes to TensorRT, to trtexec, or, only to be scored, to ONNX Runtime.
    Raises DeviceError where the board has none, with what was found instead.
    """
    wanted = {
        "tensorrt": ("tensorrt", "trtexec", "onnxruntime"),
        "onnx_mobile": ("onnxruntime",),
    }.get(contract.runtime)
    if wanted is None:
        raise DeviceError(
            "{} artifacts cannot run on this board".format(contract.runtime),
            fix="benchmark a tensorrt or onnx_mobile artifact there",
        )
    found = {item.name: item for item in find_runtimes()}
    for name in wanted:
        if runtime not in ("auto", name) or found[name].version is None:
            continue
        if name == "onnxruntime":
            from .ort_engine import OrtEngine

            return OrtEngine(contract, threads=threads, form=form, dla=dla)
        if name == "trtexec":
            from .trtexec_engine import TrtexecEngine

            return TrtexecEngine(
                contract, engines=engines, program=str(found[name].version), form=form, dla=dla
            )
        from .tensorrt_engine import TensorRtEngine

        return TensorRtEngine(contract, engines=engines, form=form, dla=dla)
    lacking = "; ".join(
        "{} {}".format(name, found[name].why or "was not asked for") for name in wanted
    )
    raise DeviceError(
        "no runtime on the board for a {} artifact: {}".format(contract.runtime, lacking),
        fix="install {} for the Python that runs there, or name another Python with "
        "--device-python".format(" or ".join(wanted)),
    )
