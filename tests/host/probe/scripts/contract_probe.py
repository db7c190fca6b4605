"""Test only: runs the contract's facts within the real WebUI, on request.

Routes: ``GET /contract`` lists what can be run; ``POST /contract/{module}/{name}`` runs one and
answers with its traceback, or with an empty text.
"""

import importlib
import sys
import traceback
from pathlib import Path

from modules import script_callbacks

HERE = Path(__file__).resolve().parents[2]
MODULES = ("facts", "product")


def _load(module):
    """The module as it is on the disk now: "Reload UI" keeps modules, and so would we."""
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    return importlib.reload(importlib.import_module(module))


def _routes(_demo, app):
    def names():
        return {module: list(_load(module).FACTS) for module in MODULES}

    def run(module: str, name: str):
        from modules.call_queue import queue_lock

        driver = _load("driver")
        try:
            with queue_lock:
                _load(module).FACTS[name](driver.Host())
        except BaseException:
            return {"error": traceback.format_exc()}
        return {"error": ""}

    app.add_api_route("/contract", names, methods=["GET"])
    app.add_api_route("/contract/{module}/{name}", run, methods=["POST"])


script_callbacks.on_app_started(_routes)
