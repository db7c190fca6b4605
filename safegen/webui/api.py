"""SafeGen's own routes on the WebUI's server, behind the host's own API password."""

from __future__ import annotations

from secrets import compare_digest
from typing import Any

from fastapi import Body, Depends, FastAPI, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from safegen import __version__
from safegen.contexts.library import ContextError, to_data
from safegen.errors import InvalidValue, SafeGenError, Unsupported
from safegen.learned.pairs import Pair as LabelledPair
from safegen.learned.probe import ProbeStore
from safegen.learned.store import LearnedStore, Pair
from safegen.plan import SETTINGS, SafetyPlan
from safegen.webui import (
    checking,
    deciding,
    encoder,
    host,
    monitoring,
    settings,
    users,
    watching,
)
from safegen.webui.arguments import plan_from
from safegen.webui.errors import as_http

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}
MOST_PAIRS = 20_000
"""Pairs that ``/safegen/learn`` takes."""


def contexts() -> list[dict[str, Any]]:
    """Every context: name, label, category, description, texts."""
    library = deciding.library()
    return [
        {**to_data(context), "built_in": library.is_built_in(context.name)} for context in library
    ]


def schema() -> dict[str, Any]:
    """A JSON schema of the script's named arguments; ``order`` is that of the positional ones."""
    properties: dict[str, Any] = {}
    base = settings.base_plan().to_dict()
    for name, setting in SETTINGS.items():
        entry: dict[str, Any] = {
            "type": _TYPES[setting.kind],
            "title": setting.label,
            "description": setting.help,
            "default": base[name],
            "infotext": setting.infotext,
        }
        if setting.minimum is not None:
            entry.update(minimum=setting.minimum, maximum=setting.maximum)
        if setting.kind is tuple:
            entry.update(items={"enum": list(setting.choices)}, minItems=1)
        elif setting.choices:
            entry["enum"] = list(setting.choices)
        properties[name] = entry
    properties["context"]["enum"] = ["auto", *deciding.library().names(), "custom"]
    try:
        rules = settings.active_policy()
        enforced = None if rules is None else {"level": rules.name, "why": rules.explain()}
    except SafeGenError as error:
        enforced = {"level": "unreadable", "why": str(error)}
    return {
        "title": "SafeGen",
        "version": __version__,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "order": list(SETTINGS),
        "enforced": enforced,
        "unsupported": host.why_unsupported(),
        "example": {
            "prompt": "a photo of a street",
            "steps": 20,
            "alwayson_scripts": {"SafeGen": {"args": [{"enabled": True, "weight": 0.7}]}},
        },
    }


def check(body: Any) -> dict[str, Any]:
    """Score ``body["prompt"]``; other entries are settings, such as threshold or context.

    Raises:
        HTTPException: 422 that names the field.
    """
    try:
        if not isinstance(body, dict):
            raise InvalidValue("body", body, 'a table such as {"prompt": "…"}')
        body = dict(body)
        prompt = checking.check_prompt(body.pop("prompt", None))
        base: SafetyPlan = settings.base_plan()
        plan = plan_from([{"strategy": "counterpart", **body}], base)
        (choice,) = checking.examine([prompt], plan)
    except InvalidValue as error:
        raise as_http(error) from None
    except ContextError as error:
        raise as_http(InvalidValue("context", body.get("context"), str(error))) from None
    return checking.to_data(choice, plan)


def _pairs(value: Any) -> list[Pair] | None:
    """``value`` as pairs of texts; ``None`` stays."""
    if value is None:
        return None
    allowed = f"a list of [unsafe, safe], two texts each, up to {MOST_PAIRS} pairs"
    if not isinstance(value, list) or not 0 < len(value) <= MOST_PAIRS:
        shown = f"{len(value)} entries" if isinstance(value, list) else value
        raise InvalidValue("pairs", shown, allowed)
    for pair in value:
        texts = isinstance(pair, list) and len(pair) == 2 and all(isinstance(t, str) for t in pair)
        if not texts or not all(text.strip() for text in pair):
            raise InvalidValue("pairs", pair, allowed)
    return [(unsafe.strip(), safe.strip()) for unsafe, safe in value]


def learn(body: Any) -> dict[str, Any]:
    """Learn in the loaded checkpoint's text encoder: a context's embedding, or the probe.

    ``{"context": "violence"}`` learns what strategies direction and projection need, from
    ``"pairs": [[unsafe, safe], …]`` if they are given, else from those kept the last time or
    from the context's own words; ``{"probe": true}`` fits the detector in the text encoder, and
    ``{"watch": true}`` what watches the model, to the built-in pairs or to ``"pairs"`` of harm of
    one kind, ``"category"`` (violence without).
    Refused where SafeGen is enforced: what is learned is the operator's business.

    Raises:
        HTTPException: 422 that names the field, or 500 with what went wrong.
    """
    try:
        known = ({"context"}, {"probe"}, {"watch"}, {"watch", "category"})
        if not isinstance(body, dict) or set(body) - {"pairs"} not in known:
            shown = sorted(body) if isinstance(body, dict) else body
            raise InvalidValue(
                "body", shown,
                '{"context": NAME} or {"watch": true}, with "pairs", or {"probe": true}',
            )  # fmt: skip
        if "probe" in body and "pairs" in body:
            raise InvalidValue("pairs", "with probe", "pairs with a context or watch only")
        pairs = _pairs(body.get("pairs"))
        if settings.enforcing():
            raise Unsupported("nothing can be learned over the API while SafeGen is enforced")
        folder = settings.contexts_folder()
        if "watch" in body:
            return _fit_watch(body, pairs)
        with host.exclusively():
            own = encoder.HostEncoder()
            if "probe" in body:
                if body["probe"] is not True:
                    raise InvalidValue("probe", body["probe"], "true")
                fitted = ProbeStore(folder).fit(own)
                return {"encoder": own.identity, **fitted.origin}
            context = deciding.library().get(str(body["context"]))
            found = LearnedStore(folder).learn(context, own, pairs)
        return {
            "encoder": own.identity,
            "context": context.name,
            "pairs": found.pairs,
            "rank": found.rank,
        }
    except ContextError as error:
        raise as_http(InvalidValue("context", body.get("context"), str(error))) from None
    except SafeGenError as error:
        raise as_http(error) from None


def _fit_watch(body: dict[str, Any], pairs: list[tuple[str, str]] | None) -> dict[str, Any]:
    """Fit what watches the loaded checkpoint."""
    category = body.get("category", "violence")
    if body["watch"] is not True:
        raise InvalidValue("watch", body["watch"], "true")
    known = sorted({c.category for c in deciding.library() if c.category})
    if category not in known:
        raise InvalidValue("category", category, ", ".join(known))
    own = None if pairs is None else [LabelledPair(category, *pair) for pair in pairs]
    with host.exclusively():
        fitted = watching.fit(own)
    return {"model": fitted.encoder, **fitted.origin, "alarm": round(fitted.alarm, 3)}


def _credentials() -> dict[str, str]:
    """The host's ``--api-auth user:password,…``."""
    found = str(host.flag("api_auth") or "")
    pairs = (entry.split(":", 1) for entry in found.split(",") if ":" in entry)
    return {user.strip(): password for user, password in pairs}


def _authorise(login: HTTPBasicCredentials = Depends(HTTPBasic())) -> None:  # noqa: B008
    """Answers 401 unless ``--api-auth`` gives this name this password."""
    accounts = _credentials()
    expected = accounts.get(login.username, "")
    same = compare_digest(expected.encode(), login.password.encode())
    if login.username not in accounts or not same:
        ask = {"WWW-Authenticate": "Basic"}
        raise HTTPException(401, "SafeGen: wrong user name or password", ask)


def register(_demo: Any, app: FastAPI) -> None:
    """The ``on_app_started`` callback: the routes, once for each server."""
    if not (host.flag("api", False) or host.flag("nowebui", False)):
        return
    if any(getattr(route, "path", "") == "/safegen/schema" for route in app.routes):
        return
    if host.flag("api_auth"):
        users.register(app)
    dependencies = [Depends(_authorise)] if host.flag("api_auth") else []

    def post_check(body: Any = Body(...)) -> dict[str, Any]:  # noqa: B008
        return check(body)

    def post_learn(body: Any = Body(...)) -> dict[str, Any]:  # noqa: B008
        return learn(body)

    routes: list[tuple[str, Any, list[str]]] = [
        ("/safegen/contexts", contexts, ["GET"]),
        ("/safegen/schema", schema, ["GET"]),
        ("/safegen/status", monitoring.status, ["GET"]),
        ("/safegen/check", post_check, ["POST"]),
        ("/safegen/learn", post_learn, ["POST"]),
    ]
    for path, endpoint, methods in routes:
        app.add_api_route(path, endpoint, methods=methods, dependencies=dependencies)
