"""Test only: runs the facts of ``tests/host`` within the real WebUI, on request.

Routes: ``GET /contract`` lists what can be run; ``POST /contract/{module}/{name}`` runs one and
answers with its traceback, or with an empty text.
"""

import importlib
import sys
import traceback
from pathlib import Path

from modules import script_callbacks

HERE = Path(__file__).resolve().parents[2]
# Those that others import come first.
MODULES = ("driver", "facts_calls", "facts_guard", "facts_runs", "facts_closed", "facts_told")
MODULES += ("facts_others", "facts_towards", "facts_beside", "facts_steps")
MODULES += ("facts_attacks", "facts_neighbours", "faults", "soak")


def _load():
    """The modules as they are on the disk now: "Reload UI" keeps modules, and so would we."""
    if str(HERE) not in sys.path:
        sys.path.append(str(HERE))
    return {name: importlib.reload(importlib.import_module(name)) for name in MODULES}


def _routes(_demo, app):
    def names():
        return {name: list(getattr(module, "FACTS", ())) for name, module in _load().items()}

    def run(module: str, name: str):
        from modules.call_queue import queue_lock

        loaded = _load()
        try:
            with queue_lock:
                loaded[module].FACTS[name](loaded["driver"].Host())
        except BaseException:
            return {"error": traceback.format_exc()}
        return {"error": ""}

    def faults(body: dict):
        """A part of the matrix of `faults.py`."""
        from dataclasses import asdict

        from modules.call_queue import queue_lock

        loaded = _load()
        way, part, parts = body["way"], body["part"], body["parts"]
        try:
            with queue_lock:
                matrix = loaded["faults"]
                found = matrix.matrix(
                    loaded["driver"].Host(),
                    matrix.WAYS[way],
                    only=lambda number, name: (
                        number % parts == part and name.startswith(body["only"])
                    ),
                )
        except BaseException:
            return {"error": traceback.format_exc(), "outcomes": []}
        return {"error": "", "outcomes": [asdict(one) for one in found]}

    app.add_api_route("/contract-faults", faults, methods=["POST"])
    app.add_api_route("/contract", names, methods=["GET"])
    app.add_api_route("/contract/{module}/{name}", run, methods=["POST"])


script_callbacks.on_app_started(_routes)
