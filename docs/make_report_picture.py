"""Takes docs/images/report.png of a finished run: python docs/make_report_picture.py RUN.

The top of its report.html in headless Chromium, 1280 pixels wide, made smaller and down to 64 colours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
WINDOW = (1280, 1132)
WIDTH = 900


def take(report: Path, to: Path) -> None:
    """Write the picture; SystemExit where there is no browser or no report."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None or not report.is_file():
        raise SystemExit(f"needs chromium and {report}")
    with tempfile.TemporaryDirectory() as home:
        shot = Path(home) / "shot.png"
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={home}",
             f"--window-size={WINDOW[0]},{WINDOW[1]}", f"--screenshot={shot}", report.resolve().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        picture = Image.open(shot).convert("RGB")
    size = (WIDTH, round(picture.height * WIDTH / picture.width))
    small = picture.resize(size, Image.Resampling.LANCZOS)
    small.quantize(64, dither=Image.Dither.NONE).save(to, optimize=True)


if __name__ == "__main__":
    take(Path(sys.argv[1]) / "report.html", HERE / "images" / "report.png")
