"""Implicit INT8: the plain float network and a calibration cache with the scale of every tensor.

It is the only INT8 that NVIDIA's DLA takes. The scales are those of the quantization plan, read off the
Q/DQ graph under the tensors' own names. A cache's text (TensorRT's samples, sampleINT8's README): one
line with version and calibrator, then `name: scale`, the scale as the bits of a float32 in hexadecimal;
a tensor reaches from -127 scales to 127.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping

import numpy as np

from edgepose.backends.onnx_graph.canonical import (
    DEQUANTIZE,
    QUANTIZE,
    grid_of,
    is_movement,
    moved_inputs,
)
from edgepose.backends.onnx_graph.graph import Graph, Node, replace_inputs
from edgepose.errors import EdgeposeError

CALIBRATOR = "EntropyCalibration2"
TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
WRITTEN_FOR = 8502
"""TensorRT 8.5.2, as its own caches say it; the builder on the board puts its own version there."""


def tensor_scales(quantized: Graph, plain: Graph) -> dict[str, float]:
    """Scale of every tensor of `plain` that is INT8 in `quantized`, the same network with Q/DQ.

    What only moves values keeps the scale. A tensor that nothing but a ReLU reads has the ReLU's: both
    are one kernel. Tensors without a scale are float in either, the heatmaps among them.
    """
    found: dict[str, float] = {}
    for node in quantized.nodes:
        grid = None
        if node.op == QUANTIZE and node.inputs[0] not in quantized.constants:
            grid = grid_of(quantized, node)
        if grid is not None:
            found[node.inputs[0]] = grid[0]
    known = {port.name for port in plain.inputs} | set(plain.producers)
    strangers = sorted(set(found) - known)
    if strangers:
        raise EdgeposeError(
            f"the float network has no tensor {strangers[0]}, the quantized one has",
            fix="this is a defect of edgepose; report it with the model",
        )
    for node in plain.nodes:
        if is_movement(node):
            scales = {found.get(name) for name in moved_inputs(node)}
            if len(scales) == 1 and None not in scales:
                found.update(dict.fromkeys(node.outputs, scales.pop() or 0.0))
    for node in plain.nodes:
        source = plain.producers.get(node.inputs[0]) if node.op == "Relu" else None
        alone = source is not None and len(plain.consumers[node.inputs[0]]) == 1
        if alone and node.output in found and not _float_layer(quantized, source):
            found.setdefault(node.inputs[0], found[node.output])
    order = [port.name for port in plain.inputs] + [n for node in plain.nodes for n in node.outputs]
    return {name: found[name] for name in order if name in found}


def _float_layer(quantized: Graph, node: Node | None) -> bool:
    """Whether the convolution of that name has float weights in the quantized graph."""
    if node is None or node.op not in ("Conv", "ConvTranspose"):
        return False
    same = next((n for n in quantized.nodes if n.name == node.name), None)
    return same is None or quantized.producer(same.inputs[1], DEQUANTIZE) is None


def float_nodes(quantized: Graph, plain: Graph, scales: Mapping[str, float]) -> tuple[str, ...]:
    """The operators of `plain` that must not become INT8: those with a tensor without a scale, and the
    convolutions that the plan keeps in float."""
    kept = []
    for node in plain.nodes:
        tensors = [n for n in (*node.inputs, *node.outputs) if n and n not in plain.constants]
        if not is_movement(node) and (
            any(name not in scales for name in tensors) or _float_layer(quantized, node)
        ):
            kept.append(node.name)
    return tuple(kept)


def cache_bytes(scales: Mapping[str, float]) -> bytes:
    """The calibration cache as TensorRT writes it.

    Raises EdgeposeError for a name that a line cannot hold and a scale that is no float32.
    """
    lines = [f"TRT-{WRITTEN_FOR}-{CALIBRATOR}"]
    for name, scale in scales.items():
        if not name or ": " in name or "\n" in name or not TINY <= scale <= HUGE:
            raise EdgeposeError(
                f"a calibration cache cannot hold tensor {name!r} with scale {scale!r}",
                fix="rename the module, or calibrate again",
            )
        lines.append(f"{name}: {struct.pack('>f', scale).hex()}")
    return ("\n".join(lines) + "\n").encode()


def read_cache(data: bytes) -> dict[str, float]:
    """{tensor: scale} of a calibration cache; EdgeposeError where it is none."""
    problem = ""
    scales: dict[str, float] = {}
    try:
        header, *lines = data.decode().splitlines()
        if not (header.startswith("TRT-") and header.endswith(f"-{CALIBRATOR}")):
            problem = f"its first line is {header[:60]!r}"
        for line in lines:
            name, _, bits = line.rpartition(": ")
            scale = struct.unpack(">f", bytes.fromhex(bits))[0]
            if not name or name in scales or not 0 < scale < float("inf"):
                problem = problem or f"line {line[:80]!r}"
            scales[name] = scale
    except (ValueError, struct.error) as error:
        problem = str(error)
    if problem or not scales:
        raise EdgeposeError(
            f"the calibration cache cannot be read: {problem or 'it names no tensor'}",
            fix="export again, or copy the whole artifact folder again",
        )
    return scales


def as_documented(
    plain: Graph, scales: Mapping[str, float], *, kept_float: Collection[str]
) -> Graph:
    """The float network as TensorRT documents implicit INT8, with Q/DQ, to be executed literally.

    Every tensor with a scale is rounded to its grid, weights to one of max / 127 per output channel
    (TensorRT chooses those itself), except those of the operators in `kept_float`.
    """
    constants, nodes, renamed = dict(plain.constants), [], {}

    def pair(name: str) -> list[Node]:
        constants[f"{name}.q.scale"] = np.array(scales[name], np.float32)
        constants[f"{name}.q.zero_point"] = np.array(0, np.int8)
        grid = [f"{name}.q.scale", f"{name}.q.zero_point"]
        renamed[name] = f"{name}.dq"
        return [
            Node(QUANTIZE, [name, *grid], [f"{name}.q"], {}, f"{name}.q"),
            Node(DEQUANTIZE, [f"{name}.q", *grid], [f"{name}.dq"], {}, f"{name}.dq"),
        ]

    for port in plain.inputs:
        nodes += pair(port.name) if port.name in scales else []
    for node in plain.nodes:
        nodes.append(Node(
            node.op, [renamed.get(name, name) for name in node.inputs], list(node.outputs),
            dict(node.attributes), node.name,
        ))  # fmt: skip
        if node.op in ("Conv", "ConvTranspose") and node.name not in kept_float:
            axis = 0 if node.op == "Conv" else 1
            constants[node.inputs[1]] = _rounded(constants[node.inputs[1]], axis)
        output = node.output
        if output in scales and not is_movement(node) and output not in plain.output_names:
            nodes += pair(output)
    return plain.with_(nodes=replace_inputs(nodes, {}), constants=constants)


def _rounded(weight: np.ndarray, axis: int) -> np.ndarray:
    """Weights on the nearest point of a symmetric grid per output channel."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / np.float32(127)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.asarray(np.rint(weight / scale) * scale, np.float32)
