"""trtexec, where TensorRT has no Python: it builds, times itself, and runs one batch per process.

The engine is built for each benchmark, since its GPU is only known once trtexec has run. A process
for each batch makes scoring slow and end-to-end times meaningless, so there are none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import numpy as np

from .engine_layers import layers_of
from .engine_settings import MAIN, cache_for, settings_of
from .errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Contract
    from .engine_settings import Settings

BUILD_TIMEOUT_S = 3600


def parse_version(text: str) -> str:
    """ "[TensorRT v8502]" -> "8.5.2", "[TensorRT v100300]" -> "10.3.0"."""
    found = re.search(r"\[TensorRT v(\d{4,6})\]", text)
    if found is None:
        return "of unknown version"
    number = int(found.group(1))
    scale = 1000 if number < 10_000 else 10_000
    return "{}.{}.{}".format(number // scale, number % scale // 100, number % 100)


def parse_times(document: Any) -> List[float]:
    """`--exportTimes`: milliseconds of every inference in order, both copies included."""
    times = [float(entry["latencyMs"]) for entry in document]
    if not times or not all(0 < value < float("inf") for value in times):
        raise ValueError("no usable times")
    return times


def _timing_file(engines: str) -> str:
    """trtexec reads and writes it, and begins anew where it is another GPU's or version's."""
    return os.path.join(engines, "trtexec.timing")


class TrtexecEngine:
    """program: path of trtexec; form, dla: see engine_settings."""

    runtime = "trtexec"
    stand_in = False

    def __init__(
        self,
        contract: Contract,
        *,
        engines: str,
        program: str,
        form: str = MAIN,
        dla: Optional[int] = None,
    ) -> None:
        settings = settings_of(contract, form=form, dla=dla)
        self._program, self._contract = program, contract
        os.makedirs(engines, exist_ok=True)
        self._folder = tempfile.mkdtemp(prefix="trtexec-", dir=engines)
        self._engine = os.path.join(self._folder, "model.engine")
        self._layers_file = os.path.join(self._folder, "layers.json")
        self._device = [] if dla is None else ["--useDLACore={}".format(dla)]
        start = time.perf_counter()
        try:
            said = self._run(
                [*self._options(settings), "--timingCacheFile=" + _timing_file(engines),
                 "--profilingVerbosity=detailed", "--exportLayerInfo=" + self._layers_file,
                 "--saveEngine=" + self._engine, "--iterations=1", "--duration=0", "--warmUp=0"],
                "cannot build form {}".format(settings.form),
            )  # fmt: skip
        except DeviceError:
            self.close()
            raise
        self.build: Dict[str, Any] = {
            "seconds": time.perf_counter() - start, "cached": False, "form": settings.form,
            "dla": "none" if dla is None else str(dla),
            "tensorrt": parse_version(said), "engine_bytes": os.path.getsize(self._engine),
        }  # fmt: skip
        self.layers = layers_of(self._inspected(), settings)
        self.fixed_batch: Optional[int] = contract.fixed_batch
        self.description = "TensorRT {} {} by trtexec, copies included".format(
            parse_version(said), settings.label
        )

    def _inspected(self) -> str:
        """What trtexec wrote of the layers; "" where it wrote nothing."""
        if not os.path.exists(self._layers_file):
            return ""
        with open(self._layers_file, encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def _options(self, settings: Settings) -> List[str]:
        """The files of a form, written where trtexec finds them, and its words for the settings."""
        files = {"model.onnx": settings.onnx()}
        known = [flag for flag in settings.flags if flag in ("INT8", "FP16")]
        options = ["--" + flag.lower() for flag in known]
        options += ["--no" + flag for flag in settings.cleared if flag == "TF32"]
        if settings.cache is not None:
            version = parse_version(self._run(["--help"], "does not answer"))
            files["calibration.cache"] = cache_for(settings.cache, version)
            options.append("--calib=" + os.path.join(self._folder, "calibration.cache"))
        if settings.layer_precisions:
            layers = ["{}:{}".format(*pair) for pair in settings.layer_precisions.items()]
            options += ["--precisionConstraints=obey", "--layerPrecisions=" + ",".join(layers)]
        if self._device:
            options += [*self._device, "--allowGPUFallback"]
        for name, data in files.items():
            with open(os.path.join(self._folder, name), "wb") as stream:
                stream.write(data)
        onnx = os.path.join(self._folder, "model.onnx")
        return [
            "--onnx=" + onnx, *options, "--memPoolSize=workspace:{}".format(settings.workspace_mib),
        ]  # fmt: skip

    def _run(self, options: List[str], what: str) -> str:
        try:
            done = subprocess.run(
                [self._program, *options],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                timeout=BUILD_TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(
                "trtexec {}: {}".format(what, error), fix="run trtexec there by hand"
            ) from error
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode != 0:
            errors = [line for line in text.splitlines() if "[E]" in line] or text.splitlines()
            raise DeviceError(
                "trtexec on the board {}: {}".format(what, "; ".join(errors[-3:])),
                fix="free memory on the board and try again; check the model with `edgepose lint`",
            )
        return text

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """One process per call: for scoring, never for timing."""
        source = os.path.join(self._folder, "input.bin")
        result = os.path.join(self._folder, "output.json")
        with open(source, "wb") as stream:
            stream.write(np.ascontiguousarray(images).tobytes())
        loaded = "--loadInputs={}:{}".format(self._contract.input_name, source)
        self._run(
            ["--loadEngine=" + self._engine, *self._device, loaded, "--exportOutput=" + result,
             "--iterations=1", "--duration=0", "--warmUp=0"],
            "cannot run the engine",
        )  # fmt: skip
        try:
            with open(result, encoding="utf-8") as stream:
                entries = {entry["name"]: entry for entry in json.load(stream)}
            entry = entries[self._contract.output_name]
            shape = [int(side) for side in re.findall(r"\d+", str(entry["dimensions"]))]
            return np.array(entry["values"], dtype=np.float32).reshape(shape)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeviceError(
                "trtexec's output file cannot be read: {}".format(error),
                fix="install TensorRT's Python package (python3-libnvinfer) on the board",
            ) from error

    def times_ms(self, *, calls: int, seconds: float, warmup_ms: int) -> List[float]:
        """trtexec's own time of every inference."""
        result = os.path.join(self._folder, "times.json")
        self._run(
            ["--loadEngine=" + self._engine, *self._device, "--exportTimes=" + result,
             "--iterations={}".format(calls), "--duration={:.0f}".format(seconds),
             "--warmUp={}".format(warmup_ms)],
            "cannot time the engine",
        )  # fmt: skip
        try:
            with open(result, encoding="utf-8") as stream:
                return parse_times(json.load(stream))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeviceError(
                "trtexec's times cannot be read: {}".format(error),
                fix="install TensorRT's Python package (python3-libnvinfer) on the board",
            ) from error

    def memory_bytes(self) -> Optional[int]:
        """Not known: the memory is another process's."""
        return None

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
