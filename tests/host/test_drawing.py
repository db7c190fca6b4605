"""At what size the loaded checkpoint is asked what it would draw."""

from __future__ import annotations

import pytest
from driver import Host


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ("96x128", (4, 16, 12)),
        ("1024x1024", (4, 128, 128)),
        ("", (4, 64, 64)),
        ("large", (4, 64, 64)),
        ("1x1", (4, 64, 64)),
        ("99999x99999", (4, 64, 64)),
    ],
)
def test_the_checkpoint_says_for_what_size_it_was_made(
    host: Host, monkeypatch: pytest.MonkeyPatch, said: str, shape: tuple[int, int, int]
) -> None:
    """As width x height; what can't be is left aside for what its kind is made for."""
    from safegen.webui import drawing

    info = host.shared.sd_model.sd_checkpoint_info
    monkeypatch.setattr(type(info), "metadata", {"modelspec.resolution": said}, raising=False)
    assert drawing.latent_shape() == shape
    monkeypatch.delattr(type(info), "metadata")
    assert drawing.latent_shape() == (4, 64, 64)
