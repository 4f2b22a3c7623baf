"""ONNX Runtime on the board's CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from .cpu import SATURATING, instruction_set
from .engine_settings import MAIN, settings_of
from .errors import DeviceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .contract import Contract


class OrtEngine:
    """The counted file; of a TensorRT artifact the expanded ONNX, every Q/DQ literally."""

    runtime = "onnxruntime"

    def __init__(
        self,
        contract: Contract,
        *,
        threads: Optional[int] = None,
        form: str = MAIN,
        dla: Optional[int] = None,
    ) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.inter_op_num_threads = 1
        if threads is not None:
            options.intra_op_num_threads = threads
        self.stand_in = contract.runtime == "tensorrt"
        self.build: Dict[str, Any] = {}
        self.layers: Dict[str, Any] = {}
        note = ""
        if self.stand_in:
            model, note = self._stand_in(contract, form, dla)
            # Without this, ONNX Runtime turns Q/DQ into its own integer kernels, or half of them.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        elif form != MAIN or dla is not None:
            raise DeviceError(
                "{} has one form only".format(contract.name), fix="leave out --form and --dla"
            )
        elif contract.precision == "int8" and instruction_set() in SATURATING:
            # ORT format cannot switch on the exact mode; the results are those of the counted file.
            model = contract.onnx()
            options.add_session_config_entry("session.x64quantprecision", "1")
            note = " (no VNNI), model.onnx in exact mode"
        else:
            model = contract.read("model")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no other base
            raise DeviceError(
                "ONNX Runtime {} on the board cannot load {}: {}".format(
                    ort.__version__, contract.name, error
                ),
                fix="install a newer onnxruntime there, or export for an older one",
            ) from error
        found = [port.name for port in (*self._session.get_inputs(), *self._session.get_outputs())]
        if found != [contract.input_name, contract.output_name]:
            raise DeviceError(
                "the model file has {}, artifact.json says {}".format(
                    found, [contract.input_name, contract.output_name]
                ),
                fix="export again; the two files are not of one artifact",
            )
        first = self._session.get_inputs()[0].shape[0]
        self.fixed_batch: Optional[int] = first if isinstance(first, int) else None
        self._input, self._outputs = contract.input_name, [contract.output_name]
        self.description = "ONNX Runtime {} CPU {}{}".format(
            ort.__version__, instruction_set(), note
        )

    @staticmethod
    def _stand_in(contract: Contract, form: str, dla: Optional[int]) -> Tuple[bytes, str]:
        """A TensorRT form's ONNX, and what is to be said of executing it here."""
        if form == MAIN and dla is None:
            return contract.onnx(), ", Q/DQ literally; TensorRT not run"
        settings = settings_of(contract, form=form, dla=dla)
        if dla is not None or settings.cache is not None:
            raise DeviceError(
                "ONNX Runtime on the board has no {}".format(
                    "DLA" if dla is not None else "use for a calibration cache"
                ),
                fix="build form {} where TensorRT is".format(settings.form),
            )
        how = "Q/DQ literally" if settings.precision == "int8" else "in float32"
        return settings.onnx(), ", form {} {}; TensorRT not run".format(settings.form, how)

    def infer(self, images: NDArray[Any]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._session.run(self._outputs, {self._input: images})[0]
        return output

    def memory_bytes(self) -> Optional[int]:
        """Memory outside the process (a GPU's); None: there is none."""
        return None

    def close(self) -> None:
        del self._session
