"""What SafeGen costs on the real WebUI, measured on one server with requests that take turns.

    SD_WEBUI_DIR=/path/to/webui python tests/webui/overhead.py --out out/overhead.json

Every round asks for the same picture in each of the `CASES`, in an order of its own, with and
without SafeGen's hooks and callbacks on the same running host. Measured are the server process's
own CPU time (all its threads, user and system) and the wall time; each case is compared with its
own round's base, so that what else the machine does meanwhile counts for both. The result is the
median of the rounds' ratios with a 95 % bootstrap interval. What a disabled SafeGen costs is too
little to be seen that way on a busy machine, so the CPU time within its hooks and callbacks is
also counted directly, as a share of the request's.

``SD_WEBUI_URL``, ``SD_WEBUI_DATA`` and ``--pid`` use a server that runs already with the
extensions of ``conftest.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from common import BENIGN, HAZARD  # noqa: E402
from server import ROOT, Server  # noqa: E402

ACTIVE = {"context": "violence", "strategy": "counterpart", "tau": 0.0}
CASES: dict[str, tuple[str, str, Any]] = {
    "SafeGen removed": ("", HAZARD, None),
    "disabled": ("SafeGen removed", HAZARD, {"enabled": False}),
    "Auto, harmless prompt": ("removed, harmless prompt", BENIGN, {"context": "auto"}),
    "removed, harmless prompt": ("", BENIGN, None),
    "active in every call": ("SafeGen removed", HAZARD, ACTIVE),
    "active, defaults": ("SafeGen removed", HAZARD, {"context": "auto"}),
    "active, refresh 2": ("SafeGen removed", HAZARD, {**ACTIVE, "refresh": 2}),
}
"""Name to the case that it is compared with, the prompt, and SafeGen's arguments."""
RESAMPLES = 5000


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Median and its 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def measure(
    server: Server, pid: int, rounds: int, size: int, steps: int, seconds: float
) -> list[dict[str, dict[str, float]]]:
    """One table of case to CPU and wall seconds for each round."""
    order = list(CASES)
    shuffle = random.Random(1)
    found: list[dict[str, dict[str, float]]] = []
    until = time.monotonic() + seconds
    for number in range(rounds + 1):
        shuffle.shuffle(order)
        row: dict[str, dict[str, float]] = {}
        for name in order:
            _, prompt, named = CASES[name]
            installed = named is not None
            server.call("POST", "/faults/install", {"installed": installed})
            fields = {"width": size, "height": size, "steps": steps, "send_images": False}
            cpu, wall = cpu_seconds(pid), time.perf_counter()
            answer = server.txt2img(prompt, named, **fields)
            wall, cpu = time.perf_counter() - wall, cpu_seconds(pid) - cpu
            assert answer.status == 200, answer.message
            text = json.loads(answer.body["info"])["infotexts"][0]
            assert ("SafeGen" in text) is (installed and named != {"enabled": False}), text
            row[name] = {"cpu": cpu, "wall": wall}
        if number:  # the first warms up
            found.append(row)
            print(number, {name: round(value["cpu"], 2) for name, value in row.items()}, flush=True)  # noqa: T201
        if time.monotonic() > until:
            break
    server.call("POST", "/faults/install", {"installed": True})
    return found


def metered(server: Server, pid: int, size: int, steps: int, times: int = 5) -> list[float]:
    """The share of a request's CPU time that a disabled SafeGen's hooks and callbacks take."""
    shares = []
    for _ in range(times):
        server.call("POST", "/faults/meter")
        cpu = cpu_seconds(pid)
        fields = {"width": size, "height": size, "steps": steps, "send_images": False}
        answer = server.txt2img(HAZARD, {"enabled": False}, **fields)
        cpu = cpu_seconds(pid) - cpu
        assert answer.status == 200, answer.message
        found = server.call("GET", "/faults/meter").body
        assert found["calls"] >= 2 * steps, found
        shares.append(found["seconds"] / cpu)
    server.call("DELETE", "/faults")
    return shares


def table(rows: list[dict[str, dict[str, float]]]) -> str:
    """The result as Markdown."""
    lines = [
        "| case | compared with | CPU time | wall time | rounds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (base, _, _) in CASES.items():
        if not base:
            continue
        shown = []
        for kind in ("cpu", "wall"):
            ratios = np.array([row[name][kind] / row[base][kind] for row in rows])
            shown.append("{:.3f} ({:.3f} to {:.3f})".format(*interval(ratios)))
        lines.append(f"| {name} | {base} | {shown[0]} | {shown[1]} | {len(rows)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=3600.0, help="start no round after these")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pid", type=int, help="of the server that SD_WEBUI_URL names")
    parser.add_argument("--out", type=Path, help="where to put the figures as JSON")
    given = parser.parse_args()
    extensions = {"safegen": ROOT, "safegen-test": HERE / "extension"}
    with tempfile.TemporaryDirectory() as folder:
        url = os.environ.get("SD_WEBUI_URL")
        if url:
            server = Server.running(url, Path(os.environ["SD_WEBUI_DATA"]))
            pid = given.pid
        else:
            webui = Path(os.environ["SD_WEBUI_DIR"]).resolve()
            server = Server(webui, Path(folder), extensions=extensions).wait()
            assert server.process is not None
            pid = server.process.pid
        try:
            shares = metered(server, pid, given.size, given.steps)
            rows = measure(server, pid, given.rounds, given.size, given.steps, given.seconds)
        finally:
            if server.process is not None:
                server.stop()
    print(table(rows))  # noqa: T201
    sys.stdout.write(f"disabled, within its hooks and callbacks: at most {max(shares):.4%}\n")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({"disabled": shares, "rounds": rows}, indent=1))


if __name__ == "__main__":
    main()
