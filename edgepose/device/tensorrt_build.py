"""From an artifact's form to an engine, by the board's own TensorRT (8.5 to 10; 11 has no calibrators)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

from .engine_settings import cache_for
from .errors import DeviceError

if TYPE_CHECKING:
    from .engine_settings import Settings

MIB = 1 << 20


@lru_cache(maxsize=None)
def logger_of(trt: Any) -> Any:
    """The logger that keeps what TensorRT complains about, for the message that the user reads.

    One per process: TensorRT writes to the first one that it was given, also for later engines, and
    after the engine that brought it is gone.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.lines.append(str(message))

    return Log()


def said(log: Any, extra: str = "") -> str:
    lines = [*([extra] if extra else []), *log.lines[-3:]]
    return "; ".join(lines) or "it did not say why"


def started(kind: Any, log: Any) -> Any:
    """A Builder or Runtime. Without a GPU that works, the constructor raises a TypeError of pybind11."""
    try:
        return kind(log)
    except TypeError as error:
        raise DeviceError(
            "TensorRT cannot start on the board: {}".format(said(log, str(error))),
            fix="see that trtexec runs there; free the GPU's memory of other programs",
        ) from error


def _flag(trt: Any, name: str) -> Any:
    """Of the builder, by name."""
    flag = getattr(trt.BuilderFlag, name, None)
    if flag is None:
        raise DeviceError(
            "TensorRT {} on the board cannot be told {}".format(trt.__version__, name),
            fix="use TensorRT 8.5 to 10 there, e.g. of JetPack 5",
        )
    return flag


def _calibrator(trt: Any, cache: bytes) -> Any:
    """A calibrator that has a cache and no images: every scale is known."""

    class Reader(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Any) -> None:
            return None

        def read_calibration_cache(self) -> bytes:
            return cache

        def write_calibration_cache(self, cache: Any) -> None:
            """The cache is the artifact's and stays as it is."""

    return Reader()


def _hold_precisions(trt: Any, network: Any, settings: Settings) -> None:
    """Layers that must not become INT8; DeviceError for one that the network does not have."""
    types = {"fp16": trt.float16, "fp32": trt.float32}
    waiting = dict(settings.layer_precisions)
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.name in waiting:
            layer.precision = types[waiting.pop(layer.name)]
    if waiting:
        raise DeviceError(
            "TensorRT's network has no layer {}, which form {} keeps in float".format(
                next(iter(waiting)), settings.form
            ),
            fix="this TensorRT names layers in another way: build another form",
        )


def _put_on_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    """Everything that the DLA takes on it, the rest on the GPU."""
    if not 0 <= core < int(builder.num_DLA_cores):
        raise DeviceError(
            "the board has {} DLA cores, there is no number {}".format(builder.num_DLA_cores, core),
            fix="leave out --dla, or give a lower number",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _timing_cache(config: Any, former: Optional[bytes]) -> None:
    """What earlier builds timed, where this TensorRT takes it; otherwise a new one."""
    kept = config.create_timing_cache(former) if former else None
    if kept is not None and config.set_timing_cache(kept, False):
        return
    config.set_timing_cache(config.create_timing_cache(b""), False)


def build_engine(
    trt: Any, log: Any, settings: Settings, *, timing: Optional[bytes] = None
) -> Tuple[bytes, bytes]:
    """(engine, timing cache), serialized; DeviceError with the parser's or the builder's own words.

    timing: what an earlier build gave as its timing cache
    """
    builder = started(trt.Builder, log)
    explicit = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    network = builder.create_network(explicit)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(settings.onnx()):
        problems = "; ".join(parser.get_error(i).desc() for i in range(min(parser.num_errors, 3)))
        raise DeviceError(
            "TensorRT {} on the board cannot read the model: {}".format(
                trt.__version__, said(log, problems)
            ),
            fix="check it with `edgepose lint`, and give the message to its author",
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib * MIB)
    for flag in settings.flags:
        config.set_flag(_flag(trt, flag))
    for flag in settings.cleared:
        config.clear_flag(_flag(trt, flag))
    calibrator = None
    if settings.cache is not None:
        calibrator = _calibrator(trt, cache_for(settings.cache, trt.__version__))
        config.int8_calibrator = calibrator
    _hold_precisions(trt, network, settings)
    if settings.dla is not None:
        _put_on_dla(trt, builder, config, settings.dla)
    _timing_cache(config, timing)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    serialized = builder.build_serialized_network(network, config)
    del calibrator  # the builder holds no reference of its own: it had to live until here
    if serialized is None:
        raise DeviceError(
            "TensorRT {} on the board cannot build form {}: {}".format(
                trt.__version__, settings.form, said(log)
            ),
            fix="free memory on the board and try again; else export in fp16 and compare",
        )
    return bytes(serialized), bytes(config.get_timing_cache().serialize())
