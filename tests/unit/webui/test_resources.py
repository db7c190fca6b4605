"""Lists of files in a policy."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from safegen.errors import InvalidValue
from safegen.webui.enforcement import PolicyError, load, strongest
from safegen.webui.resources import Used, check


def test_a_file_is_told_by_its_name_or_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "One.safetensors"
    file.write_bytes(b"weights")
    used = Used("loras", ("One",), file)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert used.is_named_by(" one ")
    assert used.is_named_by(f"sha256:{digest}")
    assert used.is_named_by(f"SHA256:{digest[:10].upper()}")
    assert not used.is_named_by("On")
    assert not used.is_named_by(digest)
    file.write_bytes(b"other weights")
    assert not used.is_named_by(f"sha256:{digest}")
    assert not Used("loras", ("One",)).is_named_by(f"sha256:{digest}")


def test_every_list_must_name_it_and_no_list_names_nothing() -> None:
    used = [Used("loras", ("one",)), Used("embeddings", ("two",))]
    check(iter(used), ({"checkpoints": ()},))
    check(iter(used), ({"loras": ("one",)}, {"loras": ("one", "three")}))
    for lists in (({"loras": ()},), ({"loras": ("one",)}, {"loras": ("three",)})):
        with pytest.raises(InvalidValue, match="LoRA: 'one'"):
            check(iter(used), lists)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"allowed": []}, "allowed"),
        ({"allowed": {"lora": []}}, "lora"),
        ({"allowed": {"loras": "one"}}, "loras"),
        ({"allowed": {"loras": [1]}}, "loras"),
        ({"allowed": {"loras": ["sha256:xyz"]}}, "sha256"),
        ({"users": []}, "users"),
        ({"users": {"one": {"users": {}}}}, "users"),
        ({"users": {"one": {"minimum": {"weight": 3}}}}, "weight"),
    ],
)
def test_a_policy_that_can_t_be_read_is_refused(tmp_path: Path, data: object, word: str) -> None:
    file = tmp_path / "house.json"
    file.write_text(json.dumps(data))
    with pytest.raises(PolicyError, match=word):
        load(str(file))


def test_a_user_s_policy_takes_the_place_of_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "house.json"
    own = {"minimum": {"weight": 0.4}, "allowed": {"loras": ["x"]}}
    file.write_text(json.dumps({"minimum": {"weight": 0.9}, "users": {"artist": own}}))
    policy = load(str(file))
    assert policy is not None
    assert policy.of_user(None) is policy.of_user("guest") is policy
    artist = policy.of_user("artist")
    assert (artist.minimum, artist.allowed) == ({"weight": 0.4}, ({"loras": ("x",)},))
    strict = load("strict")
    assert strict is not None
    both = strongest([strict, artist])
    assert both is not None
    assert (both.minimum["weight"], both.allowed) == (1.0, ({"loras": ("x",)},))
