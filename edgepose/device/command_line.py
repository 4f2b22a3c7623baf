"""The words that the runner takes."""

from __future__ import annotations

import argparse

from .engine_files import MAIN
from .lock import LOCK


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgepose-device", description="Runs and times edgepose artifacts on this board."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="the board, its conditions and its runtimes")
    for name, text in (
        ("build", "build the engine that this board needs"),
        ("run", "score and time an artifact"),
        ("race", "build, score and time every form, and keep the fastest good one"),
        ("interleave", "time two artifacts in turns"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--artifact", required=True, help="folder with artifact.json")
        command.add_argument("--out", default="edgepose-out", help="folder for results and engines")
        command.add_argument("--runtime", default="auto", help="tensorrt, trtexec or onnxruntime")
        if name in ("build", "run"):
            command.add_argument("--form", default=MAIN, help="of the artifact; kept: the race's")
            command.add_argument("--dla", type=int, metavar="CORE", help="build for that DLA")
        if name == "build":
            continue
        command.add_argument("--threads", type=int)
        command.add_argument("--batch", type=int, help="of the model-only times")
        command.add_argument("--lock", default=LOCK, help=argparse.SUPPRESS)
        if name == "run":
            command.add_argument("--pack", help="evaluation pack")
            command.add_argument("--quick", action="store_true", help="about a second of calls")
            for count in ("--calls", "--warmup", "--max-warmup"):
                command.add_argument(count, type=int)
            command.add_argument("--seconds", type=float)
            command.add_argument("--engines", help="folder of engines")
            command.add_argument("--stand-in", action="store_true", help=argparse.SUPPRESS)
        elif name == "race":
            command.add_argument("--pack", required=True, help="evaluation pack")
            command.add_argument("--max-drop", type=float, default=0.5, help="points of PCKh@0.5")
            command.add_argument("--dla", type=int, default=0, help="core to try; -1: none")
            command.add_argument("--quick", action="store_true", help="about a second of calls")
            command.add_argument("--stand-in", action="store_true", help="time ONNX Runtime, too")
            command.add_argument("--calls", type=int)
            command.add_argument("--seconds", type=float)
        else:
            command.add_argument("--other", required=True, help="the second artifact's folder")
            command.add_argument("--rounds", type=int, default=20)
            command.add_argument("--block-seconds", type=float, default=0.1)
    for name in ("start", "work", "status", "stop", "clean"):
        command = commands.add_parser(name)
        command.add_argument("--root", required=True)
        command.add_argument("--job", default="")
        command.add_argument("--file", default="")
        command.add_argument("--lock", default=LOCK)
        command.add_argument("--wait", type=float, default=0.0)
        command.add_argument("--seen", default="")
    return parser
