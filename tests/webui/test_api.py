"""The API, infotexts, X/Y/Z plots, and what an operator enforces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from common import BENIGN, HAZARD, KNOWN, ON
from server import FORGE, REFORGE, Answer, Server, difference

BAD: dict[str, tuple[Any, str]] = {
    "weight too large": ({"weight": 1.5}, "weight"),
    "weight a text": ({"weight": "much"}, "weight"),
    "tau negative": ({"tau": -0.1}, "tau"),
    "end before tau": ({"tau": 0.6, "end": 0.5}, "tau"),
    "unknown name": ({"wieght": 0.5}, "wieght"),
    "unknown context": ({"context": "no such thing"}, "context"),
    "unknown strategy": ({"strategy": "magic"}, "strategy"),
    "custom without text": ({"context": "custom"}, "safe_text"),
    "refresh a fraction": ({"refresh": 1.5}, "refresh"),
    "no detector": ({"detectors": []}, "detectors"),
    "enabled a text": ({"enabled": "yes"}, "enabled"),
    "positional": ([True, "auto", 7], "weight"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(server: Server, case: str) -> None:
    """Arguments that are not allowed: 422 that names the field."""
    given, field = BAD[case]
    made = server.txt2img(HAZARD, given)
    assert made.status == 422, (made.status, made.message)
    assert field in made.message


def test_positional_and_named_arguments(server: Server) -> None:
    """Positional and named arguments say the same; a short list keeps the defaults."""
    order = server.call("GET", "/safegen/schema").body["order"]
    named = server.txt2img(HAZARD, {"context": "violence", "weight": 0.8})
    values = {"enabled": True, "context": "violence", "weight": 0.8}
    positional = [values.get(name) for name in order[: order.index("weight") + 1]]
    assert np.array_equal(named.image, server.txt2img(HAZARD, positional).image)
    assert np.array_equal(server.txt2img(HAZARD).image, server.txt2img(HAZARD, [False]).image)


def test_routes(server: Server) -> None:
    """Routes: contexts, schema, check."""
    contexts = server.call("GET", "/safegen/contexts").body
    assert {"violence", "sexual", "hate"} <= {context["name"] for context in contexts}
    schema = server.call("GET", "/safegen/schema").body
    assert schema["properties"]["weight"]["maximum"] == 1.0
    found = server.call("POST", "/safegen/check", {"prompt": HAZARD}).body
    assert found["context"] == "violence"
    assert any(span["text"] == "bloody" for span in found["spans"])
    assert server.call("POST", "/safegen/check", {"prompt": BENIGN}).body["context"] is None
    for body in ({}, {"prompt": 7}, {"prompt": "x", "weight": 9}, [], "x"):
        refused = server.call("POST", "/safegen/check", body)
        assert refused.status == 422, (body, refused.message)


def test_the_schema_s_example_works(server: Server) -> None:
    """The documented example can be pasted."""
    example = server.call("GET", "/safegen/schema").body["example"]
    made = server.call(
        "POST", "/sdapi/v1/txt2img", {**example, "steps": 2, "width": 96, "height": 96}
    )
    assert made.status == 200, made.message


def test_script_info_names_every_control(server: Server) -> None:
    """/sdapi/v1/script-info lists the arguments in order."""
    for entry in server.call("GET", "/sdapi/v1/script-info").body:
        if entry["name"] == "safegen":
            labels = [argument["label"] for argument in entry["args"]]
            assert (
                len(labels)
                == len(set(labels))
                == len(server.call("GET", "/safegen/schema").body["order"])
            )
            assert not entry["args"][0]["value"]


SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "Auto": {"context": "auto", "tau": 0.25},
    "everything": {
        **ON,
        "weight": 0.85,
        "curve": "cosine",
        "region": "disagreement",
        "refresh": 2,
        "end": 0.9,
        "strategy": "append",
        "detectors": ["lexicon"],
        "threshold": 0.33,
    },
    "custom, with signs": {
        "context": "custom",
        "safe_text": 'a "star", a box: calm, 3:4',
        "unsafe_text": "bloody, 512x512",
        "strategy": "prepend",
    },
    "independent": {**ON, "streams": "independent"},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_infotext_repeats_the_picture(server: Server, case: str) -> None:
    """Infotext: read back alone, it makes the same picture with the same infotext."""
    if server.kind == FORGE:
        pytest.skip("Forge's API ends in an error of its own, with and without SafeGen")
    made = server.txt2img(HAZARD, SETTINGS[case], negative_prompt="a house")
    assert made.status == 200, made.message
    again = server.call(
        "POST", "/sdapi/v1/txt2img", {"infotext": made.infotexts[0], "send_images": True}
    )
    assert np.array_equal(made.image, again.image)
    assert again.infotexts[0] == made.infotexts[0]


def test_pasting_a_plain_infotext_switches_off(server: Server) -> None:
    """Infotext: of a plain picture, it switches SafeGen off and changes nothing else."""
    plain = server.txt2img(HAZARD)
    values = server.call("POST", "/faults/paste", {"infotext": plain.infotexts[0]}).body
    assert values[0]["value"] is False
    assert {entry["value"] for entry in values[1:]} == {None}
    assert "SafeGen" not in plain.infotexts[0]


def plot(server: Server, axes: list[tuple[str, str]], safegen: Any, **more: Any) -> Answer:
    """An X/Y/Z plot; axes are labels and values."""
    labels = server.call("GET", "/faults/axes").body
    indices = [(labels.index(label), values) for label, values in axes]
    indices += [(0, "")] * (3 - len(indices))
    arguments: list[Any] = []
    for index, values in indices:  # an axis with choices reads the list, any other the text
        arguments += [index, values, [v for v in values.split(", ") if v]]
    arguments += [False]
    if server.kind == REFORGE:  # labels of single pictures, no grid, how many pictures a grid has
        arguments += [False, False, 0]
    arguments += [True, False, False, False, False, False, 0, False]
    return server.txt2img(HAZARD, safegen, script_name="x/y/z plot", script_args=arguments, **more)


CELLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "weight": ("0.3", "1", {}),
    "tau": ("0", "0.5", {"steps": 10}),
    "context": ("violence", "hate", {"strategy": "context"}),
    "strategy": ("counterpart", "prepend", {}),
    "streams": ("shared", "independent", {"weight": 0.5}),
    "curve": ("constant", "linear", {"steps": 10}),
    "end": ("0.5", "1", {}),
    "region": ("everywhere", "disagreement", {**KNOWN, "weight": 0.5}),
    "refresh": ("1", "2", {"weight": 0.5}),
    "threshold": ("0.5", "1", {"context": "auto"}),
    "enabled": ("True", "False", {}),
}


@pytest.mark.parametrize("name", CELLS)
def test_every_axis_does_what_it_says(server: Server, name: str) -> None:
    """X/Y/Z: each cell is the picture, with the infotext, that its setting makes alone."""
    *values, more = CELLS[name]
    more = dict(more)
    fields = {"steps": more.pop("steps", 4)}
    property_ = server.call("GET", "/safegen/schema").body["properties"][name]
    label = f"[SafeGen] {property_['title']}"
    kinds = {"number": float, "integer": int, "boolean": lambda text: text == "True"}
    made = plot(server, [(label, ", ".join(values))], {**ON, **more}, **fields)
    assert made.status == 200, made.message
    cells = list(zip(made.images[-2:], made.infotexts[-2:], strict=True))
    for text, (image, infotext) in zip(values, cells, strict=True):
        value = kinds.get(property_["type"], str)(text)
        alone = server.txt2img(HAZARD, {**ON, **more, name: value}, **fields)
        assert np.array_equal(image, alone.image), text
        assert infotext.split("Version:")[0] == alone.infotexts[0].split("Version:")[0]
    assert difference(cells[0][0], cells[1][0]) > 0, "the axis changes nothing"


@pytest.mark.parametrize(
    ("word", "values"),
    [("weight", "0.5, 7"), ("safety context", "violence, nonsense"), ("curve", "constant, bent")],
)
def test_axes_refuse_before_the_first_cell(server: Server, word: str, values: str) -> None:
    """X/Y/Z: values that are not allowed are refused before the first cell."""
    labels = [x for x in server.call("GET", "/faults/axes").body if x.startswith("[SafeGen]")]
    label = next(x for x in labels if word in x.lower())
    made = plot(server, [(label, values)], ON)
    assert made.status != 200
    assert values.split(", ")[1] in made.message
    assert not server.call("GET", "/faults").body, "a cell was made"


# ---------------------------------------------------------------------- enforcement


@pytest.fixture(scope="module")
def enforcing(boot: Callable[..., Server]) -> Iterator[Server]:
    """A host whose operator enforces SafeGen and wants a password."""
    server = boot("--safegen-enforce", "basic", "--api-auth", "user:pass word")
    server.auth = "user:pass word"
    yield server
    server.stop()


def test_routes_want_the_password(enforcing: Server) -> None:
    """Routes are behind the API's password."""
    for method, path in (
        ("GET", "/safegen/contexts"),
        ("GET", "/safegen/schema"),
        ("GET", "/safegen/status"),
        ("POST", "/safegen/check"),
        ("POST", "/safegen/learn"),
    ):
        for wrong in (None, "user:wrong", "nobody:pass word"):
            assert enforcing.call(method, path, {"prompt": "x"}, auth=wrong).status == 401
    assert enforcing.call("GET", "/safegen/contexts").status == 200
    assert enforcing.call("GET", "/safegen/schema").body["enforced"]["level"] == "basic"
    refused = enforcing.call("POST", "/safegen/learn", {"context": "violence"})
    assert refused.status == 422, "what is learned is the operator's business"


WAYS: dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]] = {
    "no arguments": (None, {}, ()),
    "enabled false": ({"enabled": False}, {}, ()),
    "positional off": ([False], {}, ()),
    "weight 0": ({**ON, "weight": 0.0}, {}, ("Safety weight: 0 became 0.7",)),
    "a high threshold": ({"context": "auto", "threshold": 1.0}, {}, ("unsafe from: 1 became",)),
    "another context": ({"context": "hate", "strategy": "context"}, {}, ()),
    "a late start": ({**ON, "tau": 0.95}, {}, ("0.95 became 0.1",)),
    "an early end": ({**ON, "end": 0.05, "tau": 0.0}, {}, ("0.05 became 1",)),
    "a rising curve": ({**ON, "curve": "linear"}, {}, ("linear became constant",)),
    "a rare refresh": ({**ON, "refresh": 8}, {}, ("8 became 2",)),
    "a part of the picture": ({**ON, "region": "disagreement"}, {}, ()),
    "another dial": ({**ON, "dial": "reconstruction"}, {}, ("reconstruction became",)),
    "no push": ({**ON, "push": 0.0}, {}, ("Push away: 0 became 1",)),
    "one detector": ({"context": "auto", "detectors": ["ngram"]}, {}, ("ngram became",)),
    "a custom context": (
        {"context": "custom", "safe_text": "bloody", "unsafe_text": "beach"},
        {},
        ("custom became auto",),
    ),
    "override_settings": (
        {"enabled": False},
        {
            "override_settings": {
                "safegen_enforce": "off",
                "safegen_default_weight": 0.0,
                "safegen_default_tau": 0.9,
                "safegen_guard_nested": False,
                "safegen_lexicon_file": "/nowhere",
            }
        },
        (),
    ),
    "no hires": ({**ON, "hires": False}, {}, ("hires pass: False",)),
}


@pytest.mark.parametrize("way", WAYS)
def test_enforced(enforcing: Server, server: Server, way: str) -> None:
    """Enforced: no way around it, and the user sees why."""
    named, fields, notes = WAYS[way]
    plain = server.txt2img(HAZARD)
    made = enforcing.txt2img(HAZARD, named, **fields)
    assert made.status == 200, made.message
    assert difference(plain.image, made.image) > 0, "an unguarded picture came out"
    assert "SafeGen enforced: basic" in made.infotexts[0]
    assert "SafeGen weight: 0" not in made.infotexts[0] or "SafeGen weight: 0." in made.infotexts[0]
    note = made.infotexts[0].partition("SafeGen note: ")[2]
    for word in notes:
        assert word in note, (word, made.infotexts[0])


def test_enforced_for_pasted_infotexts(enforcing: Server, server: Server) -> None:
    """Enforced: an infotext of a plain picture does not switch it off."""
    plain = server.txt2img(HAZARD)
    made = enforcing.call("POST", "/sdapi/v1/txt2img", {"infotext": plain.infotexts[0]})
    assert difference(plain.image, made.image) > 0


def test_enforced_for_axes_and_settings(enforcing: Server, server: Server) -> None:
    """Enforced: neither an X/Y/Z axis nor the options route switches it off."""
    plain = server.txt2img(HAZARD)
    enforcing.call("POST", "/sdapi/v1/options", {"safegen_enforce": "off"})
    labels = enforcing.call("GET", "/faults/axes").body
    switch = next(x for x in labels if x.startswith("[SafeGen]") and "enable" in x.lower())
    made = plot(enforcing, [(switch, "True, False")], None)
    assert (made.status, made.images) == (422, []), made.message
    assert "stays on: it is enforced here. Because of this cell no grid was made" in made.message
    made = plot(enforcing, [(switch, "True")], None)
    assert made.status == 200, made.message
    assert made.images
    for image in made.images:
        if image.shape == plain.image.shape:
            assert difference(plain.image, image) > 0


def test_enforced_through_every_reload(enforcing: Server, server: Server) -> None:
    """Enforced: reloading the scripts or the page changes nothing, and wraps the host once."""
    plain = server.txt2img(HAZARD)
    wanted = enforcing.txt2img(HAZARD, ON)
    named = enforcing.call("GET", "/faults/registrations").body
    assert named["process_images_inner"] == 1

    def holds() -> None:
        assert enforcing.call("GET", "/faults/registrations").body == named
        assert difference(enforcing.txt2img(HAZARD).image, plain.image) > 0
        assert np.array_equal(enforcing.txt2img(HAZARD, ON).image, wanted.image)
        assert enforcing.call("GET", "/safegen/contexts", auth=None).status == 401

    assert enforcing.call("POST", "/faults/reload-scripts").status == 200
    holds()
    enforcing.reload_ui()
    holds()


def test_enforced_leaves_harmless_prompts_alone(enforcing: Server, server: Server) -> None:
    """Enforced: a harmless prompt is bit-identical."""
    assert np.array_equal(enforcing.txt2img(BENIGN).image, server.txt2img(BENIGN).image)


@pytest.fixture
def option(server: Server) -> Iterator[Callable[[str, Any], None]]:
    """Changes a setting as the settings page does; all are put back."""
    before = server.call("GET", "/sdapi/v1/options").body
    changed: dict[str, Any] = {}

    def change(name: str, value: Any) -> None:
        changed[name] = before.get(name, "off" if name == "safegen_enforce" else None)
        assert server.call("POST", "/faults/option", {"name": name, "value": value}).status == 200

    yield change
    for name, value in changed.items():
        server.call("POST", "/faults/option", {"name": name, "value": value})


def test_enforced_by_the_settings_page(server: Server, option: Callable[[str, Any], None]) -> None:
    """Enforced in the settings: at once, until it is taken back, and then off is off at once."""
    plain = server.txt2img(HAZARD)
    option("safegen_enforce", "basic")
    for named in (None, {"enabled": False}):
        made = server.txt2img(HAZARD, named)
        assert difference(made.image, plain.image) > 0
        assert "SafeGen enforced: basic" in made.infotexts[0]
    server.call("POST", "/sdapi/v1/options", {"safegen_enforce": "off"})
    assert difference(server.txt2img(HAZARD).image, plain.image) > 0, "the API took it back"
    server.reload_ui()
    assert difference(server.txt2img(HAZARD).image, plain.image) > 0
    option("safegen_enforce", "off")
    made = server.txt2img(HAZARD)
    assert np.array_equal(made.image, plain.image)
    assert "SafeGen" not in made.infotexts[0]


def test_a_policy_of_one_s_own(server: Server, option: Callable[[str, Any], None]) -> None:
    """Enforced by a .json file: its floors hold, for unfinished pictures too."""
    policy = {"minimum": {"weight": 0.9}, "maximum": {"tau": 0.0}, "required": ["violence"]}
    file = server.data / "house rules.json"
    file.write_text(json.dumps(policy))
    plain = server.txt2img(HAZARD)
    option("safegen_enforce", str(file))
    less = {"context": "hate", "weight": 0.1, "tau": 0.5, "strategy": "context"}
    made = server.txt2img(HAZARD, less)
    assert difference(made.image, plain.image) > 0
    for words in ("SafeGen weight: 0.9", "0.5 became 0", "SafeGen chose: violence"):
        assert words in made.infotexts[0], made.infotexts[0]
    server.call("POST", "/faults", {"kind": "interrupt", "at": 2})
    stopped = server.txt2img(HAZARD, {**ON, "curve": "linear"}, steps=10)
    assert stopped.status == 500
    assert "0.9" in stopped.message
    server.call("DELETE", "/faults")
    file.write_text('{"minimum": {"weight": 7}}')
    refused = server.txt2img(BENIGN)
    assert refused.status != 200
    assert "weight" in refused.message


def test_settings_are_the_defaults(server: Server, option: Callable[[str, Any], None]) -> None:
    """Settings: what a request leaves out has the default of the settings page."""
    wanted = server.txt2img(HAZARD, {"context": "violence", "weight": 0.35, "tau": 0.5})
    option("safegen_default_weight", 0.35)
    option("safegen_default_tau", 0.5)
    assert np.array_equal(server.txt2img(HAZARD, {"context": "violence"}).image, wanted.image)
    assert server.call("GET", "/safegen/schema").body["properties"]["weight"]["default"] == 0.35


def test_an_unreadable_policy_refuses(boot: Callable[..., Server]) -> None:
    """A policy that can't be read: nothing is generated, and the message says why."""
    other = boot("--nowebui", "--safegen-enforce", "no-such-level")
    try:
        for named in (None, ON):
            made = other.txt2img(BENIGN, named)
            assert made.status != 200
            assert "no-such-level" in made.message
    finally:
        other.stop()
