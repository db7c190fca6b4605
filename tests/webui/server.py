"""Starts an installed WebUI in a folder of its own, and talks to its API."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import variants
from PIL import Image

ROOT = Path(__file__).parents[2]
STARTED = "Startup time:"
START_SECONDS = 600.0
"""A WebUI starts in half a minute on a desktop; a busy shared core takes many times that."""


@dataclass
class Answer:
    """What the API answered.

    Args:
        images: ``uint8`` arrays ``[H, W, 3]``.
    """

    status: int
    body: Any
    images: list[np.ndarray] = field(default_factory=list)
    infotexts: list[str] = field(default_factory=list)

    @property
    def image(self) -> np.ndarray:
        assert self.status == 200, f"{self.status}: {str(self.body)[:800]}"
        return self.images[0]

    @property
    def message(self) -> str:
        """The error's text."""
        return json.dumps(self.body) if not isinstance(self.body, str) else self.body


def png(array: np.ndarray) -> str:
    """An image as the API takes it."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def difference(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference of any value of two pictures, of 255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


WEBUI, FORGE, REFORGE = "the WebUI", "Forge", "reForge"


def python_of(webui: Path) -> str:
    """A WebUI's interpreter."""
    own = webui / "venv" / "bin" / "python"
    return os.environ.get("SD_WEBUI_PYTHON") or (str(own) if own.exists() else sys.executable)


def kind_of(webui: Path) -> str:
    """Which host is installed in this folder."""
    if not (webui / "modules_forge").is_dir():
        return WEBUI
    return FORGE if (webui / "backend").is_dir() else REFORGE


FLAGS = {
    WEBUI: "--use-cpu all --no-half",
    FORGE: "--always-cpu --skip-install",
    REFORGE: "--always-cpu --skip-install",
}
"""On a processor; ``SD_WEBUI_FLAGS`` takes their place."""


def install_widened(webui: Path, data: Path) -> None:
    """Widen the embedded model into ``data``; CLIP's vocabulary is that of the host's packages."""
    from safegen.lab.model.sd15.words import find_vocabulary

    command = [sys.executable, "-m", "safegen", "demo", "install", str(data), "--sd15"]
    vocabulary = str(find_vocabulary(webui))
    subprocess.run([*command, "--clip-vocabulary", vocabulary], check=True)


class Server:
    """A running WebUI, Forge or reForge.

    Args:
        webui: Its folder.
        data: A folder for this run alone: models, outputs, settings, extensions.
        flags: More command line flags.
        extensions: Name to folder; linked into ``data``.
        config: What its ``config.json`` begins with.
    """

    def __init__(
        self,
        webui: Path,
        data: Path,
        flags: tuple[str, ...] = (),
        extensions: dict[str, Path] | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.webui, self.data, self.kind = webui, data, kind_of(webui)
        self.auth: str | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data / "log.txt"
        (data / "models").mkdir(parents=True, exist_ok=True)
        (data / "extensions").mkdir(exist_ok=True)
        for name, folder in (extensions or {}).items():
            (data / "extensions" / name).symlink_to(folder, target_is_directory=True)
        settings = {
            "sd_model_checkpoint": self._install_model(),
            # The others' previews need a file from the internet on Forge and reForge.
            **({} if self.kind == WEBUI else {"show_progress_type": "Approx cheap"}),
            "show_progress_every_n_steps": 1,
            "live_previews_enable": True,
            **(config or {}),
        }
        (data / "config.json").write_text(json.dumps(settings))
        self.process: subprocess.Popen[bytes] | None = self._start(flags)

    @classmethod
    def running(cls, url: str, data: Path) -> Server:
        """One that was started by hand with the extensions of ``conftest.py``."""
        server = cls.__new__(cls)
        server.url, server.data, server.log = url.rstrip("/"), data, data / "log.txt"
        server.auth, server.process = None, None
        server.webui = Path(os.environ.get("SD_WEBUI_DIR", ".")).resolve()
        server.kind = kind_of(server.webui)
        return server

    def _install_model(self) -> str:
        """The checkpoint's file name. Forge and reForge take none smaller than SD1.5."""
        models = self.data / "models"
        if self.kind == WEBUI:
            from safegen.lab.model.pipeline import install

            install(self.data)
            variants.make(models / "Stable-diffusion", models / "Lora")
            return "safegen-world.safetensors"
        folder = models / "Stable-diffusion"
        folder.mkdir(exist_ok=True)
        if os.environ.get("SAFEGEN_SD15"):
            made = Path(os.environ["SAFEGEN_SD15"]).resolve()
            (folder / made.name).symlink_to(made)
            return made.name
        install_widened(self.webui, self.data)
        return next(folder.glob("*.safetensors")).name

    def _start(self, flags: tuple[str, ...]) -> subprocess.Popen[bytes]:
        python = python_of(self.webui)
        device = os.environ.get("SD_WEBUI_FLAGS", FLAGS[self.kind])
        command = [
            *(python, "-u", "launch.py", "--skip-prepare-environment", "--skip-torch-cuda-test"),
            *("--skip-version-check", "--no-download-sd-model", "--do-not-download-clip"),
            *("--no-hashing", "--disable-console-progressbars", "--api"),
            *("--port", str(self.port), "--data-dir", str(self.data)),
            *shlex.split(device),
            *flags,
        ]
        environment = {
            **os.environ,
            "COMMANDLINE_ARGS": "",
            "PYTHONPATH": "",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "no_proxy": "127.0.0.1,localhost",
        }
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self.webui,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, times: int = 1) -> Server:
        """Until it has started for the ``times``-th time (a reload starts it again)."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = self.log.read_text(errors="replace")
            if text.count(STARTED) + text.count("Uvicorn running on") >= times:
                # Without its page the WebUI says so before it listens.
                port = int(self.url.rpartition(":")[2])
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 30):
                    return self
            if self.process is not None and self.process.poll() is not None:
                raise RuntimeError(f"the WebUI ended while starting:\n{text[-3000:]}")
            time.sleep(0.5)
        raise RuntimeError(f"the WebUI did not start:\n{text[-3000:]}")

    def reload_ui(self) -> None:
        """Press "Reload UI", and wait until its API answers again."""
        text = self.log.read_text(errors="replace")
        self.call("POST", "/faults/reload-ui")
        self.wait(text.count(STARTED) + text.count("Uvicorn running on") + 1)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError):
                if self.call("GET", "/faults/registrations").status == 200:
                    return
            time.sleep(0.5)
        raise RuntimeError("the WebUI did not come back")

    def stop(self) -> None:
        """End it, with everything that it has started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(15)

    def call(self, method: str, path: str, body: Any = None, auth: str | None = "") -> Answer:
        """One request; ``auth`` is ``user:password``, by default the server's own."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        credentials = self.auth if auth == "" else auth
        if credentials:
            token = base64.b64encode(credentials.encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=900) as answer:
                return self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return self._answer(error.code, error.read())

    @contextmanager
    def keeping(self, *names: str) -> Iterator[dict[str, Any]]:
        """The host's settings; after the block ``names`` are as they were before it.

        A host that was never told of an option keeps what overrides it.
        """
        before = self.call("GET", "/sdapi/v1/options").body
        try:
            yield before
        finally:
            kept = {name: before[name] for name in names if name in before}
            assert self.call("POST", "/sdapi/v1/options", kept).status == 200

    def _answer(self, status: int, raw: bytes) -> Answer:
        try:
            body = json.loads(raw)
        except ValueError:
            return Answer(status, raw.decode(errors="replace"))
        answer = Answer(status, body)
        if isinstance(body, dict) and isinstance(body.get("images"), list):
            for text in body["images"]:
                image = Image.open(io.BytesIO(base64.b64decode(text)))
                answer.images.append(np.asarray(image.convert("RGB")))
                answer.infotexts.append(image.info.get("parameters", ""))
        return answer

    def txt2img(self, prompt: str, safegen: Any = None, **fields: Any) -> Answer:
        """One request. ``safegen``: its named arguments, or a list of positional ones."""
        return self.call("POST", "/sdapi/v1/txt2img", self._body(prompt, safegen, fields))

    def img2img(self, prompt: str, image: np.ndarray, safegen: Any = None, **fields: Any) -> Answer:
        """One request from a picture."""
        body = self._body(prompt, safegen, {"init_images": [png(image)], **fields})
        return self.call("POST", "/sdapi/v1/img2img", body)

    def _body(self, prompt: str, safegen: Any, fields: dict[str, Any]) -> dict[str, Any]:
        body = {
            "prompt": prompt,
            "seed": 7,
            "steps": 4,
            "cfg_scale": 4.0,
            "width": 96,
            "height": 96,
            "sampler_name": "Euler a",
            **fields,
        }
        if body.get("enable_hr") and self.kind != WEBUI:
            body.setdefault("hr_cfg", body["cfg_scale"])  # 1 if it is left out
        if body.get("enable_hr") and self.kind == FORGE:
            body.setdefault("hr_additional_modules", ["Use same choices"])  # an error without
        scripts = dict(body.pop("scripts", {}))
        if safegen is not None:
            scripts["SafeGen"] = {"args": safegen if isinstance(safegen, list) else [safegen]}
        if scripts:
            body["alwayson_scripts"] = scripts
        return body

    def last_error(self) -> str:
        """The last line of its log that names an exception; its API wraps them without a cause."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [line.strip(" |") for line in lines if re.match(r"[ |]*[\w.]*Error: ", line)]
        return found[-1] if found else ""

    def saved(self) -> list[Path]:
        """Every picture that it has written."""
        return sorted(
            path
            for folder in ("outputs", "output")
            for path in (self.data / folder).rglob("*.*")
            if path.suffix in (".png", ".jpg", ".webp")
        )
