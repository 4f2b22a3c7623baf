"""Terminal, markdown and picture show the record's figures, and fit where they go."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest

from edgepose.bench.record import LatencyMs, MetricValue, Origin
from edgepose.errors import EdgeposeError
from edgepose.metrics.metric import METRICS
from edgepose.report import text
from edgepose.report.markdown import report_markdown
from edgepose.report.record import BudgetVerdict, Difference, DropVerdict, FileRecord, Report
from edgepose.report.terminal import report_text, wants_color
from edgepose.report.waterfall import waterfall_png


def figures(report: Report) -> set[str]:
    """Every figure that a reader looks for, as it is printed."""
    found = {"4,498,765", "4.2", "ab12cd34ef56", "15,700,123", "0.213", "98.7 %", "12.3"}
    for row in report.rows:
        found |= {f"{metric.value:.1f}" for metric in row.metrics.values()}
        found |= {f"{scores['pckh@0.5'].value:.1f}" for scores in row.subsets.values()}
        found |= {text.size(row.size_bytes)}
        found |= {text.count(row.params)} if row.params else set()
    found |= {text.signed(d.value) for d in report.differences}
    return found


def sentences(report: Report) -> list[str]:
    return [
        "not within the allowed drop of 1",
        "fits the budget of 5 MB",
        "measured on this host",
        "FPS not measured: no Jetson reached",
        "MIL interpreter, Core ML not run",
        "the embedded teacher is not HRNet-W48 yet",
        *report.all_warnings,
        *report.commands,
    ]


def flat(rendered: str) -> str:
    return " ".join(rendered.split())


def test_terminal_shows_every_figure_in_80_columns(report: Report) -> None:
    rendered = report_text(report)
    uncut = {f"  {command}" for command in report.commands}  # they are to be copied
    assert all(len(line) <= 80 or line in uncut for line in rendered.splitlines())
    for figure in figures(report):
        assert figure in rendered, figure
    for sentence in sentences(report):
        assert sentence in flat(rendered), sentence


@pytest.mark.parametrize("word", METRICS)
def test_every_metric_fits_into_80_columns(report: Report, word: str) -> None:
    """The same report in each metric's names: nothing is cut, nothing still says PCKh@0.5."""
    metric = METRICS[word]
    names = {"pckh@0.5": metric.primary, "pckh@0.1": metric.strict}
    content = report.model_dump_json()
    for old, new in names.items():
        content = content.replace(f'"{old}"', f'"{new}"')
    renamed = Report.model_validate_json(content).model_copy(
        update={
            "metric": word,
            "primary_metric": metric.primary,
            "secondary_metric": metric.strict,
            "metric_convention": metric.convention,
            "interval_over": metric.unit,
        }
    )
    rendered = report_text(renamed)
    assert max(len(line) for line in rendered.splitlines() if "edgepose" not in line) <= 80
    assert "…" not in rendered
    label = text.metric_label(metric.primary)
    assert f"4.2 [3.1, 5.3] {label} points below teacher" in flat(rendered)
    assert f"over {metric.unit})" in flat(rendered)
    assert metric.convention in flat(rendered)
    for row in renamed.rows:
        assert f"{row.metrics[metric.primary].value:.1f}" in rendered
    assert f"| {label} |" in report_markdown(renamed)
    if word != "pckh":
        assert "PCKh@0.5 " not in rendered.replace("segment-PCKh@0.5", "")
    assert png_size(waterfall_png(renamed)) == (1716, 960)


def test_markdown_shows_every_figure(report: Report) -> None:
    rendered = report_markdown(report)
    for figure in figures(report):
        assert figure in rendered, figure
    for sentence in sentences(report):
        assert sentence in flat(rendered).replace("\\", ""), sentence
    assert "![PCKh@0.5" in rendered
    assert "(waterfall.png)" in rendered
    assert "12.3 / 13.6 / 17.9" in rendered  # p50, p90, p99: no bare latency
    tables = [line for line in rendered.splitlines() if line.startswith("|")]
    assert len(tables) > 40
    assert "waterfall.png" not in report_markdown(report, waterfall=None)


def test_every_markdown_table_is_rectangular(report: Report) -> None:
    for block in report_markdown(report).split("\n\n"):
        if block.startswith("|"):
            bars = {line.replace("\\|", "").count("|") for line in block.splitlines()}
            assert len(bars) == 1, block


def test_names_cannot_break_the_renderings(report: Report) -> None:
    first = report.stages[0].model_copy(update={"name": "a|b [bold]c[/bold] *d*"})
    odd = report.model_copy(update={"stages": (first,), "differences": ()})
    assert "[bold]c[/bold]" in report_text(odd).replace("\n", "")
    row = next(line for line in report_markdown(odd).splitlines() if line.startswith("| a"))
    assert "a\\|b \\[bold\\]c\\[/bold\\] \\*d\\*" in row


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_keeps_to_its_width(report: Report, width: int) -> None:
    commands = set(report.commands)
    lines = [line for line in report_text(report, width=width).splitlines()]
    assert all(len(line) <= width for line in lines if line.strip() not in commands)


def test_colours_only_where_wanted(report: Report) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert "\x1b" not in report_text(report)
    assert "\x1b[1;32m" in report_text(report, color=True)
    assert wants_color(Terminal(), {})
    assert not wants_color(Terminal(), {"NO_COLOR": "1"})
    assert not wants_color(io.StringIO(), {})


def test_estimates_are_marked(report: Report) -> None:
    estimated = report.artifacts[2].model_copy(
        update={"latency_origin": Origin(kind="estimated", where="roofline")}
    )
    marked = report.model_copy(update={"artifacts": (*report.artifacts[:2], estimated)})
    assert "~12.3" in report_text(marked)
    assert "estimated (roofline)" in report_text(marked)
    assert "~12.3 / 13.6 / 17.9" in report_markdown(marked)
    assert "~81.0" in report_markdown(marked)


def test_drop_verdict_says_how_sure_it_is() -> None:
    def sentence(drop: float, ci95: tuple[float, float], met: bool) -> str:
        return text.drop_verdict(
            DropVerdict(max_drop=1, metric="pckh@0.5", baseline="teacher", compared="int8",
                        drop=drop, ci95=ci95, met=met))  # fmt: skip

    assert "past the limit" in sentence(0.8, (0.2, 1.4), True)
    assert "into the limit" in sentence(1.2, (0.4, 2.0), False)
    clear = sentence(0.3, (0.1, 0.5), True)
    assert "limit" not in clear
    assert "0.3 [0.1, 0.5] PCKh@0.5 points below teacher" in clear
    assert "0.4 [-0.1, 0.9] PCKh@0.5 points above teacher" in sentence(-0.4, (-0.9, 0.1), True)


def test_without_a_budget_nothing_is_claimed(report: Report) -> None:
    open_ended = report.model_copy(update={"budget": BudgetVerdict()})
    assert "sets no budget" in report_text(open_ended)


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def test_waterfall_is_a_picture_on_white(report: Report) -> None:
    data = waterfall_png(report)
    assert png_size(data) == (1716, 960)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert (pixels[0] == 255).all()
    assert (pixels[:, -1] == 255).all()
    green = np.abs(pixels.astype(int) - np.array([0x5C, 0x9D, 0x2A])).max(axis=2) < 4
    blue = np.abs(pixels.astype(int) - np.array([0xA8, 0x78, 0x4C])).max(axis=2) < 4
    assert green.sum() > 10_000
    assert blue.sum() > 10_000
    assert waterfall_png(report) == data


def test_waterfall_of_hopeless_scores_starts_at_zero(report: Report) -> None:
    poor = {"pckh@0.5": MetricValue(value=3.1, ci95=(2.0, 4.0)), "pckh@0.1": MetricValue(value=0)}
    rows = tuple(row.model_copy(update={"metrics": poor}) for row in report.stages[:2])
    few = report.model_copy(update={"stages": rows, "artifacts": (), "differences": ()})
    assert png_size(waterfall_png(few))[0] > 1000
    unscored = tuple(row.model_copy(update={"metrics": {}}) for row in rows)
    nothing = few.model_copy(update={"stages": unscored})
    with pytest.raises(EdgeposeError, match=r"no stage .* has PCKh@0\.5"):
        waterfall_png(nothing)


def test_formats() -> None:
    assert [text.size(n) for n in (None, 999, 4_312_220, 254_900_000)] == [
        "-", "999 B", "4.31 MB", "255 MB"]  # fmt: skip
    assert [text.count(n) for n in (15_376_464, 965_500_000, 3_862_000_000)] == [
        "15.4 M", "966 M", "3.86 G"]  # fmt: skip
    assert text.executor_short("ONNX Runtime 1.31.1 CPU AVX512-VNNI") == "ORT CPU"
    assert text.executor_short("MIL interpreter, Core ML not run") == "MIL interp."
    assert text.executor_short("TensorRT 8.5.2.2") == "TensorRT"
    latency = LatencyMs(p50=0.4123, p90=0.5, p99=0.61, count=1024, warmup=50, threads=1)
    assert text.latency_long(latency) == (
        "p50 0.412, p90 0.500, p99 0.610 ms (1024 calls after 50 to warm up, 1 thread, batch 1)"
    )


def package(name: str, digits: str) -> dict[str, object]:
    files = tuple(
        FileRecord(path=f"artifacts/{name}/model.mlpackage/Data/{f}", role="package",
                   sha256=digits * 32, size_bytes=1_500_000)
        for f in ("com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights/weight.bin")
    )  # fmt: skip
    return {"name": name, "target": name, "files": files}


def test_a_package_is_one_file_and_twins_are_named(report: Report) -> None:
    first, second, third = report.artifacts
    changed = report.model_copy(
        update={
            "artifacts": (
                first,
                second.model_copy(update=package("coreml-ios17", "ab")),
                third.model_copy(update=package("coreml-ios18", "ab")),
            )
        }
    )
    for rendered in (report_text(changed), report_markdown(changed)):
        assert "coreml-ios17/model.mlpackage" in rendered
        assert "3,000,000" in rendered
        assert "weight.bin" not in rendered
        assert "the same bytes as coreml-ios17" in rendered
        assert "coreml-ios18/model.mlpackage/Data" not in rendered


def test_noise_is_claimed_only_where_both_figures_lie_in_it() -> None:
    def step(low: float, high: float) -> Difference:
        middle = (low + high) / 2
        return Difference(before="a", after="b", metric="m", value=middle, ci95=(low, high))

    names = ("PCKh@0.5", "@0.1")
    assert text.remark(step(-1, 1), step(-2, 1), names=names) == "within noise"
    assert text.remark(step(-1, 1), step(0.2, 1.8), names=names) == "@0.1 differs"
    assert text.remark(step(-2, -1), step(-1, 1), names=names) == ""
    assert text.remark(step(-1, 1), None, names=names) == "within noise"
