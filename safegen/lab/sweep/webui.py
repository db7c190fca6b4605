"""A running WebUI as a backend: its txt2img API, with errors a user can act on."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL import Image

import safegen
from safegen.choice import Chooser
from safegen.errors import InvalidValue
from safegen.lab.methods.catalogue import SAFEGEN
from safegen.lab.methods.words import texts_for
from safegen.lab.sweep.backends import (
    UNKNOWN,
    BackendInfo,
    Refused,
    Temporary,
    TooSlow,
    Unusable,
)
from safegen.lab.sweep.cells import Cell, Unit
from safegen.lab.sweep.manifest import Picture
from safegen.plan import SETTINGS
from safegen.webui.infotext import CHOSEN, DECIDED, VERSION

SCRIPT = "SafeGen"
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_PASSING = ("OutOfMemory", "CUDA", "Timeout", "Connection")
"""In the name of an exception behind a status of 500: it may go well the next time."""


@functools.cache
def _chooser() -> Chooser:
    return Chooser.default()


@dataclass(frozen=True)
class WebUI:
    """A WebUI's API.

    Args:
        url: Its address, such as ``http://127.0.0.1:7860``.
        auth: ``user:password`` of ``--api-auth``, or ``""``.
        timeout: Seconds to wait for one picture.
        guarded: Whether the sweep needs the SafeGen extension there.
        model, model_hash: Refuse pictures of any other checkpoint than the one of this name
            and hash, as `probe` told; a server started with ``--no-hashing`` has the name alone.
    """

    url: str
    auth: str = field(default="", repr=False)
    timeout: float = 600.0
    guarded: bool = True
    model: str = ""
    model_hash: str = ""

    def __post_init__(self) -> None:
        try:
            parsed = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InvalidValue("url", self.url, "an address such as http://127.0.0.1:7860") from (
                error
            )
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidValue("url", self.url, "an address such as http://127.0.0.1:7860")
        if parsed.userinfo:
            raise InvalidValue(
                "url", f"…@{parsed.host}", "an address without a password; use --auth"
            )
        if self.auth and ":" not in self.auth:
            raise InvalidValue("auth", "…", "user:password")
        if self.timeout <= 0:
            raise InvalidValue("timeout", self.timeout, "more than 0 seconds")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def name(self) -> str:
        """The address."""
        return self.url

    # ----------------------------------------------------------------- what it is

    def probe(self) -> BackendInfo:
        """Ask the server what it is and whether it can do what the sweep needs.

        Raises:
            Unusable: Wrong address, no API, wrong password, no extension, or an extension that
                does not know this version's settings.
            Temporary: It does not answer now.
        """
        options = self._get("/sdapi/v1/options")
        if "sd_model_checkpoint" not in options:
            raise Unusable(f"{self.url} is no WebUI: its options name no checkpoint")
        versions = {"webui": self._webui_version()}
        if self.guarded:
            schema = self._schema()
            versions["safegen on the server"] = str(schema.get("version", UNKNOWN))
            versions["contexts on the server"] = self._contexts()
            if schema.get("unsupported"):
                raise Unusable(f"{self.url}: SafeGen can't run there: {schema['unsupported']}")
            if schema.get("enforced"):
                raise Unusable(
                    f"{self.url}: its operator enforces SafeGen ({schema['enforced']}), so no "
                    "plain twins can be made there"
                )
        return BackendInfo(
            model=str(options.get("sd_model_checkpoint") or "unknown"),
            model_hash=str(options.get("sd_checkpoint_hash") or ""),
            versions=versions,
        )

    def _webui_version(self) -> str:
        try:
            return str(self._get("/internal/sysinfo").get("Version", UNKNOWN))
        except (Unusable, Temporary, Refused):
            return UNKNOWN

    def _contexts(self) -> str:
        """A digest of what the server's contexts say."""
        try:
            found = json.dumps(self._get("/safegen/contexts"), sort_keys=True)
        except (Unusable, Temporary, Refused):
            return UNKNOWN
        return hashlib.sha256(found.encode()).hexdigest()[:16]

    def _schema(self) -> dict[str, Any]:
        try:
            schema = self._get("/safegen/schema")
        except Unusable as error:
            if error.status != 404:
                raise
            raise Unusable(
                f"{self.url} has no SafeGen extension (no /safegen/schema); install it there, or "
                "leave out SafeGen with --no-safegen to measure peers alone"
            ) from None
        known = schema.get("properties")
        missing = [name for name in SETTINGS if not isinstance(known, dict) or name not in known]
        if missing or schema.get("version") != safegen.__version__:
            lacks = f", which does not know {', '.join(missing)}" if missing else ""
            raise Unusable(
                f"{self.url} runs another version of SafeGen, {schema.get('version')}{lacks}; "
                f"install {safegen.__version__} there, or the same version here"
            )
        return schema

    # ----------------------------------------------------------------- what it makes

    def make(self, unit: Unit) -> list[Picture]:
        """Make the pictures one by one; a server's batch would not take seeds of our own."""
        return [self._picture(cell) for cell in unit]

    def payload(self, cell: Cell) -> dict[str, Any]:
        """The request body of a cell."""
        texts = texts_for(cell.arm, cell.prompt, _chooser())
        body: dict[str, Any] = {
            "prompt": texts.webui_prompt,
            "negative_prompt": texts.webui_negative,
            "seed": cell.seed,
            "subseed_strength": 0,
            "steps": cell.sampling.steps,
            "cfg_scale": cell.sampling.guidance,
            "width": cell.sampling.width,
            "height": cell.sampling.height,
            "sampler_name": cell.sampling.sampler,
            "batch_size": 1,
            "n_iter": 1,
            "send_images": True,
            "save_images": False,
        }
        if self.guarded:
            # Said in every request: a server may guard by default, and a plain twin must be plain.
            plan = cell.arm.plan.to_dict() if cell.arm.plan else {"enabled": False}
            body["alwayson_scripts"] = {SCRIPT: {"args": [plan]}}
        return body

    def _picture(self, cell: Cell) -> Picture:
        body = self.payload(cell)
        started = time.perf_counter()
        answer = self._post("/sdapi/v1/txt2img", body)
        seconds = time.perf_counter() - started
        info = self._info(answer)
        png = self._png(answer, cell)
        infotext = (info.get("infotexts") or [""])[0]
        self._check(cell, info, infotext)
        return Picture(
            png,
            seconds,
            context=_context(cell, infotext),
            notes={"infotext": infotext, "prompt": body["prompt"]},
        )

    def _info(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        try:
            info = json.loads(answer["info"])
        except (KeyError, TypeError, ValueError):
            raise Temporary(f"{self.url} answered without its info field") from None
        if not isinstance(info, dict):
            raise Temporary(f"{self.url} answered with an info field that is no object")
        return info

    def _png(self, answer: Mapping[str, Any], cell: Cell) -> bytes:
        images = answer.get("images")
        if not isinstance(images, list) or not images or not isinstance(images[0], str):
            raise Temporary(f"{self.url} answered without a picture")
        try:
            raw = base64.b64decode(images[0].split(",", 1)[-1], validate=True)
            with Image.open(io.BytesIO(raw)) as image:
                image.load()
                size, kind = image.size, image.format
                if kind == "PNG":
                    png = raw
                else:
                    buffer = io.BytesIO()
                    image.convert("RGB").save(buffer, "PNG")
                    png = buffer.getvalue()
        except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise Temporary(f"{self.url} sent a picture that is broken") from None
        wanted = (cell.sampling.width, cell.sampling.height)
        if size != wanted:
            raise Refused(f"{self.url} sent {size[0]}x{size[1]} pixels instead of {wanted}")
        return png

    def _check(self, cell: Cell, info: Mapping[str, Any], infotext: str) -> None:
        """The picture is the one that was asked for, of the model that was asked for."""
        found = str(info.get("sd_model_hash") or "")
        name = str(info.get("sd_model_name") or "")
        if self.model_hash and found:
            same = _same_hash(found, self.model_hash)
        else:  # titles are "folder/name.safetensors [hash]"
            same = name in self.model or not self.model
        if not same:
            raise Unusable(
                f"{self.url} changed its checkpoint to {name} [{found}]; the sweep is about "
                f"{self.model} [{self.model_hash[:10]}]. Load that one again and resume"
            )
        if info.get("seed") not in (None, cell.seed):
            raise Refused(f"{self.url} used seed {info['seed']} instead of {cell.seed}")
        if not self.guarded:
            return
        weight = _weight(infotext)
        if cell.arm.plan is None and weight:
            raise Unusable(
                f"{self.url} guards every picture, even those asked for without: its operator "
                "enforces SafeGen. No plain twins can be made there"
            )
        if cell.arm.plan is not None and not _let_be(infotext):
            if weight is None:
                raise Unusable(f"{self.url} did not apply SafeGen: its infotext says nothing of it")
            asked = cell.arm.plan.weight
            if abs(weight - asked) > 1e-6:
                raise Unusable(
                    f"{self.url} used weight {weight:g} where {asked:g} was asked for: its "
                    "operator enforces other settings"
                )

    # ----------------------------------------------------------------- the wire

    def _get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path, None, min(self.timeout, 30.0))

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._request("POST", path, body, self.timeout)

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float
    ) -> dict[str, Any]:
        user, _, password = self.auth.partition(":")
        try:
            # A connection a request: a server that died in between is met at once, not later.
            with httpx.Client(
                auth=(user, password) if self.auth else None,
                timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
                trust_env=False,
            ) as client:
                response = client.request(method, self.url + path, json=body)
        except httpx.ConnectError as error:
            raise Temporary(
                f"{self.url} cannot be reached ({error}): is the WebUI running there?"
            ) from error
        except httpx.TimeoutException as error:
            raise TooSlow(f"{self.url} gave no answer in {timeout:g} s") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Temporary(f"{self.url} broke off its answer ({error})") from error
        self._check_status(response, path)
        try:
            data = response.json()
        except ValueError:
            raise Unusable(
                f"{self.url}{path} answers with something else than JSON: is it a WebUI?"
            ) from None
        if not isinstance(data, dict):
            raise Unusable(f"{self.url}{path} answers with JSON of another shape: is it a WebUI?")
        return data

    def _check_status(self, response: httpx.Response, path: str) -> None:
        status = response.status_code
        if status < 300:
            return
        where = f"{self.url}{path}"
        if status in (401, 403):
            raise Unusable(
                f"{where}: {status}, not let in; give --auth user:password as in --api-auth", status
            )
        if status == 404:
            raise Unusable(f"{where}: 404; start the WebUI with --api, check the address", status)
        if status < 400:
            raise Unusable(
                f"{where}: {status}, sends elsewhere; give the address it sends to", status
            )
        if status in _BUSY and not _refuses(response):
            raise Temporary(f"{where}: {status}, {_reason(response)}", status)
        raise Refused(f"{where}: {status}, {_reason(response)}", status)


def _refuses(response: httpx.Response) -> bool:
    """Whether a 500 would be one again: SafeGen says no, or the WebUI met an error by name."""
    if response.status_code != 500:
        return False
    try:
        data = response.json()
    except ValueError:
        return False
    if not isinstance(data, dict):
        return False
    if isinstance(data.get("detail"), dict) and "message" in data["detail"]:
        return True
    name = data.get("error")
    return isinstance(name, str) and bool(name) and not any(word in name for word in _PASSING)


def _reason(response: httpx.Response) -> str:
    """The server's own words, one line of at most 300 characters."""
    try:
        data = response.json()
    except ValueError:
        return " ".join(response.text.split())[:300] or "no reason given"
    if isinstance(data, dict):
        if isinstance(data.get("detail"), dict) and data["detail"].get("message"):
            return " ".join(str(data["detail"]["message"]).split())[:300]
        for key in ("errors", "detail", "error"):
            if data.get(key):
                return " ".join(str(data[key]).split())[:300]
    return "no reason given"


def _same_hash(one: str, other: str) -> bool:
    """A WebUI says its checkpoint's sha256 in full, or its first ten digits."""
    length = min(len(one), len(other))
    return one[:length].lower() == other[:length].lower()


def _parameter(infotext: str, key: str) -> str | None:
    """A value in an infotext's last line, quotes taken off."""
    found = re.search(
        rf'(?:^|, ){re.escape(key)}: ("(?:[^"\\]|\\.)*"|[^,]*)', infotext.split("\n")[-1]
    )
    return found.group(1).strip().strip('"') if found else None


def _weight(infotext: str) -> float | None:
    """The plan's weight, left out where it is the default; ``None`` if nothing was done."""
    text = _parameter(infotext, SETTINGS["weight"].infotext)
    if text is None:
        return float(SETTINGS["weight"].default) if _parameter(infotext, VERSION) else None
    try:
        return float(text)
    except ValueError:
        return None


def _let_be(infotext: str) -> bool:
    """Whether SafeGen read the prompt and had nothing to do."""
    return _parameter(infotext, DECIDED) is not None and _parameter(infotext, VERSION) is None


def _context(cell: Cell, infotext: str) -> str | None:
    """Which context guarded a picture: ``""`` for none, ``None`` if its infotext does not say."""
    if cell.arm.method != SAFEGEN:
        return None
    if _let_be(infotext):
        return ""
    chosen = _parameter(infotext, CHOSEN)
    if chosen is None and _parameter(infotext, VERSION):
        return _parameter(infotext, SETTINGS["context"].infotext)
    return "" if chosen == "none" else chosen
