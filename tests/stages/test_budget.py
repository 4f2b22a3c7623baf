"""Budgets: what is asked is kept, nearly all of it is used, and what cannot be is named."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgepose.context import Context
from edgepose.cost import count_macs, planned_layer_bytes, total_macs
from edgepose.errors import EdgeposeError
from edgepose.models import build
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.recipe_sections import Budget
from edgepose.stages import prune
from edgepose.stages.prune import largest_file, narrow, narrowing, step_of
from edgepose.stages.pruning.channels import Channels, uniform_widths
from edgepose.stages.pruning.limits import largest_layers_file, limits_of
from edgepose.stages.pruning.order import read_sensitivity
from edgepose.stages.pruning.solve import CLOSE, solve
from edgepose.target import ChannelMultiple, Target, load_target
from tests.train.dots import Dots

HW = (64, 64)
TARGETS = (load_target("jetson-xavier"), load_target("host"))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("resnet18", num_joints=16).eval()


@pytest.fixture(scope="module")
def channels(network: torch.nn.Module) -> Channels:
    return Channels(network, input_hw=HW)


def smallest(channels: Channels, step: int = 8) -> list[int]:
    return [group.widths(step)[0] for group in channels.groups]


@pytest.mark.parametrize("mode", ["uniform", "global"])
@pytest.mark.parametrize("word", ["size_mb", "macs"])
def test_twenty_random_feasible_budgets_are_met_within_three_percent(
    channels: Channels, word: str, mode: prune.Mode
) -> None:
    rng = random.Random(word)
    least, most = channels.at(smallest(channels)), channels.costs
    of: Callable[[object], float] = {
        "size_mb": lambda x: largest_layers_file(x, TARGETS) / 1e6, "macs": total_macs,
    }[word]  # type: ignore[assignment]  # fmt: skip
    for _ in range(20):
        low, high = 1.05 * of(least), of(most)
        wanted = low * (high / low) ** rng.random()
        limits, _ = limits_of(Budget(**{word: wanted}), TARGETS)
        found = solve(channels, limits, step=8, mode=mode)
        assert CLOSE * wanted <= of(channels.at(found.widths)) <= wanted
        assert found.note is None
        assert all(w % 8 == 0 for w in found.widths)


def test_the_pruned_network_itself_is_within_the_budget(network: torch.nn.Module) -> None:
    """What arithmetic promised, read off the network that torch-pruning leaves."""
    budget = Budget(size_mb=4.0, macs=8e7)
    config = prune.Config(steps=1)
    pruned, plan = narrow(network, config, budget=budget, targets=TARGETS, input_hw=HW)
    size, macs = largest_file(pruned, TARGETS), count_macs(pruned, input_hw=HW)
    assert size <= 4.0e6
    assert macs <= 8e7
    assert max(size / 4.0e6, macs / 8e7) >= CLOSE  # the harder of the two is used up
    assert plan.asked["macs"] == {"most": 8e7, "needs": macs}
    assert plan.asked["size_mb"]["needs"] == pytest.approx(size / 1e6)


def test_uniform_gives_no_group_less_than_the_plain_ratio_would(channels: Channels) -> None:
    """Filling the budget up only ever adds channels to what one ratio for all groups would leave."""
    limits, _ = limits_of(Budget(size_mb=5.0), TARGETS)
    found = solve(channels, limits, step=8)
    plain = [
        widths
        for ratio in range(99, 0, -1)
        if largest_layers_file(
            channels.at(widths := uniform_widths(channels.groups, ratio / 100, 8)), TARGETS
        ) <= 5e6
    ][-1]  # fmt: skip
    assert all(a >= b for a, b in zip(found.widths, plain, strict=True))


def test_coarse_rounding_says_how_near_it_came(channels: Channels) -> None:
    """Between two neighbouring sizes in steps of 64 it takes the smaller one, and says so."""
    least = smallest(channels, 64)
    floor = largest_layers_file(channels.at(least), TARGETS) / 1e6
    above = min(
        largest_layers_file(channels.at([*least[:k], w, *least[k + 1 :]]), TARGETS) / 1e6
        for k, g in enumerate(channels.groups)
        for w in g.widths(64)[1:2]
    )
    limits, _ = limits_of(Budget(size_mb=(floor + 3 * above) / 4), TARGETS)
    coarse, fine = solve(channels, limits, step=64), solve(channels, limits, step=8)
    assert list(coarse.widths) == least
    assert coarse.note is not None
    assert "steps of 64" in coarse.note
    assert fine.note is None


@pytest.mark.parametrize("asked", [{"size_mb": 0.05}, {"macs": 1e5}, {"size_mb": 9, "macs": 1e5}])
def test_an_impossible_budget_names_the_closest(
    channels: Channels, asked: dict[str, float]
) -> None:
    limits, _ = limits_of(Budget(**asked), TARGETS)
    with pytest.raises(EdgeposeError, match="cannot be met") as raised:
        solve(channels, limits, step=8)
    word = "macs" if "macs" in asked else "size_mb"
    closest = float(raised.value.fix.split(f"budget.{word} to ")[1].split()[0])
    limits, _ = limits_of(Budget(**{**asked, word: closest}), TARGETS)
    assert solve(channels, limits, step=8).used[word] <= closest


def test_a_budget_that_is_met_already_prunes_nothing(channels: Channels) -> None:
    limits, _ = limits_of(Budget(size_mb=100, macs=1e12), TARGETS)
    assert solve(channels, limits, step=8).widths == tuple(g.channels for g in channels.groups)


def test_global_keeps_the_groups_whose_norms_are_even(network: torch.nn.Module) -> None:
    """A group of which half hardly counts loses that half; one that is even keeps its channels."""
    marked = build("resnet18", num_joints=16)
    marked.load_state_dict(network.state_dict())
    with torch.no_grad():
        marked.get_submodule("layer4.0.conv1").weight[256:] *= 0.01  # type: ignore[index, operator]
        marked.get_submodule("layer4.0.bn1").weight[256:] *= 0.01  # type: ignore[index, operator]
        marked.get_submodule("layer4.0.conv2").weight[:, 256:] *= 0.01  # type: ignore[index, operator]
    channels = Channels(marked, input_hw=HW)
    limits, _ = limits_of(Budget(size_mb=13.5), TARGETS)
    found = solve(channels, limits, step=8, mode="global")
    by_name = {g.layer: w for g, w in zip(channels.groups, found.widths, strict=True)}
    assert by_name["layer4.0.conv1"] <= 256
    assert by_name["layer4.1.conv1"] >= 480


def sensitivity_file(channels: Channels, path: Path, *, precious: str) -> Path:
    ratios = [0.25, 0.5, 0.75]
    groups = [
        {"layer": g.layer, "ratios": ratios, "drop": [(20 if g.layer == precious else 1) * r for r in ratios]}
        for g in channels.groups
    ]  # fmt: skip
    path.write_text(json.dumps({"format_version": 1, "kind": "prune", "groups": groups}))
    return path


def test_sensitivity_spares_the_group_that_costs_most(channels: Channels, tmp_path: Path) -> None:
    file = sensitivity_file(channels, tmp_path / "s.json", precious="layer4.0.conv1")
    limits, _ = limits_of(Budget(size_mb=5.0), TARGETS)
    found = solve(channels, limits, step=8, mode="sensitivity", sensitivity=read_sensitivity(file))
    left = {g.layer: w / g.channels for g, w in zip(channels.groups, found.widths, strict=True)}
    assert left["layer4.0.conv1"] > 2 * left["layer4.1.conv1"]
    assert CLOSE * 5 <= found.used["size_mb"] <= 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no pruning sensitivity"),
        ('{"format_version": 1, "kind": "int8", "groups": []}', "kind"),
        ('{"format_version":1,"kind":"prune","groups":[{"layer":"a","ratios":[0.5,0.2],"drop":[1,2]}]}',
         "ratios that rise"),
        ('{"format_version":1,"kind":"prune","groups":[{"layer":"a","ratios":[0.5],"drop":[1]}]}',
         "says nothing of 15"),
    ],
)  # fmt: skip
def test_a_wrong_sensitivity_file_is_refused(
    channels: Channels, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(EdgeposeError, match=words):
        solve(
            channels, limits_of(Budget(size_mb=5.0), TARGETS)[0], step=8, mode="sensitivity",
            sensitivity=read_sensitivity(tmp_path / "s.json"),
        )  # fmt: skip


def test_a_latency_budget_follows_the_estimate(network: torch.nn.Module) -> None:
    budget = Budget(latency_ms=0.6, latency_on="jetson-xavier")
    plan = narrowing(
        network, prune.Config(steps=1), budget=budget, targets=TARGETS, input_hw=HW
    )  # fmt: skip
    assert 0 < plan.asked["latency_ms"]["needs"] <= 0.6
    assert plan.removed > 0
    assert plan.origin == "latency on jetson-xavier: estimated (roofline)"
    with pytest.raises(
        EdgeposeError, match=r"no latency can be estimated for onnx-android.*int8_tops"
    ):
        limits_of(Budget(latency_ms=1, latency_on="onnx-android"), TARGETS)


def test_channels_are_rounded_to_what_a_target_asks_for() -> None:
    def asks(**multiple: int) -> Target:
        wanted = ChannelMultiple(**multiple)
        return load_target("host").model_copy(update={"prune_multiple": wanted})

    config = prune.Config(steps=1)
    assert step_of(config, TARGETS) == 8
    assert step_of(config, (*TARGETS, asks(int8=16, fp16=8))) == 16
    assert step_of(prune.Config(steps=1, round_to=4), (asks(int8=16),)) == 4


def test_no_step_trains_nothing_rounds_end_where_one_shot_does_and_continue_after_a_kill(
    tmp_path: Path,
) -> None:
    spec = ModelSpec("tests.own.nets:Tiny", 16, (32, 32), "mpii16")
    model = PoseModel.fresh(spec, seed=0)
    config = prune.Config(
        steps=5, batch_size=2, ratio=0.5, round_to=2, rounds=2, mixed_precision="no"
    )  # fmt: skip

    def context(folder: Path) -> Context:
        folder.mkdir(exist_ok=True)
        return Context(
            train=Dots(), val=Dots(), calibration=Dots(), teacher=None, targets=(), budget=Budget(),
            seed=0, folder=folder, cache=tmp_path, report=lambda *_: None, warn=lambda _: None,
        )  # fmt: skip

    bare = prune.run(
        model, config.model_copy(update={"steps": 0, "rounds": 1}), context(tmp_path / "0")
    )
    cut = prune.prune_channels(model.module(), ratio=0.5, round_to=2, input_hw=(32, 32))
    assert all(torch.equal(bare.tensors[key], value) for key, value in cut.state_dict().items())
    whole = context(tmp_path / "whole")
    result = prune.run(model, config, whole)
    once = prune.run(model, config.model_copy(update={"rounds": 1}), context(tmp_path / "once"))
    assert {k: v.shape for k, v in result.tensors.items()} == {
        k: v.shape for k, v in once.tensors.items()
    }
    assert whole.notes["images_seen"] == 10
    assert whole.notes["losses"][-1][0] == 5
    first = PoseModel.load(tmp_path / "whole" / "round-1" / "model")
    assert result.num_params < first.num_params < model.num_params

    class Killed(Exception):
        pass

    def stop(label: str, done: int, total: int) -> None:
        if "round 2" in label:
            raise Killed

    broken = context(tmp_path / "broken")
    with pytest.raises(Killed):
        prune.run(model, config, dataclasses.replace(broken, report=stop))
    again = context(tmp_path / "broken")
    continued = prune.run(model, config, again)
    assert all(torch.equal(continued.tensors[k], v) for k, v in result.tensors.items())
    assert again.notes["losses"] == whole.notes["losses"]


def test_sizes_come_from_the_largest_target(channels: Channels) -> None:
    sizes = [
        planned_layer_bytes(channels.costs, runtime=t.runtime, precision=t.precision)
        for t in TARGETS
    ]  # fmt: skip
    assert largest_layers_file(channels.costs, TARGETS) == max(sizes)
