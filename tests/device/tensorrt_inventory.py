"""Writes tensorrt-8.5.2.2.json: every public name of TensorRT's Python package, class by class.

Run it with a Python 3.8 that has the real wheel; no GPU is needed to import it:

    python3.8 -m venv trt && trt/bin/pip install tensorrt==8.5.2.2 nvidia-cudnn-cu11==8.6.0.163
    LD_LIBRARY_PATH=$(echo trt/lib/python3.8/site-packages/nvidia/*/lib | tr ' ' ':') \\
        trt/bin/python tests/device/tensorrt_inventory.py
"""

import inspect
import json
import sys
from pathlib import Path

import tensorrt


def names_of(thing):
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def main():
    top = names_of(tensorrt)
    classes = {
        name: names_of(getattr(tensorrt, name))
        for name in top
        if inspect.isclass(getattr(tensorrt, name))
    }
    document = {"version": tensorrt.__version__, "names": top, "classes": classes}
    path = Path(__file__).with_name(f"tensorrt-{tensorrt.__version__}.json")
    lines = ",\n".join(
        f'"{key}": ' + json.dumps(document[key], sort_keys=True).replace('], "', '],\n"')
        for key in sorted(document)
    )
    path.write_text("{" + lines + "}\n")
    sys.stdout.write(f"{path}: {len(top)} names, {len(classes)} classes\n")


if __name__ == "__main__":
    main()
