"""Networks from outside: `package.module:name`, an image in, heatmaps out.

    student: {arch: "mypackage.nets:make_net", input_hw: [256, 192]}

`name` is a subclass of nn.Module, a function that returns a network, or a network. It is called with
`num_joints=` where it takes that, else with nothing. The module is looked up as `python -m` does:
installed packages, and the current folder.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
import traceback
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgepose.errors import EdgeposeError

TORCH = Path(torch.__file__).resolve().parent
HERE = Path(__file__).resolve().parent.parent


def is_own(arch: str) -> bool:
    """Whether an architecture is an import path."""
    return ":" in arch


def where(error: BaseException) -> str:
    """' (nets.py, line 12: `if x.mean() > 0:`)': the last line of the user's own code in a traceback.

    "" where there is none.
    """
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        inside = path.is_absolute() and (
            HERE in path.parents or "site-packages" in path.parts or TORCH in path.parents
        )
        library = str(path).startswith(("<", sys.base_prefix + "/lib/python"))
        if not inside and not library:
            found = f" ({path.name}, line {frame.lineno}: `{frame.line}`)"
    return found


def _find(arch: str) -> Any:
    """What an import path names; EdgeposeError for whatever is wrong with it."""
    path, _, name = arch.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise EdgeposeError(
            f"{arch}: there is no module {error.name}",
            fix="install its package, or start edgepose in the folder that holds it",
        ) from error
    except Exception as error:
        raise EdgeposeError(
            f"{arch}: importing {path} fails: {type(error).__name__}: {error}{where(error)}",
            fix="make `python -c 'import " + path + "'` work first",
        ) from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if not hasattr(module, name):
        raise EdgeposeError(
            f"{arch}: {path} has no {name}", fix="write package.module:name of the network's maker"
        )
    return getattr(module, name)


def make(arch: str, *, num_joints: int) -> nn.Module:
    """The network at an import path, freshly initialised, its parameters float32."""
    found = _find(arch)
    if isinstance(found, nn.Module):
        network: Any = copy.deepcopy(found)
    elif isinstance(found, types.FunctionType) or (
        isinstance(found, type) and issubclass(found, nn.Module)
    ):
        taken = inspect.signature(found).parameters.values()
        named = any(p.name == "num_joints" or p.kind is p.VAR_KEYWORD for p in taken)
        try:
            network = found(num_joints=num_joints) if named else found()
        except Exception as error:
            raise EdgeposeError(
                f"{arch} cannot be made: {type(error).__name__}: {error}{where(error)}",
                fix="let it be callable with num_joints=, or with no argument",
            ) from error
    else:
        network = found
    if not isinstance(network, nn.Module):
        raise EdgeposeError(
            f"{arch} gives a {type(network).__name__}, not a torch.nn.Module",
            fix="name a subclass of nn.Module, or a function that returns a network",
        )
    return network.float()


def find_stride(
    network: nn.Module, *, arch: str, num_joints: int, input_hw: tuple[int, int]
) -> int:
    """Input pixels per heatmap pixel, read off a forward pass on zeros.

    Raises EdgeposeError for a network whose output is not (N, num_joints, H / stride, W / stride).
    """
    height, width = input_hw
    network = network.eval()
    try:
        with torch.no_grad():
            heatmaps = network(torch.zeros(2, 3, height, width))
    except Exception as error:
        raise EdgeposeError(
            f"{arch} fails on a (2, 3, {height}, {width}) image: {type(error).__name__}: "
            f"{str(error).strip()}{where(error)}",
            fix="give an input_hw that the network takes, and (N, 3, H, W) float32 to heatmaps",
        ) from error
    if not isinstance(heatmaps, Tensor) or heatmaps.dim() != 4:
        shape = tuple(heatmaps.shape) if isinstance(heatmaps, Tensor) else type(heatmaps).__name__
        raise EdgeposeError(
            f"{arch} gives {shape}, not heatmaps (N, {num_joints}, H / stride, W / stride)",
            fix="let forward() return one tensor of heatmaps",
        )
    rows, columns = heatmaps.shape[2:]
    if heatmaps.shape[:2] != (2, num_joints):
        raise EdgeposeError(
            f"{arch} gives {heatmaps.shape[1]} heatmaps an image, the skeleton has {num_joints} joints",
            fix="let the maker take num_joints=, or name the skeleton that the network was made for",
        )
    if not rows or height % rows or width % columns or height // rows != width // columns:
        raise EdgeposeError(
            f"{arch} gives {rows}x{columns} heatmaps of a {height}x{width} image, "
            "which is no whole stride that is equal in both directions",
            fix="let the heatmaps be H / s by W / s for a whole number s",
        )
    return int(height // rows)


def output_layers(network: nn.Module, *, input_hw: tuple[int, int]) -> list[nn.Module]:
    """The layers whose channels are the heatmaps: whatever convolution the output leads back to.

    Found by walking the gradient's graph from the output to the first convolutions.
    """
    owners = {id(p): m for m in network.modules() for p in m.parameters(recurse=False)}
    training = network.training
    frozen = [p for p in network.parameters() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    with torch.enable_grad():
        output: Tensor = network.eval()(torch.zeros(1, 3, *input_hw))
    for parameter in frozen:
        parameter.requires_grad_(False)
    network.train(training)
    layers: list[nn.Module] = []
    seen: set[Any] = set()
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        sources = [source for source, _ in step.next_functions]
        if any(word in step.name() for word in ("Convolution", "Addmm", "MmBackward")):
            own = [owners.get(id(getattr(source, "variable", None))) for source in sources]
            layers += [layer for layer in own if layer is not None]
        else:
            waiting += sources
    return list(dict.fromkeys(layers))
