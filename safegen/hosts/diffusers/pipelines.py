"""SafeGen for diffusers: guards any ``StableDiffusionPipeline`` without changing it.

    conditionings = [condition(prompt, context, plan.strategy, spans=spans)]
    images, verdict = generate(pipe, [prompt], plan, conditionings, num_inference_steps=25)

For the length of one call, the UNet *instance*'s ``forward`` is replaced; scheduler, guidance,
callbacks and everything else of the pipeline stay in use. The blend acts on the cond rows, of
which guidance is an affine function, so it works with every scheduler and prediction type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from safegen.conditioning.strategies import SafeConditioning
from safegen.errors import Unsupported
from safegen.learned.encoder import identity_of
from safegen.method.session import Call, Session, Verdict
from safegen.plan import SafetyPlan

Forward = Callable[..., Any]


@contextmanager
def replaced_forward(unet: Any, make: Callable[[Forward], Forward]) -> Iterator[None]:
    """Within the block ``unet.forward`` is ``make(the former forward)``; then it is as before."""
    had_own = "forward" in vars(unet)
    former = unet.forward
    unet.forward = make(former)
    try:
        yield
    finally:
        if had_own:
            unet.forward = former
        else:
            del unet.forward


def select_rows(value: Any, rows: int, index: Tensor) -> Any:
    """``value`` with rows ``index`` taken from every tensor in it that has ``rows`` rows."""
    if isinstance(value, Tensor):
        return value[index] if value.ndim and len(value) == rows else value
    if isinstance(value, dict):
        return {key: select_rows(member, rows, index) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(select_rows(member, rows, index) for member in value)
    return value


def join_rows(first: Any, second: Any, rows: int) -> Any:
    """Tensors of ``rows`` rows in ``first`` with those of ``second`` below them."""
    if isinstance(first, Tensor):
        return torch.cat([first, second]) if first.ndim and len(first) == rows else first
    if isinstance(first, dict):
        return {key: join_rows(member, second[key], rows) for key, member in first.items()}
    if isinstance(first, (list, tuple)):
        pairs = zip(first, second, strict=True)
        return type(first)(join_rows(a, b, rows) for a, b in pairs)
    return first


def sample_of(output: Any) -> Tensor:
    """The prediction in what a UNet's ``forward`` returned."""
    tensor = output[0] if isinstance(output, tuple) else output.sample
    assert isinstance(tensor, Tensor)
    return tensor


def with_sample(output: Any, sample: Tensor) -> Any:
    """What ``forward`` returned, with another prediction in it."""
    if isinstance(output, tuple):
        return (sample, *output[1:])
    return type(output)(sample=sample)


@dataclass(frozen=True)
class _Noise:
    """Conversions between a UNet's prediction and x0 at one timestep (variance-preserving).

    x = alpha·x0 + sigma·eps, alpha² + sigma² = 1; v = alpha·eps - sigma·x0 (Salimans & Ho,
    arXiv 2202.00512).
    """

    alpha: float
    sigma: float
    prediction: str

    @property
    def karras_sigma(self) -> float:
        """The noise level in variance-exploding form."""
        return self.sigma / self.alpha

    def to_x0(self, x: Tensor, prediction: Tensor) -> Tensor:
        x, prediction = x.float(), prediction.float()
        if self.prediction == "epsilon":
            return (x - self.sigma * prediction) / self.alpha
        if self.prediction == "v_prediction":
            return self.alpha * x - self.sigma * prediction
        return prediction

    def from_x0(self, x: Tensor, x0: Tensor) -> Tensor:
        x = x.float()
        if self.prediction == "epsilon":
            return (x - self.alpha * x0) / self.sigma
        if self.prediction == "v_prediction":
            return (self.alpha * x - x0) / self.sigma
        return x0


def _noise_at(scheduler: Any, timestep: float) -> _Noise:
    """The noise at a possibly fractional timestep; log sigma is interpolated, as schedulers do."""
    cumprod = scheduler.alphas_cumprod.double()
    log_sigma = 0.5 * ((1 - cumprod) / cumprod).log()
    low = min(max(int(timestep), 0), len(cumprod) - 1)
    high = min(low + 1, len(cumprod) - 1)
    level = torch.lerp(log_sigma[low], log_sigma[high], min(max(timestep - low, 0.0), 1.0)).exp()
    alpha = float((level**2 + 1) ** -0.5)
    return _Noise(alpha, float(level) * alpha, scheduler.config.prediction_type)


class UNetGuard:
    """A UNet ``forward`` that blends the cond rows of every call, as a `Session` says.

    Args:
        pipe: The pipeline that calls it, for its guidance scale, scheduler and step count.
        session: The run's guard; one entry per image of the pipeline's batch.
        safe_states: The safe stream's text encoding per image, ``[images, tokens, width]``.
        forward: The UNet's own ``forward``.
    """

    def __init__(self, pipe: Any, session: Session, safe_states: Tensor, forward: Forward) -> None:
        self.pipe, self.session, self.forward = pipe, session, forward
        self.safe_states = safe_states
        self.images = len(session.guarded)
        self.calls = 0

    def __call__(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if args:
            self.session.fail(
                "the pipeline passes the UNet positional arguments unknown to SafeGen"
            )
        total = self.pipe.num_timesteps
        if self.calls >= total:
            self.session.fail(f"the pipeline announced {total} UNet calls and makes more")
        call = self.session.begin(self.calls / total)
        self.calls += 1
        rows = len(sample)
        if rows not in (self.images, 2 * self.images):
            self.session.fail(
                f"{rows} UNet rows for {self.images} images: neither one row (cond) nor two "
                "(uncond, cond) per image"
            )
        guidance = float(self.pipe.guidance_scale) if rows == 2 * self.images else 1.0
        if not call.active:
            output = self.forward(sample, timestep, encoder_hidden_states, **kwargs)
            self.session.combine(call, sample_of(output)[-self.images :])
            return output
        inputs = {**kwargs, "sample": sample, "encoder_hidden_states": encoder_hidden_states}
        noise = _noise_at(self.pipe.scheduler, float(timestep))
        chosen = torch.tensor(
            [i for i, weight in enumerate(call.weights) if weight > 0], device=sample.device
        )
        extra, safe_x = self._extra_inputs(call, inputs, rows, chosen, noise)
        output, predicted, safe_rows = self._evaluate(call, timestep, inputs, extra, rows, chosen)
        blended = predicted.clone()
        cond = predicted[-self.images :]
        if self.session.independent:
            uncond = predicted[: self.images] if rows == 2 * self.images else None
            new = self._independent(
                call, noise, sample, safe_x, cond, uncond, safe_rows, chosen, guidance
            )
        else:
            safe = None
            if safe_rows is not None:
                safe = cond.clone()
                safe[chosen] = safe_rows
                if self.session.observing:
                    uncond = predicted[: self.images] if rows == 2 * self.images else None
                    self.session.observe(call, cond, safe, uncond)
            new = self.session.combine(call, cond, safe)
        blended[len(blended) - self.images + chosen] = new[chosen]
        return with_sample(output, blended)

    def _extra_inputs(
        self, call: Call, inputs: dict[str, Any], rows: int, chosen: Tensor, noise: _Noise
    ) -> tuple[dict[str, Any] | None, Tensor]:
        """UNet inputs of the safe rows, and the safe stream's latent ``[images, C, H, W]``."""
        channels = self.pipe.unet.config.out_channels
        first_cond = rows - self.images
        sampler_x = inputs["sample"][first_cond:, :channels]
        safe_x = sampler_x
        if self.session.independent:
            exploded = sampler_x.float() / noise.alpha
            moved = self.session.safe_latent(call, exploded, noise.karras_sigma)
            safe_x = (moved * noise.alpha).to(sampler_x.dtype)
        if not call.evaluate:
            return None, safe_x
        index = chosen + first_cond
        extra = select_rows(inputs, rows, index)
        extra["encoder_hidden_states"] = self.safe_states[chosen].to(extra["sample"].dtype)
        if self.session.independent:
            extra["sample"] = torch.cat([safe_x[chosen], extra["sample"][:, channels:]], 1)
            if first_cond:  # the safe stream's guidance has an uncond row at its own latent
                uncond = select_rows(inputs, rows, chosen)
                uncond["sample"] = extra["sample"]
                extra = join_rows(uncond, extra, len(chosen))
        return extra, safe_x

    def _evaluate(
        self,
        call: Call,
        timestep: Any,
        inputs: dict[str, Any],
        extra: dict[str, Any] | None,
        rows: int,
        chosen: Tensor,
    ) -> tuple[Any, Tensor, Tensor | None]:
        """The UNet's output, its own rows' prediction and the safe rows', if any are due."""
        if not call.evaluate or extra is None:
            output = self.forward(timestep=timestep, **inputs)
            return output, sample_of(output), None
        same_length = (
            extra["encoder_hidden_states"].shape[1] == (inputs["encoder_hidden_states"].shape[1])
        )
        if len(chosen) == self.images and same_length:
            output = self.forward(timestep=timestep, **join_rows(inputs, extra, rows))
            prediction = sample_of(output)
            self._check_rows(prediction, rows + len(extra["sample"]))
            return output, prediction[:rows], prediction[rows:]
        # With benign images in the batch the safe rows go alone: a batch of another size may
        # round differently, and those images must be what they are without SafeGen.
        output = self.forward(timestep=timestep, **inputs)
        safe_rows = sample_of(self.forward(timestep=timestep, **extra))
        self._check_rows(safe_rows, len(extra["sample"]))
        return output, sample_of(output), safe_rows

    def _check_rows(self, prediction: Tensor, wanted: int) -> None:
        if len(prediction) != wanted:
            self.session.fail(f"the UNet answered {wanted} rows with {len(prediction)}")

    def _independent(
        self,
        call: Call,
        noise: _Noise,
        sample: Tensor,
        safe_x: Tensor,
        cond: Tensor,
        uncond: Tensor | None,
        safe_rows: Tensor | None,
        chosen: Tensor,
        guidance: float,
    ) -> Tensor:
        """New cond rows which, after the pipeline's own guidance, give the blended x0."""
        x = sample[-self.images :, : cond.shape[1]]

        def guided(x: Tensor, cond: Tensor, uncond: Tensor | None) -> Tensor:
            x0 = noise.to_x0(x, cond)
            if uncond is None:
                return x0
            base = noise.to_x0(x, uncond)
            return base + guidance * (x0 - base)

        original = guided(x, cond, uncond)
        safe = None
        if safe_rows is not None:
            safe = original.clone()
            own_uncond, own_cond = (None, safe_rows) if uncond is None else safe_rows.chunk(2)
            safe[chosen] = guided(safe_x[chosen], own_cond, own_uncond)
            if self.session.observing:
                base = None if uncond is None else noise.to_x0(x, uncond)
                self.session.observe(call, original, safe, base)
        wanted = noise.from_x0(x, self.session.combine(call, original, safe))
        if uncond is not None:
            wanted = uncond.float() + (wanted - uncond.float()) / guidance
        return wanted.to(cond.dtype)


LEAST_WORDS = 3
"""Of a context's text, how many words must remain for it to say anything."""


def fitted(tokenizer: Any, conditioning: SafeConditioning) -> str:
    """The conditioning's text, the context's part shortened until all of it fits.

    A pipeline cuts off what does not fit, and that would be the end of the user's prompt. A
    prompt that leaves no room is cut nevertheless: without the context nothing would be safe.
    """
    room = tokenizer.model_max_length - 2  # the start and end tokens
    words = conditioning.added.split()
    text = conditioning.text
    while len(tokenizer.tokenize(text)) > room:
        if len(words) <= LEAST_WORDS:
            return conditioning.text
        words.pop()
        shortened = " ".join(words).rstrip(",")
        text = conditioning.text.replace(conditioning.added, shortened, 1)
    return text


def encode_safe(
    pipe: Any, conditionings: Sequence[SafeConditioning | None], **kwargs: Any
) -> Tensor:
    """The safe stream's text encodings ``[images, tokens, width]``; zeros where there is none."""
    texts = [fitted(pipe.tokenizer, c) if c else "" for c in conditionings]
    states, _ = pipe.encode_prompt(
        prompt=texts,
        device=pipe._execution_device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
        **kwargs,
    )
    return torch.stack(
        [
            c.apply(row) if c else torch.zeros_like(row)
            for c, row in zip(conditionings, states, strict=True)
        ]
    )


class PipelineEncoder:
    """A pipeline's own text encoder, or SDXL's two side by side, as an `Encoder`.

    Args:
        pipe: A diffusers pipeline with ``encode_prompt``; it needs neither UNet nor VAE.
        clip_skip: As in the pipeline's call: each value is a space of its own.
    """

    def __init__(self, pipe: Any, clip_skip: int | None = None) -> None:
        found = (getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2"))
        modules = [module for module in found if module is not None]
        tokenizers = [getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2")]
        self._tokenizer = next((t for t in tokenizers if t is not None), None)
        if not modules or self._tokenizer is None or not hasattr(pipe, "encode_prompt"):
            raise Unsupported("this pipeline has no text encoder that could be asked")
        self.pipe, self.clip_skip = pipe, clip_skip
        states, _ = self.encode([""])
        self.width = int(states.shape[-1])
        layer = f"skip{clip_skip}" if clip_skip else "last"
        self.identity = identity_of(modules, self.width, layer)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Encoder.encode`; longer texts are cut, as the pipeline itself cuts them."""
        texts = list(texts)
        states = self.pipe.encode_prompt(
            prompt=texts,
            device=self.pipe._execution_device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            clip_skip=self.clip_skip,
        )[0]
        assert self._tokenizer is not None
        tokens = self._tokenizer(
            texts, padding="max_length", truncation=True, max_length=states.shape[1],
            return_tensors="pt",
        )  # fmt: skip
        mask = tokens.attention_mask.bool()
        mask[:, 0] = False  # the start mark, which is the same for every text
        return states, mask.to(states.device)


def check_supported(pipe: Any, plan: SafetyPlan, arguments: dict[str, Any]) -> None:
    """Raise `Unsupported` for what cannot be guarded, before anything is sampled."""
    unet = getattr(pipe, "unet", None)
    scheduler = getattr(pipe, "scheduler", None)
    if unet is None or not hasattr(pipe, "encode_prompt"):
        raise Unsupported("this pipeline has no UNet; SafeGen guards StableDiffusionPipeline")
    if getattr(unet.config, "addition_embed_type", None) is not None:
        raise Unsupported(
            "this UNet takes added conditions (SDXL); SafeGen's diffusers host guards SD1 and SD2"
        )
    if not hasattr(scheduler, "alphas_cumprod"):
        raise Unsupported(f"{type(scheduler).__name__} has no alphas_cumprod to read noise from")
    if "prompt_embeds" in arguments or "negative_prompt_embeds" in arguments:
        raise Unsupported("prompt_embeds can't be guarded; pass prompt and negative_prompt texts")
    if plan.streams == "independent" and arguments.get("guidance_rescale", 0.0):
        raise Unsupported("guidance_rescale needs shared streams")


@contextmanager
def guard(
    pipe: Any,
    plan: SafetyPlan,
    conditionings: Sequence[SafeConditioning | None],
    *,
    images_per_prompt: int = 1,
    clip_skip: int | None = None,
) -> Iterator[Session]:
    """Guard every call of ``pipe`` within the block; one pipeline call per block.

    Args:
        pipe: A ``StableDiffusionPipeline`` (SD1, SD2; txt2img, img2img or inpaint).
        plan: The settings.
        conditionings: What each prompt's safe stream sees; ``None`` for a benign prompt.
        images_per_prompt: The pipeline's ``num_images_per_prompt``.
        clip_skip: The pipeline's ``clip_skip``.

    Raises:
        Unsupported: The pipeline can't be guarded.
        GuardFailure: At the end of the block or within, if any call went unguarded. Show no
            picture made in a block that raised.
    """
    check_supported(pipe, plan, {})
    repeated = [c for c in conditionings for _ in range(images_per_prompt)]
    session = Session(plan, [c is not None for c in repeated])
    if not plan.active or not any(session.guarded):
        yield session
        return
    with torch.no_grad():
        states = encode_safe(pipe, repeated, clip_skip=clip_skip)
    with replaced_forward(pipe.unet, lambda forward: UNetGuard(pipe, session, states, forward)):
        yield session
    session.finish()


def generate(
    pipe: Any,
    prompts: Sequence[str],
    plan: SafetyPlan,
    conditionings: Sequence[SafeConditioning | None],
    **arguments: Any,
) -> tuple[Any, Verdict]:
    """Run ``pipe`` on ``prompts`` under guard.

    ``arguments`` go to the pipeline as they are. Returns its ``images`` and the verdict, which
    has the image-time check of each image if the plan's ``evidence`` is on.
    Raises `GuardFailure` or `Unsupported` rather than return an unguarded picture.
    """
    check_supported(pipe, plan, arguments)
    if len(conditionings) != len(prompts):
        raise ValueError(
            f"conditionings: {len(conditionings)} are not allowed; allowed: one per prompt, "
            f"{len(prompts)}"
        )
    with guard(
        pipe,
        plan,
        conditionings,
        images_per_prompt=arguments.get("num_images_per_prompt", 1),
        clip_skip=arguments.get("clip_skip"),
    ) as session:
        images = pipe(prompt=list(prompts), **arguments).images
    return images, session.finish()
