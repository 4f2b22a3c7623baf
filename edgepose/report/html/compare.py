"""A comparison as one HTML file that opens offline, of the same kind as report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import edgepose
from edgepose.bench.comparison import Comparison as BenchComparison
from edgepose.device.files import write_atomic
from edgepose.report.compare import Comparison
from edgepose.report.html.compare_benches import Named, benches_page
from edgepose.report.html.compare_runs import runs_page
from edgepose.report.html.page import rendered


def runs_html(found: Sequence[Comparison]) -> str:
    """Runs that were each compared with the same first."""
    page = runs_page(found)
    return rendered(page, tab=f"edgepose: {page.subtitle}", version=edgepose.__version__)


def benches_html(first: Named, others: Sequence[tuple[Named, BenchComparison]]) -> str:
    """Benchmarks that were each compared with the same first, by the names they were given."""
    page = benches_page(first, others)
    return rendered(page, tab=f"edgepose: {page.subtitle}", version=edgepose.__version__)


def save_page(content: str, path: Path) -> None:
    """Write a page, atomically."""
    write_atomic(path, content.encode())
