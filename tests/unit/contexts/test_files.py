"""Atomic writes, and safetensors files with a header."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from safegen.errors import SafeGenError
from safegen.files import write_atomically
from safegen.learned import safetensors_file


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.usefixtures("umask")
def test_a_file_has_the_permissions_that_others_have(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.json"
    write_atomically(file, "ä\r\n")
    assert file.read_bytes() == "ä\r\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [path.name for path in file.parent.iterdir()] == ["x.json"]


def test_what_was_there_stays_if_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ("x" * 250)  # a name that nothing more fits behind
    write_atomically(file, "first")

    def full(_handle: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(file, "second")
    assert file.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


class TestHeaded:
    HEADER: ClassVar[dict[str, object]] = {"version": 2, "of": "mine"}

    def file(self, folder: Path, **header: object) -> Path:
        path = folder / "x.safetensors"
        tensors = {"a": torch.arange(6.0).reshape(2, 3).T}  # not contiguous
        path.write_bytes(safetensors_file.to_bytes("k", {**self.HEADER, **header}, tensors))
        return path

    def test_comes_back_as_it_was(self, tmp_path: Path) -> None:
        header, tensors = safetensors_file.read(self.file(tmp_path), "k", newest=2, kind="thing")
        assert header == self.HEADER
        assert tensors["a"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
        safetensors_file.check(tmp_path, tensors, {"a": (3, 2)})

    @pytest.mark.parametrize(
        ("header", "key", "message"),
        [
            ({"version": 3}, "k", r"x\.safetensors: made by a newer version \(3\)"),
            ({"version": True}, "k", "not a thing of SafeGen's"),
            ({}, "other", "not a thing of SafeGen's"),
        ],
    )
    def test_others_are_refused(
        self, tmp_path: Path, header: dict[str, object], key: str, message: str
    ) -> None:
        with pytest.raises(safetensors_file.SafetensorsFileError, match=message):
            safetensors_file.read(self.file(tmp_path, **header), key, newest=2, kind="thing")

    def test_tables_that_do_not_fit_are_refused(self, tmp_path: Path) -> None:
        for tensors, message in (
            ({"a": torch.ones(2)}, "is due"),
            ({"a": torch.ones(3), "b": torch.ones(1)}, "is due"),
            ({"a": torch.tensor([1.0, 2.0, float("inf")])}, "not finite"),
        ):
            with pytest.raises(safetensors_file.SafetensorsFileError, match=message):
                safetensors_file.check(tmp_path, tensors, {"a": (3,)})

    def test_every_fault_is_the_readers_own_error(self, tmp_path: Path) -> None:
        class Own(SafeGenError):
            pass

        for fault in (
            safetensors_file.SafetensorsFileError("x"),
            KeyError("encoder"),
            ValueError("many"),
        ):
            with pytest.raises(Own), safetensors_file.reading(tmp_path, Own):
                raise fault
        with pytest.raises(OSError, match="disk"), safetensors_file.reading(tmp_path, Own):
            raise OSError("disk")
