"""SDXL's pipelines under guard, on a tiny one of random weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers_support import (
    BENIGN,
    CALM,
    RISKY,
    TOLD,
    Told,
    apart,
    guarded,
    made,
    near,
    plain,
    settings,
)
from plans import blending
from tiny_pipelines import tiny_sdxl

from safegen.conditioning.edits import MoveAlong
from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.hosts.diffusers import PipelineEncoder, generate, guard, replaced_forward
from safegen.method.mixing import mixed

FULL = blending(weight=1.0, tau=0.0)
SIZES = {"original_size": (96, 64), "crops_coords_top_left": (8, 0), "target_size": (96, 96)}


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_sdxl()


@pytest.mark.parametrize("streams", ["shared", "independent"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_full_weight_is_the_safe_prompt(pipe: Any, scale: float, streams: str) -> None:
    how = {"guidance_scale": scale, **SIZES}
    safe, risky = plain(pipe, [CALM], **how), plain(pipe, [RISKY], **how)
    ours = guarded(pipe, [RISKY], FULL.replace(streams=streams), **how)
    assert near(ours, safe)
    assert apart(risky, safe)


@pytest.mark.parametrize("changed", ["states", "pooled"])
def test_both_token_embeddings_and_pooled_vector_are_the_safe_texts(
    pipe: Any, changed: str
) -> None:
    """What the UNet is given in the safe rows, against what it is given for the safe text."""
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def spy(forward: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            added = kwargs["added_cond_kwargs"]
            states = kwargs["encoder_hidden_states"]
            seen.append((states, added["text_embeds"], added["time_ids"]))
            return forward(*args, **kwargs)

        return call

    with replaced_forward(pipe.unet, spy):
        guarded(pipe, [RISKY], FULL, **SIZES)
        ours = seen[0]
        plain(pipe, [CALM], **SIZES)
    theirs = seen[-1]
    which = {"states": 0, "pooled": 1}[changed]
    assert len(ours[which]) == 3
    assert torch.allclose(ours[which][2], theirs[which][1], atol=1e-6)
    assert not torch.allclose(ours[which][1], theirs[which][1], atol=1e-3)
    assert ours[2].tolist() == [[96, 64, 8, 0, 96, 96]] * 3


def test_the_second_encoders_own_prompt_is_read_too(pipe: Any) -> None:
    ours, verdict, choices = made(pipe, [BENIGN], FULL, prompt_2=[RISKY])
    assert verdict.guarded_images == 1
    assert choices[0].conditioning is not None
    assert choices[0].conditioning.text == CALM
    swapped = plain(pipe, [BENIGN], prompt_2=[CALM])
    assert near(ours, swapped)
    assert apart(ours, plain(pipe, [BENIGN], prompt_2=[RISKY]))


def test_an_edit_changes_the_tokens_and_a_text_the_pooled_vector(pipe: Any) -> None:
    width = PipelineEncoder(pipe).width
    edit = MoveAlong(torch.linspace(-1, 1, width), 2.0)
    moved = Told({RISKY: SafeConditioning("direction", RISKY, edit, pooled=CALM)})
    ours = guarded(pipe, [RISKY], FULL, moved)
    states, _, _, _ = pipe.encode_prompt(RISKY, do_classifier_free_guidance=False)
    _, _, pooled, _ = pipe.encode_prompt(CALM, do_classifier_free_guidance=False)
    how = settings()
    zeros = {"negative_prompt_embeds": torch.zeros_like(states),
             "negative_pooled_prompt_embeds": torch.zeros_like(pooled)}  # fmt: skip
    theirs = pipe(prompt_embeds=edit(states), pooled_prompt_embeds=pooled, **zeros, **how).images
    assert near(ours, theirs)


@pytest.mark.parametrize("streams", ["shared", "independent"])
def test_the_weight_may_move_the_text_instead_of_the_picture(pipe: Any, streams: str) -> None:
    plan = blending(weight=0.4, tau=0.0, dial="conditioning", streams=streams)
    how = {"num_inference_steps": 3}
    risky, _, risky_pooled, _ = pipe.encode_prompt(RISKY, do_classifier_free_guidance=False)
    calm, _, calm_pooled, _ = pipe.encode_prompt(CALM, do_classifier_free_guidance=False)
    between = pipe(
        prompt_embeds=mixed(risky[0], calm[0], 0.4)[None],
        pooled_prompt_embeds=0.6 * risky_pooled + 0.4 * calm_pooled,
        negative_prompt_embeds=torch.zeros_like(calm),
        negative_pooled_prompt_embeds=torch.zeros_like(calm_pooled),
        **settings(**how),
    ).images
    ours, verdict, _ = made(pipe, [RISKY, BENIGN], plan, **how)
    assert near(ours[:1], between)
    assert verdict.guarded == 3
    assert torch.equal(ours[1], plain(pipe, [RISKY, BENIGN], **how)[1])
    full = guarded(pipe, [RISKY], plan.replace(weight=1.0), **how)
    assert near(full, plain(pipe, [CALM], **how))


def arguments(images: int, **changes: Any) -> dict[str, Any]:
    image = torch.rand((1, 3, 96, 96), generator=torch.Generator().manual_seed(5))
    how = settings(images, num_inference_steps=10, strength=0.6, **changes)
    return {"image": image, **how}


def test_img2img(pipe: Any) -> None:
    other = diffusers.StableDiffusionXLImg2ImgPipeline(**pipe.components, add_watermarker=False)
    other.set_progress_bar_config(disable=True)
    how = arguments(1)
    for name in ("width", "height"):
        del how[name]
    ours, verdict, _ = generate(other, RISKY, FULL, chooser=TOLD, **how)
    how["generator"] = torch.Generator().manual_seed(0)
    assert verdict.guarded == verdict.calls == 6
    assert near(ours, other(CALM, **how).images)


@pytest.mark.parametrize("channels", [4, 9])
def test_inpainting(channels: int) -> None:
    source = tiny_sdxl(channels)
    other = diffusers.StableDiffusionXLInpaintPipeline(**source.components, add_watermarker=False)
    other.set_progress_bar_config(disable=True)
    mask = torch.zeros((1, 1, 96, 96))
    mask[..., 48:] = 1.0
    plan = blending(weight=1.0, tau=0.0)
    ours, verdict, _ = generate(
        other, [RISKY, BENIGN], plan, chooser=TOLD, mask_image=mask, **arguments(2)
    )
    swapped = other([CALM, BENIGN], mask_image=mask, **arguments(2)).images
    before = other([RISKY, BENIGN], mask_image=mask, **arguments(2)).images
    assert verdict.guarded == verdict.calls == 6
    assert torch.equal(ours[1], before[1])
    assert near(ours[0], swapped[0])
    assert apart(ours[0], before[0])


def test_a_refiner_without_the_first_encoder(pipe: Any) -> None:
    parts = {**pipe.components, "text_encoder": None, "tokenizer": None}
    torch.manual_seed(3)
    parts["unet"] = diffusers.UNet2DConditionModel.from_config(
        {
            **pipe.unet.config,
            "cross_attention_dim": 32,
            "projection_class_embeddings_input_dim": 5 * 8 + 32,
        }
    ).eval()
    refiner = diffusers.StableDiffusionXLImg2ImgPipeline(
        **parts, requires_aesthetics_score=True, add_watermarker=False
    )
    refiner.set_progress_bar_config(disable=True)
    how = arguments(1)
    for name in ("width", "height"):
        del how[name]
    ours = generate(refiner, RISKY, FULL, chooser=TOLD, **how).images
    how["generator"] = torch.Generator().manual_seed(0)
    assert near(ours, refiner(CALM, **how).images)


def test_another_kind_of_added_conditions_is_refused() -> None:
    unet = SimpleNamespace(config=SimpleNamespace(addition_embed_type="image"))
    other = SimpleNamespace(unet=unet, encode_prompt=None, scheduler=None)
    with pytest.raises(Unsupported, match="'image'"), guard(other):
        pass


# --------------------------------------------------------------------------- LoRA


def test_a_loras_scale_counts_for_the_safe_rows_too(pipe: Any) -> None:
    peft = pytest.importorskip("peft")
    other = tiny_sdxl()
    for module, names in ((other.unet, ["to_k", "to_v"]), (other.text_encoder, ["q_proj"])):
        torch.manual_seed(9)
        config = peft.LoraConfig(r=4, target_modules=names, init_lora_weights=False)
        module.add_adapter(config)
    pictures = []
    for scale in (0.0, 0.5, 1.0):
        how = {"cross_attention_kwargs": {"scale": scale}}
        ours = guarded(other, [RISKY], FULL, **how)
        assert near(ours, plain(other, [CALM], **how))
        # With a harmless neighbour the safe rows go alone.
        beside = guarded(other, [RISKY, BENIGN], FULL, **how)
        assert near(beside[0], ours[0])
        pictures.append(ours)
    assert near(pictures[0], guarded(pipe, [RISKY], FULL))
    assert apart(pictures[1], pictures[0])
    assert apart(pictures[2], pictures[1])


def test_a_loras_scale_reaches_encoder_and_unet(pipe: Any, monkeypatch: Any) -> None:
    """The same without a LoRA at hand: who is told of the scale."""
    encoded: list[Any] = []
    former = pipe.encode_prompt

    def encode(*args: Any, **kwargs: Any) -> Any:
        encoded.append(kwargs.pop("lora_scale", None))
        return former(*args, **kwargs)

    monkeypatch.setattr(pipe, "encode_prompt", encode)
    evaluated: list[Any] = []

    def spy(forward: Any) -> Any:
        def call(*args: Any, cross_attention_kwargs: Any = None, **kwargs: Any) -> Any:
            evaluated.append((len(kwargs["sample"]), cross_attention_kwargs))
            return forward(*args, **kwargs)

        return call

    with replaced_forward(pipe.unet, spy):
        how = {"cross_attention_kwargs": {"scale": 0.5}, "num_inference_steps": 2}
        guarded(pipe, [RISKY, BENIGN], FULL, **how)
    assert encoded == [0.5, 0.5]  # ours, and the pipeline's own
    assert evaluated == [(4, {"scale": 0.5}), (1, {"scale": 0.5})] * 2
    assert torch.isfinite(guarded(pipe, [RISKY], FULL)).all()
