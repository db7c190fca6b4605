"""The WebUI runs this at launch. SafeGen needs nothing that the WebUI lacks, so it only looks.

torch, numpy, safetensors, gradio and Pillow are the host's own; nothing is downloaded.
"""

import importlib.util

NEEDED = ("torch", "numpy", "safetensors", "gradio", "PIL")


def main() -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"SafeGen: the WebUI's own environment lacks {', '.join(missing)}")


main()
