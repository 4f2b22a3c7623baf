"""The form that ships: batch norm folded, deconvolutions as ordinary convolutions.

A deconvolution of stride s computes each of its s x s output phases with a window of the input
(`subpixel.py`). All of them come out of one convolution with s x s times the output channels;
interleaving them gives the deconvolution's output with a border to crop. Integer kernels exist for
convolutions everywhere and for deconvolutions hardly anywhere, so this is what makes the whole
network run in INT8. ReLU and a 1x1 head are pointwise: they are applied before the last interleave,
which then moves J channels instead of 256. The rewrite is exact.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from edgepose.errors import EdgeposeError
from edgepose.models.own import is_own, where
from edgepose.models.subpixel import Interleave, PhasedConv2d, phased_weight, phases_of
from edgepose.models.widths import fit_widths, set_conv_widths


class DeployTracer(fx.Tracer):
    """Traces a network down to its convolutions; phased ones stay whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PhasedConv2d) or super().is_leaf_module(m, module_qualified_name)


def to_deploy(module: nn.Module) -> nn.Module:
    """A copy in eval mode, batch norm folded, every deconvolution as a sub-pixel convolution.

    module: (N, C, H, W) -> (N, J, h, w), of any widths. A network already in this form is copied.
    Raises EdgeposeError naming the layer for a deconvolution of another geometry, and for a batch
    norm that does not follow a convolution of its own.
    """
    network = copy.deepcopy(module).eval()
    try:
        graph = DeployTracer().trace(network)
    except Exception as error:
        raise EdgeposeError(
            f"{type(module).__name__} cannot be traced: {error}{where(error)}",
            fix="let forward() depend on shapes and constants only, not on the values of tensors",
        ) from error
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            _fold(network, graph, name, layer)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.ConvTranspose2d):
            _rewrite(network, graph, name, layer)
    for key in network.state_dict():
        layer_name, _, kind = key.rpartition(".")
        if kind not in ("weight", "bias"):
            owner = type(network.get_submodule(layer_name)).__name__
            raise EdgeposeError(
                f"{key}: the form that ships holds weights and biases of layers only, and this is "
                f"a tensor of its own in {owner}",
                fix="write it as a layer (a 1x1 convolution for a scale), or as a constant",
            )
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def rebuild(arch: str, num_joints: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The deploy form of `arch` with `tensors` in it; widths are read off the tensors' shapes.

    Raises EdgeposeError for keys or shapes that do not fit.
    """
    from edgepose.models import build  # the package imports this module

    with torch.device("cpu" if is_own(arch) else "meta"):
        network = to_deploy(build(arch, num_joints=num_joints))
    expected, given = set(network.state_dict()), set(tensors)
    if expected != given:
        raise EdgeposeError(
            f"the tensors are not {arch} in deploy form: missing {sorted(expected - given)[:3]}, "
            f"unexpected {sorted(given - expected)[:3]}",
            fix="give the folder that edgepose wrote, unchanged",
        )
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
            if (
                weight.ndim != 4
                or weight.shape[2:] != layer.kernel_size
                or (bias is not None and bias.shape != weight.shape[:1])
            ):
                shape = None if bias is None else tuple(bias.shape)
                raise EdgeposeError(
                    f"{name}: weight {tuple(weight.shape)} and bias {shape} do not fit "
                    f"a {layer.kernel_size[0]}x{layer.kernel_size[1]} convolution",
                    fix="give the folder that edgepose wrote, unchanged",
                )
            set_conv_widths(layer, weight.shape)
            layer.weight = nn.Parameter(weight.detach().clone())
            if bias is not None:
                layer.bias = nn.Parameter(bias.detach().clone())
    if is_own(arch):  # may have layers that are no convolutions
        fit_widths(network, {key: value.shape for key, value in tensors.items()})
        network.load_state_dict(dict(tensors))
    return network.eval()


def _calls(graph: fx.Graph, name: str) -> list[fx.Node]:
    return [n for n in graph.nodes if n.op == "call_module" and n.target == name]


def _only_call(graph: fx.Graph, name: str) -> fx.Node:
    calls = _calls(graph, name)
    if len(calls) != 1:
        raise EdgeposeError(
            f"{name} is called {len(calls)} times; only a module called once can be rewritten",
            fix="give each call a module of its own",
        )
    return calls[0]


def _only_user(node: fx.Node) -> fx.Node | None:
    """The one node that reads `node`, if it is a module and the only one."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].op == "call_module" else None


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, layer.eval())


def _fold(network: nn.Module, graph: fx.Graph, name: str, norm: nn.BatchNorm2d) -> None:
    """Multiply `norm` into the convolution before it, in float64; an identity takes its place."""
    source: Any = _only_call(graph, name).args[0]
    conv = network.get_submodule(source.target) if source.op == "call_module" else None
    if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d) or len(source.users) != 1:
        raise EdgeposeError(
            f"the batch norm {name} does not follow a convolution of its own",
            fix="put each batch norm directly after one convolution",
        )
    _only_call(graph, source.target)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight.detach().double()
    shift = -norm.running_mean.double() * factor
    if norm.affine:
        shift = shift + norm.bias.detach().double()
    if conv.bias is not None:
        shift = shift + conv.bias.detach().double() * factor
    shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    if isinstance(conv, nn.ConvTranspose2d) and conv.groups != 1:
        raise EdgeposeError(f"{source.target}: grouped deconvolution", fix="use groups=1")
    conv.weight = nn.Parameter((conv.weight.detach().double() * factor.reshape(shape)).float())
    conv.bias = nn.Parameter(shift.float())
    _replace(network, name, nn.Identity())


def _rewrite(network: nn.Module, graph: fx.Graph, name: str, deconv: nn.ConvTranspose2d) -> None:
    """Make `deconv`, a ReLU after it, and a 1x1 convolution after that phased convolutions."""
    call = _only_call(graph, name)
    if deconv.groups != 1 or len(call.args) + len(call.kwargs) != 1:
        what = f"groups {deconv.groups}" if deconv.groups != 1 else "output_size given in the call"
        raise EdgeposeError(
            f"{name}: no sub-pixel form for a ConvTranspose2d with {what}",
            fix="use groups=1 and output_padding (kernel 4, stride 2, padding 1 doubles a size)",
        )
    rows, columns = phases_of(deconv)
    interleave = Interleave(rows, columns)
    phases = rows.stride * columns.stride
    node = _skip_identities(network, _only_call(graph, name))
    relu = _next(network, node, nn.ReLU)
    if relu is not None:
        _only_call(graph, str(relu.target))
        node = _skip_identities(network, relu)
    head = _next(network, node, nn.Conv2d)
    layer = None if head is None else network.get_submodule(str(head.target))
    if not isinstance(layer, nn.Conv2d) or not _pointwise(layer):
        head, layer = None, None

    with torch.device(deconv.weight.device):
        conv = PhasedConv2d(
            deconv.in_channels,
            phases * deconv.out_channels,
            (rows.taps, columns.taps),
            padding=(rows.padding, columns.padding),
            relu=relu is not None,
            interleave=interleave if head is None else None,
        )
    conv.weight = nn.Parameter(phased_weight(deconv.weight.detach(), rows, columns))
    bias = torch.zeros_like(deconv.weight[0, :, 0, 0]) if deconv.bias is None else deconv.bias
    conv.bias = nn.Parameter(bias.detach().repeat(phases))
    _replace(network, name, conv)
    if relu is not None:
        _replace(network, str(relu.target), nn.Identity())
    if head is not None and layer is not None:
        _only_call(graph, str(head.target))
        _replace(network, str(head.target), _phased_head(layer, interleave, phases))


def _phased_head(layer: nn.Conv2d, interleave: Interleave, phases: int) -> PhasedConv2d:
    """The same 1x1 convolution for each of the phases, then the interleave."""
    with torch.device(layer.weight.device):
        head = PhasedConv2d(
            phases * layer.in_channels,
            phases * layer.out_channels,
            (1, 1),
            groups=phases,
            interleave=interleave,
        )
    bias = torch.zeros_like(layer.weight[:, 0, 0, 0]) if layer.bias is None else layer.bias
    head.weight = nn.Parameter(layer.weight.detach().repeat(phases, 1, 1, 1))
    head.bias = nn.Parameter(bias.detach().repeat(phases))
    return head


def _pointwise(layer: nn.Conv2d) -> bool:
    plain = type(layer) is nn.Conv2d and layer.kernel_size == (1, 1) and layer.stride == (1, 1)
    return plain and layer.padding == (0, 0) and layer.groups == 1


def _skip_identities(network: nn.Module, node: fx.Node) -> fx.Node:
    following = _next(network, node, nn.Identity)
    return node if following is None else _skip_identities(network, following)


def _next(network: nn.Module, node: fx.Node, kind: type[nn.Module]) -> fx.Node | None:
    """The node that alone reads `node`, if it is a module of `kind`."""
    user = _only_user(node)
    if user is None or not isinstance(network.get_submodule(str(user.target)), kind):
        return None
    return user
