"""A WebUI's API in a thread of the tests: answers like one, and fails on demand."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

import safegen
from safegen.plan import SETTINGS, SafetyPlan
from safegen.webui.infotext import differing

MODEL_HASH = "0123456789abcdef" * 4


def picture(body: dict[str, Any]) -> Image.Image:
    """A small picture that depends on everything that was asked for, as a real one does."""
    asked = {k: body.get(k) for k in ("prompt", "negative_prompt", "seed", "cfg_scale")}
    asked["plan"] = body.get("alwayson_scripts", {}).get("SafeGen", {}).get("args", [{}])[0]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()
    image = Image.frombytes("RGB", (2, 2), digest[:12])
    return image.resize((body["width"], body["height"]), Image.Resampling.NEAREST)


class FakeWebUI:
    """Settings of the fake, changed by tests while it runs.

    Args:
        delay: Seconds that a picture takes.
        trouble: Called with (how many pictures were asked for, body) before each; may return a
            word that says how to fail: 401, 403, 404, 422, 500, 503, refused, named, memory, die,
            stall, half, garbage, cut-png.
    """

    def __init__(
        self,
        *,
        delay: float = 0.0,
        auth: str = "",
        extension: bool = True,
        trouble: Callable[[int, dict[str, Any]], str] = lambda _n, _body: "",
    ) -> None:
        self.delay, self.auth, self.extension, self.trouble = delay, auth, extension, trouble
        self.model, self.model_hash = "world.safetensors [0123456789]", MODEL_HASH
        self.settings = list(SETTINGS)
        self.version = safegen.__version__
        self.contexts: dict[str, Any] = {"contexts": []}
        self.enforced_weight: float | None = None
        self.asked: list[dict[str, Any]] = []
        self.release = threading.Event()
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: Any) -> None:
                pass

            def answer(self, status: int, data: Any) -> None:
                raw = data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def allowed(self) -> bool:
                wanted = "Basic " + base64.b64encode(fake.auth.encode()).decode()
                if fake.auth and self.headers.get("Authorization") != wanted:
                    self.answer(401, {"detail": "Incorrect username or password"})
                    return False
                return True

            def do_GET(self) -> None:
                if not self.allowed():
                    return
                if self.path == "/sdapi/v1/options":
                    self.answer(
                        200,
                        {
                            "sd_model_checkpoint": fake.model,
                            "sd_checkpoint_hash": fake.model_hash,
                        },
                    )
                elif self.path == "/internal/sysinfo":
                    self.answer(200, {"Version": "v1.10.1"})
                elif self.path == "/safegen/contexts" and fake.extension:
                    self.answer(200, fake.contexts)
                elif self.path == "/safegen/schema" and fake.extension:
                    self.answer(
                        200,
                        {
                            "version": fake.version,
                            "properties": {name: {} for name in fake.settings},
                            "enforced": None,
                        },
                    )
                else:
                    self.answer(404, {"detail": "Not Found"})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.allowed():
                    return
                with fake.lock:
                    fake.asked.append(body)
                    count = len(fake.asked)
                how = fake.trouble(count, body)
                time.sleep(fake.delay)
                if how == "stall":
                    fake.release.wait(20)
                    self.close_connection = True
                elif how == "die":
                    self.connection.close()
                    self.close_connection = True
                elif how == "refused":  # as SafeGen's own errors arrive
                    self.answer(500, {"detail": {"field": None, "message": "the guard failed"}})
                elif how in ("named", "memory"):  # as the WebUI's own handler writes them
                    name = "ValueError" if how == "named" else "OutOfMemoryError"
                    self.answer(500, {"error": name, "detail": "", "errors": "on demand"})
                elif how in ("401", "403", "404", "422", "500", "503"):
                    self.answer(int(how), {"detail": f"trouble {how}", "errors": "on demand"})
                elif how == "garbage":
                    self.answer(200, b"<html>a proxy's login page</html>")
                else:
                    self.picture(body, how)

            def picture(self, body: dict[str, Any], how: str) -> None:
                buffer = io.BytesIO()
                picture(body).save(buffer, "PNG")
                png = buffer.getvalue()
                if how == "cut-png":
                    png = png[: len(png) // 2]
                info = {
                    "seed": body["seed"],
                    "sd_model_name": fake.model,
                    "sd_model_hash": fake.model_hash[:10],
                    "infotexts": [fake.infotext(body)],
                }
                raw = json.dumps(
                    {"images": [base64.b64encode(png).decode()], "info": json.dumps(info)}
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                if how == "half":
                    self.wfile.write(raw[: len(raw) // 2])
                    self.wfile.flush()
                    self.connection.close()
                    self.close_connection = True
                else:
                    self.wfile.write(raw)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_args: None  # type: ignore[method-assign]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def infotext(self, body: dict[str, Any]) -> str:
        line = f"Steps: {body['steps']}, Seed: {body['seed']}"
        args = body.get("alwayson_scripts", {}).get("SafeGen", {}).get("args", [{}])[0]
        plan = SafetyPlan.from_dict(args) if args else SafetyPlan(enabled=False)
        if self.enforced_weight is not None:
            plan = plan.replace(enabled=True, weight=self.enforced_weight)
        if plan.active:
            line += ", SafeGen: Auto chose Violence (score 0.98), SafeGen chose: violence"
            line += "".join(f", {k}: {v}" for k, v in differing(plan).items())
            line += f", SafeGen version: {self.version}"
        return f"{body['prompt']}\n{line}"


@contextmanager
def running(**settings: Any) -> Iterator[FakeWebUI]:
    """A fake that serves until the block ends."""
    fake = FakeWebUI(**settings)
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.release.set()
        fake.server.shutdown()
        fake.server.server_close()
