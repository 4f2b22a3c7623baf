"""One report as a run would write it; every figure differs, so that tests can find each."""

from __future__ import annotations

import pytest

from edgepose.bench.record import THIS_HOST, Conditions, LatencyMs, MetricValue
from edgepose.report.costs import GroupCost, Int8Cost, Int8Costs, PruneCosts
from edgepose.report.record import (
    ArtifactRecord,
    BudgetVerdict,
    CalibrationRecord,
    DataRecord,
    Difference,
    DropVerdict,
    FileRecord,
    JointShiftPx,
    RecipeRecord,
    Report,
    SizeVerdict,
    StageRecord,
    StudentRecord,
    TeacherRecord,
    TrainingHistory,
)
from edgepose.skeleton import MPII16

HOST = "AMD EPYC, 2 cores, AVX512-VNNI"
ORT = "ONNX Runtime 1.31.1 CPU AVX512-VNNI"


def scores(high: float, low: float) -> dict[str, MetricValue]:
    """PCKh@0.5 and @0.1 with intervals and joints around them."""
    joints = {name: high - 0.5 * i for i, name in enumerate(MPII16.joints)}
    return {
        "pckh@0.5": MetricValue(
            value=high,
            ci95=(high - 1.25, high + 1.13),
            per_joint={**joints, "pelvis": None},
            persons=500,
        ),
        "pckh@0.1": MetricValue(value=low, ci95=(low - 1.0, low + 1.0), persons=500),
    }


def subsets(high: float, low: float) -> dict[str, dict[str, MetricValue]]:
    return {
        "occluded": scores(high - 9.3, low - 4.1),
        "multi_person": scores(high - 5.2, low - 2.7),
    }


def stage(name: str, high: float, low: float, **values: object) -> StageRecord:
    note = "timed on exported files only"
    fields: dict[str, object] = {
        "executor": "torch 2.13.0 CPU", "host": HOST, "latency_note": note,
        "metrics": scores(high, low), "subsets": subsets(high, low),
    }  # fmt: skip
    return StageRecord.model_validate({"name": name, **fields, **values})


def artifact(name: str, high: float, low: float, **values: object) -> ArtifactRecord:
    fields: dict[str, object] = {
        "target": name, "host": HOST, "precision": "int8",
        "metrics": scores(high, low), "subsets": subsets(high, low),
    }  # fmt: skip
    return ArtifactRecord.model_validate({"name": name, **fields, **values})


RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)


def prune_costs() -> PruneCosts:
    """Groups that keep everything, a part, and less than was measured."""
    drops = {"conv1": (2.57, 10.65, 15.03, 57.78, 70.09), "layer4.0.conv2": (0.5, 1.7, 4.2, 8.9, 33.8),
             "deconv_layers.6": (-0.2, 0.7, 0.5, 1.2, 5.1)}  # fmt: skip
    kept = {"conv1": 64, "layer4.0.conv2": 205, "deconv_layers.6": 8}
    channels = {"conv1": 64, "layer4.0.conv2": 512, "deconv_layers.6": 256}
    groups = tuple(GroupCost(layer=n, channels=channels[n], kept=kept[n], ratios=RATIOS, drop=d)
                   for n, d in drops.items())  # fmt: skip
    return PruneCosts(groups=groups, metric="pckh@0.5", persons=96)


def int8_costs() -> Int8Costs:
    """More layers than are drawn; the second stayed in float."""
    return Int8Costs(metric="pckh@0.5", persons=128, layers=tuple(
        Int8Cost(layer=f"a.layer.of.a.long.name.{i}.conv", drop=round(3 / (i + 1) - 0.2, 3),
                  shift_p50_px=0.05, shift_p99_px=round(4 / (i + 1), 2), macs=1_000_000 * (i + 1),
                  in_float=i == 1)
        for i in range(34)))  # fmt: skip


@pytest.fixture(scope="session")
def report() -> Report:
    """A run of the default recipe that fits its size and loses too much."""
    history = TrainingHistory(steps=400, images=12800, batch=32, loss=((0, 0.9), (399, 0.2)))
    latency = LatencyMs(
        p50=12.34, p90=13.56, p99=17.89, mean=12.71, count=1024, warmup=51, threads=2
    )
    stages = (
        stage("teacher", 92.4, 41.7, role="teacher", params=63_595_696, size_bytes=254_900_000),
        stage("student", 90.3, 36.2, role="student", params=15_376_464, size_bytes=61_560_000,
              macs=965_500_000),
        stage("distill", 91.1, 37.9, params=15_376_464, size_bytes=61_560_000, history=history),
        stage("prune", 88.6, 33.3, params=4_130_000, size_bytes=16_520_000, history=history,
              sensitivity=prune_costs()),
        stage("qat", 88.5, 33.1, params=4_130_000, size_bytes=4_340_000, precision="int8",
              history=history, executor="torch 2.13.0 CPU, simulated INT8",
              sensitivity=int8_costs()),
    )  # fmt: skip
    artifacts = (
        artifact("jetson-xavier", 88.4, 33.0, runtime="tensorrt", executor=ORT,
                 latency_note="FPS not measured: no Jetson reached; accuracy and size were measured "
                 "on the exact ONNX on this host",
                 file="artifacts/jetson-xavier/model.onnx.xz", size_bytes=4_312_220,
                 files=(FileRecord(path="artifacts/jetson-xavier/model.onnx.xz", role="model",
                                   sha256="ab12cd34ef5600" * 4, size_bytes=4_312_220),
                        FileRecord(path="artifacts/jetson-xavier/model.onnx", role="expanded",
                                   sha256="77aa88bb99cc00" * 4, size_bytes=15_700_123,
                                   counted=False)),
                 joint_shift_px=JointShiftPx(p50=0.0, p99=0.213)),
        artifact("coreml-ios17", 88.2, 32.8, runtime="coreml",
                 executor="MIL interpreter, Core ML not run",
                 latency_note="the MIL interpreter checks numbers; Core ML did not run",
                 file="artifacts/coreml-ios17/model.mlpackage", size_bytes=4_498_765,
                 joint_shift_px=JointShiftPx(p50=0.011, p99=0.345)),
        artifact("onnx-android", 88.3, 32.9, runtime="onnx_mobile", executor=ORT,
                 latency_ms=latency, latency_origin=THIS_HOST,
                 file="artifacts/onnx-android/model.ort", size_bytes=4_401_234,
                 integer_mac_share=0.987, joint_shift_px=JointShiftPx(p50=0.012, p99=0.456)),
    )  # fmt: skip
    order = [("teacher", "student"), ("student", "distill"), ("distill", "prune"),
             ("prune", "qat"), ("qat", "onnx-android")]  # fmt: skip
    by_name = {row.name: row for row in (*stages, *artifacts)}
    differences = tuple(
        Difference(before=a, after=b, metric=m, persons=500,
                   value=by_name[b].metrics[m].value - by_name[a].metrics[m].value,
                   ci95=(by_name[b].metrics[m].value - by_name[a].metrics[m].value - 0.6,
                         by_name[b].metrics[m].value - by_name[a].metrics[m].value + 0.5))
        for a, b in order for m in ("pckh@0.5", "pckh@0.1")
    )  # fmt: skip
    return Report(
        edgepose_version="0.1.0",
        run_id="20261121-223000-1f2e3d",
        recipe=RecipeRecord(
            name="resnet18_5mb",
            sha256="5ca1ab1e" * 8,
            resolved={"seed": 0, "budget": {"size_mb": 5}},
        ),
        seed=7,
        metric_convention="hrnet (<=, weighted mean, pelvis and thorax left out)",
        duration_s=912.0,
        versions={"torch": "2.13.0", "onnxruntime": "1.31.1"},
        host=Conditions(name=HOST, cpu_model="AMD EPYC", machine="x86_64", cores=2, usable_cores=2,
                        isa=("AVX512-VNNI", "AVX2"), os="Debian GNU/Linux 12 (bookworm)",
                        kernel="6.1", python="3.11.7"),
        teacher=TeacherRecord(name="embedded teacher", arch="resnet18",
                              source="trained in this run", score=scores(92.4, 41.7),
                              note="the embedded teacher is not HRNet-W48 yet"),
        student=StudentRecord(arch="resnet18", input_hw=(128, 128), skeleton="mpii16",
                              starting_weights="embedded", starting_weights_sha256="c0ffee00" * 8),
        data=DataRecord(source="synthetic", domain="synthetic-people-v1", skeleton="mpii16",
                        fingerprint="deadbeef" * 8, counts={"train": 20000, "val": 500},
                        subset_counts={"occluded": 143, "multi_person": 201},
                        calibration=CalibrationRecord(
                            source="calib_data/", domain="photographs", images=128,
                            warnings=("calibration images are photographs, training images are "
                                      "synthetic-people-v1: INT8 ranges may not fit",))),
        stages=stages,
        artifacts=artifacts,
        differences=differences,
        budget=BudgetVerdict(
            size=SizeVerdict(size_mb=5, largest_file="artifacts/coreml-ios17/model.mlpackage",
                             largest_size_bytes=4_498_765, met=True),
            drop=DropVerdict(max_drop=1.0, metric="pckh@0.5", baseline="teacher",
                             compared="coreml-ios17", drop=4.2, ci95=(3.1, 5.3), met=False)),
        warnings=("the teacher was trained for 400 steps only",),
        commands=("edgepose compress --recipe recipes/resnet18_5mb.yaml --set seed=7 "
                  "--set budget.size_mb=2.5 --set budget.max_drop=4",
                  "edgepose bench --target host --run reports/resnet18_5mb/20261121-223000-1f2e3d"),
    )  # fmt: skip
