"""From a PoseModel to its quantized graphs and back.

    prepared = prepare_qat(model)        # train it: parameters are the folded weights and biases
    freeze_observers(prepared)           # from here on the scales stand
    model = finish(model, prepared, source="qat")
    graph = int8_graph(model)            # quantize/dequantize ops, int8 weights

Every graph is rebuilt from the PoseModel; only `finish` carries anything back.
"""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Collection, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from edgepose.errors import EdgeposeError
from edgepose.models.blocks import SpatialAttention
from edgepose.models.deploy import to_deploy
from edgepose.models.own import where
from edgepose.models.plan import QuantPlan
from edgepose.models.pose_model import PoseModel
from edgepose.models.subpixel import PhasedConv2d
from edgepose.quant.grid import round_scale, snap
from edgepose.quant.histograms import EntropyGrid, MseGrid, PercentileGrid
from edgepose.quant.observers import ActivationGrid, MaxGrid, MovingMaxGrid, WeightGridPerChannel
from edgepose.quant.pt2e import convert_pt2e, prepare_pt2e
from edgepose.quant.quantizer import CONVOLUTIONS, KEY, RELUS, PoseQuantizer, moved_inputs

CalibrationMethod = Literal["minmax", "entropy", "percentile", "mse"]
OBSERVERS: dict[str, type[ActivationGrid]] = {
    "minmax": MaxGrid,
    "entropy": EntropyGrid,
    "percentile": PercentileGrid,
    "mse": MseGrid,
}
DEFAULT_METHOD: CalibrationMethod = "mse"
MAX_BATCH = 4096


def deploy_form(model: PoseModel) -> PoseModel:
    """`model` with batch norm folded and deconvolutions rewritten; itself if it already is so."""
    if model.spec.form == "deploy":
        return model
    return model.with_module(to_deploy(model.module()), form="deploy", quant=None)


def export(
    module: nn.Module, *, input_hw: tuple[int, int], batch: int | None = None
) -> fx.GraphModule:
    """The ATen graph of `module` for (N, 3, *input_hw) float32; any N, or `batch` alone if given.

    Raises EdgeposeError with the tracer's own message for a module that cannot be exported.
    """
    example = torch.zeros(2 if batch is None else batch, 3, *input_hw)
    dynamic = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} if batch is None else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module.eval(), (example,), dynamic_shapes=(dynamic,))
    except Exception as error:
        raise EdgeposeError(
            f"torch.export cannot trace the network{where(error)}: {_first_lines(error)}",
            fix="let forward() depend on shapes and constants only, not on the values of tensors",
        ) from error
    graph_module: fx.GraphModule = program.module(check_guards=False)
    return graph_module


def _first_lines(error: Exception) -> str:
    """What an error says, less the pages of advice that torch.export adds, with its source line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    code = [i for i, line in enumerate(lines) if line.startswith("File ")]
    source = " ".join(lines[code[-1] : code[-1] + 2]) if code else ""
    return " ".join([*lines[:3], source]).strip()


def prepare_calibration(
    model: PoseModel, *, observer: str = DEFAULT_METHOD, float_layers: Collection[str] | None = None
) -> fx.GraphModule:
    """The deploy form with observers: run images through it under no_grad, then `finish`.

    (N, 3, H, W) float32 normalised -> (N, J, H/4, W/4) float32, unquantized.
    float_layers: convolutions that stay float, by name; those of the model's plan if None
    """
    if observer not in OBSERVERS:
        raise EdgeposeError(
            f"unknown observer {observer!r}", fix=f"use one of {', '.join(OBSERVERS)}"
        )
    return _prepare(model, OBSERVERS[observer], float_layers)


def prepare_qat(model: PoseModel, *, float_layers: Collection[str] | None = None) -> fx.GraphModule:
    """The deploy form with fake quantizers, trainable; input and output as `prepare_calibration`.

    Activation ranges start from the model's plan where it has one (calibrate first, for a good
    start) and follow a moving average until `freeze_observers`. The state dict restores all of it.
    """
    prepared = _prepare(model, MovingMaxGrid, float_layers, fuse_relu=True)
    plan = model.spec.quant
    for key, grid in activation_grids(prepared).items():
        if plan is not None and key in plan.activation_scales:
            scale = plan.activation_scales[key]
            grid.scale.fill_(scale)
            grid.seen.fill_(scale * grid.quant_max)
    return prepared


def freeze_observers(prepared: nn.Module) -> None:
    """Let activation scales stand from here on (kept in the state dict).

    Raises EdgeposeError naming the tensors that were nothing but zeros, or never observed.
    """
    grids = activation_grids(prepared)
    dead = [key for key, grid in grids.items() if not grid.settle()]
    if dead:
        more = f" (and of {len(dead) - 1} more: {', '.join(dead[1:4])})" if dead[1:] else ""
        raise EdgeposeError(
            f"the activations of {dead[0]} were all zero on every image{more}: there is no INT8 scale "
            "for them, so nothing was quantized and the network before this stage is kept",
            fix="look for the dead layer's weights and batch norm in the checkpoint, prune it away, or "
            "calibrate on images like those in use",
        )
    for grid in grids.values():
        grid.disable_observer()


def activation_grids(prepared: nn.Module) -> dict[str, ActivationGrid]:
    """Tensor key -> its fake quantizer, in graph order."""
    return {m.key: m for m in prepared.modules() if isinstance(m, ActivationGrid)}


def layer_output(prepared: nn.Module, model: PoseModel, layer: str) -> str:
    """The module of a prepared graph that gives what `layer` of `model` gives: its last INT8 tensor.

    Raises EdgeposeError for a layer that the graph has no such tensor of.
    """
    names: dict[nn.Module, str] = {grid: name for name, grid in prepared.named_modules()}
    found: list[str] = [
        names[grid]
        for key, grid in activation_grids(prepared).items()
        if key == layer or key.startswith(f"{layer}.")
    ]
    layers = dict(model.module().named_modules())
    rewritten = [
        name
        for name, module in layers.items()
        if isinstance(module, nn.ConvTranspose2d | PhasedConv2d)
    ]
    if found and not any(name == layer or name.startswith(f"{layer}.") for name in rewritten):
        return found[-1]
    raise EdgeposeError(
        f"the INT8 graph of {model.spec.arch} has no tensor that layer {layer!r} gives",
        fix="name a block of the backbone, e.g. layer3 (deconvolutions are rewritten)",
    )


def finish(model: PoseModel, prepared: nn.Module, *, source: str) -> PoseModel:
    """The PoseModel that `prepared` stands for: on-grid weights, biases, and a static plan.

    model:  what `prepared` was made from; source: "qat" or "calibration"
    Raises EdgeposeError for a tensor that was never observed, or nothing but zeros.
    """
    freeze_observers(prepared)
    float_layers = _layers_without_grid(prepared)
    tensors = {}
    for key, value in prepared.state_dict().items():
        if key.endswith((".weight", ".bias")):
            tensor = value.detach().cpu().float().contiguous().clone()
            layer, _, kind = key.rpartition(".")
            on_grid = kind == "weight" and layer not in float_layers
            tensors[key] = snap(tensor) if on_grid else tensor
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        bad = [k for k, t in tensors.items() if not torch.isfinite(t).all()]
        raise EdgeposeError(f"{bad[0]} is not finite", fix="lower the learning rate")
    grids = activation_grids(prepared)
    scales = {key: float(round_scale(grid.scale)) for key, grid in grids.items()}
    plan = QuantPlan(
        mode="static",
        source=source,
        activation_scales=scales,
        precision=dict.fromkeys(sorted(float_layers), "float"),
    )
    return PoseModel(dataclasses.replace(model.spec, form="deploy", quant=plan), tensors)


def int8_graph(model: PoseModel, *, batch: int | None = None) -> fx.GraphModule:
    """The converted graph: quantized_decomposed ops, int8 weights; input `x`, any batch size.

    (N, 3, H, W) float32 normalised -> (N, J, H/4, W/4) float32. Weight scales are read off the
    on-grid weights, activation scales off the plan. `batch` fixes N.
    """
    plan = model.spec.quant
    if plan is None or plan.mode != "static":
        raise EdgeposeError(
            "the model has no static quantization plan",
            fix="run the quantize or qat stage first",
        )
    annotated = _annotated(model, MaxGrid, None, batch=batch)
    for node, grid in _observed(annotated):
        if isinstance(grid, WeightGridPerChannel):
            grid.observe(annotated.get_parameter(str(node.args[0].target)))  # type: ignore[union-attr]
        elif grid.key in plan.activation_scales:
            grid.fix(plan.activation_scales[grid.key])
        else:
            raise EdgeposeError(
                f"the quantization plan has no scale for {grid.key}",
                fix="quantize the model again",
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted: fx.GraphModule = convert_pt2e(annotated)
    _read_sizes_off_input(converted)
    return converted


def _read_sizes_off_input(graph_module: fx.GraphModule) -> None:
    """Let shape queries read the input itself instead of its dequantized copy."""
    image = next(n for n in graph_module.graph.nodes if n.op == "placeholder")
    for node in graph_module.graph.nodes:
        if node.target is torch.ops.aten.sym_size.int and _copies(node.args[0], image):
            node.args = (image, *node.args[1:])
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()


def _copies(node: Any, image: fx.Node) -> bool:
    """Whether `node` is `image` behind quantize and dequantize alone."""
    while node is not image:
        if node.op != "call_function" or "quantize_per_tensor" not in str(node.target):
            return False
        node = node.args[0]
    return True


def _layers_without_grid(prepared: nn.Module) -> set[str]:
    """The convolutions of a prepared graph that were left in float."""
    layers = {
        key.removesuffix(".weight") for key in prepared.state_dict() if key.endswith(".weight")
    }
    return {layer for layer in layers if not hasattr(prepared, _grid_name(f"{layer}.weight"))}


def _grid_name(key: str) -> str:
    return "grid_" + key.replace(".", "_").replace(":", "_")


def _annotated(
    model: PoseModel,
    activation: type[ActivationGrid],
    float_layers: Collection[str] | None,
    *,
    batch: int | None = None,
) -> fx.GraphModule:
    """The exported deploy form with a grid on every INT8 edge, as `convert_pt2e` wants it."""
    deploy = deploy_form(model)
    network = deploy.module()
    if float_layers is None:
        precision = {} if model.spec.quant is None else model.spec.quant.precision
        float_layers = [name for name, kind in precision.items() if kind == "float"]
    float_layers = [*float_layers, *float_by_nature(network)]
    check_layers(deploy, float_layers)
    exported = export(network, input_hw=model.spec.input_hw, batch=batch)
    quantizer = PoseQuantizer(
        activation=activation, weight=WeightGridPerChannel, float_layers=float_layers
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared: fx.GraphModule = prepare_pt2e(exported, quantizer)
    for node, grid in _observed(prepared):
        if isinstance(grid, ActivationGrid):
            grid.key = node.args[0].meta[KEY]  # type: ignore[union-attr]
    return prepared


def head_layers(model: PoseModel) -> list[str]:
    """The convolutions of the deploy form that make the heatmaps, with nothing but moves behind."""
    graph = export(deploy_form(model).module(), input_hw=model.spec.input_hw).graph
    waiting: list[Any] = list(next(n for n in graph.nodes if n.op == "output").all_input_nodes)
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        if node.target in CONVOLUTIONS:
            found[str(node.args[1].target).removesuffix(".weight")] = None
        elif node.op == "call_function":
            waiting += [n for n in node.all_input_nodes if n.op != "get_attr"]
    return list(found)


def check_layers(model: PoseModel, names: Collection[str], *, where: str = "") -> None:
    """Raise EdgeposeError for a name that none of the model's convolutions has."""
    layers = [
        key.removesuffix(".weight")
        for key, value in model.tensors.items()
        if key.endswith(".weight") and value.ndim == 4
    ]
    for name in names:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=1, cutoff=0.0)
            raise EdgeposeError(
                f"{where}{': ' if where else ''}{model.spec.arch} has no layer {name}",
                fix=f"did you mean {near[0]}?",
            )


def float_by_nature(network: nn.Module) -> list[str]:
    """Convolutions that INT8 would spoil and hardly speed up: an attention's two channels, a mean and a
    maximum, would share one grid, and it does a thousandth of the work."""
    return [
        f"{name}.conv"
        for name, layer in network.named_modules()
        if isinstance(layer, SpatialAttention)
    ]


def _observed(prepared: fx.GraphModule) -> Iterator[tuple[fx.Node, Any]]:
    """(node, grid) for every grid in the graph; a shared grid comes once per node."""
    for node in prepared.graph.nodes:
        if node.op == "call_module":
            module = prepared.get_submodule(str(node.target))
            if isinstance(module, ActivationGrid | WeightGridPerChannel):
                yield node, module


def _prepare(
    model: PoseModel,
    activation: type[ActivationGrid],
    float_layers: Collection[str] | None,
    *,
    fuse_relu: bool = False,
) -> fx.GraphModule:
    """The graph that is run: grids only where a value is new, under names that say which.

    Behind an operator that only moves values everything is on the grid already. With `fuse_relu` a
    grid behind a ReLU of its own does the ReLU's work.
    """
    annotated = _annotated(model, activation, float_layers)
    graph = annotated.graph
    grids: dict[str, nn.Module] = {}
    for node, grid in list(_observed(annotated)):
        source: Any = node.args[0]
        if moved_inputs(source):
            node.replace_all_uses_with(source)
            graph.erase_node(node)
            continue
        name = source.target if isinstance(grid, WeightGridPerChannel) else grid.key
        node.target = _grid_name(str(name))
        grids[node.target] = grid
        if fuse_relu and source.target in RELUS and len(source.users) == 1:
            grid.relu = True
            node.args = (source.args[0],)
            graph.erase_node(source)
    parameters: dict[str, Tensor] = dict(annotated.named_parameters())
    used = {str(n.target) for n in graph.nodes if n.op == "get_attr"}
    root = {k: v for k, v in parameters.items() if k in used} | grids
    prepared = fx.GraphModule(root, graph)
    prepared.graph.lint()
    return prepared
