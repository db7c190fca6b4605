"""SafeGen as a guider of diffusers' modular pipelines (diffusers 0.36 and newer).

The loop of a modular pipeline asks its guider which conditions to evaluate and puts their
predictions together through it. `SafeGuidance` asks for one condition more, what the safe
stream sees, blends the cond prediction with it, and guides as classifier-free guidance does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

try:
    from diffusers.guiders.guider_utils import BaseGuidance, GuiderOutput, rescale_noise_cfg
except ImportError as error:
    raise ImportError(
        f"SafeGuidance needs diffusers 0.36 or newer, with its guiders ({error})"
    ) from error

from safegen.choice import Choice, Chooser, Learned
from safegen.contexts.library import default_folder
from safegen.errors import GuardFailure, InvalidValue, Unsupported
from safegen.hosts.diffusers.encoding import Encoding, encode_texts
from safegen.hosts.diffusers.noise import sigma_at
from safegen.hosts.diffusers.request import Request
from safegen.hosts.diffusers.streams import Streams, encode_streams
from safegen.learned.embedding import LearnedEmbedding
from safegen.method.noise_level import progress_at
from safegen.method.session import Call, Session, Verdict
from safegen.plan import SafetyPlan

COND, UNCOND, SAFE, UNSAFE = "pred_cond", "pred_uncond", "pred_safe", "pred_unsafe"
STATES, POOLED = "prompt_embeds", "text_embeds"
"""What a modular SDXL pipeline calls a prompt's token embeddings and its pooled vector."""
SAME_ENCODING = 1e-2
"""How far, in shares of its length, a token may be from our own encoding of it: halves round."""


class SafeGuidance(BaseGuidance):  # type: ignore[misc]
    """Classifier-free guidance whose cond prediction is blended with the safe stream's.

    Before each call of the pipeline `read` has to be given its prompts. A call with another
    prompt, or one that was not read, raises `GuardFailure`. The UNet evaluates one row more per
    picture, for all pictures of a batch with a risky prompt, and another one if the plan's
    ``push`` is above 0. The method is SafeGen's own (see ``docs/method.md``), after the idea of
    https://arxiv.org/abs/2411.13982.

    Args:
        guidance_scale (`float`, defaults to `7.5`):
            Scale of classifier-free guidance, 1 or more; 1 is without.
        plan (`SafetyPlan` or a dict of its fields, *optional*):
            The safety settings; the default ones without. Streams must be shared.
        guidance_rescale (`float`, defaults to `0.0`):
            As in ``ClassifierFreeGuidance``, 0 to 1.
        start, stop (`float`, default to `0.0` and `1.0`):
            Between which shares of the steps classifier-free guidance acts. When SafeGen acts is
            the plan's ``tau`` and ``end``.
        enabled (`bool`, defaults to `True`):
            Whether classifier-free guidance acts. SafeGen is switched off by its plan.

    Raises:
        InvalidValue: A setting or scale is not allowed.
        Unsupported: The plan needs independent streams: a guider does not see the latent.
        GuardFailure: A call that had to be guarded was not; raised by the pipeline's call.

    Example:
        >>> import safegen
        >>> guider = safegen.SafeGuidance(guidance_scale=5.0, plan={"weight": 0.7})
        >>> modular_pipe.update_components(guider=guider)
        >>> prompt = "a bloody red ball on the beach"
        >>> guider.read(modular_pipe, prompt)
        >>> images = modular_pipe(prompt=prompt, num_inference_steps=4, output="images")
        >>> print(guider.verdict)
        guarded 4 of 4 calls that needed it, for 1 of 1 images
    """

    _input_predictions = [COND, UNCOND, SAFE, UNSAFE]  # noqa: RUF012 (as the base class has it)
    _step: Any
    _num_inference_steps: Any

    def __init__(
        self,
        guidance_scale: float = 7.5,
        plan: SafetyPlan | Mapping[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        start: float = 0.0,
        stop: float = 1.0,
        enabled: bool = True,
    ) -> None:
        if not guidance_scale >= 1.0:
            # Below 1 the picture moves towards the negative prompt, which nobody has read.
            raise InvalidValue("guidance_scale", guidance_scale, "a number from 1 on")
        super().__init__(start, stop, enabled)
        found = plan if isinstance(plan, SafetyPlan) else SafetyPlan.from_dict(plan or {})
        if found.streams == "independent":
            raise Unsupported("a guider does not see the latent: choose shared streams")
        self.guidance_scale, self.guidance_rescale = guidance_scale, guidance_rescale
        self.plan = found
        self._guard: _Guard | None = None
        self._scheduler: Any = None
        self.register_to_config(
            guidance_scale=guidance_scale,
            plan=found.to_dict(),
            guidance_rescale=guidance_rescale,
            start=start,
            stop=stop,
            enabled=enabled,
        )

    def read(
        self,
        pipe: Any,
        prompt: str | list[str],
        *,
        chooser: Chooser | None = None,
        learned: LearnedEmbedding | Learned | None = None,
        clip_skip: int | None = None,
        lora_scale: float | None = None,
    ) -> None:
        """Read the prompts of the pipeline's next call, decide, and encode what is safe.

        Args:
            pipe: The modular pipeline that has this guider, SDXL's.
            prompt: One text or a list of texts, as in the call.
            chooser, learned: See `safegen.guard`; ``learned`` must be given where it is needed.
            clip_skip, lora_scale: As in the call (a LoRA's scale is
                ``cross_attention_kwargs["scale"]``).

        Raises:
            InvalidValue, ContextError: A prompt is no text; see also `safegen.guard`.
            Unsupported: The scheduler calls the UNet several times in a step.
        """
        self._guard, self._scheduler = None, pipe.scheduler
        if getattr(pipe.scheduler, "order", 1) != 1:
            raise Unsupported(
                f"{type(pipe.scheduler).__name__} calls the UNet several times in a step, which "
                "a guider is not told; use guard on a StableDiffusionXLPipeline instead"
            )
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if not prompts or not all(isinstance(text, str) for text in prompts):
            raise InvalidValue("prompt", prompt, "a text or a list of texts, at least one")
        choices: tuple[Choice, ...] = ()
        if self.plan.active:
            chooser = chooser or Chooser.default(default_folder())
            choices = tuple(chooser.choose(p, self.plan, learned=learned) for p in prompts)
        how: dict[str, Any] = {"clip_skip": clip_skip, "lora_scale": lora_scale}
        conditionings = [choice.conditioning for choice in choices] or [None] * len(prompts)
        request = Request(tuple(prompts), None, None, 1, how, {}, 0.0)
        self._guard = _Guard(
            self.plan,
            choices,
            encode_texts(pipe, prompts, **how),
            encode_streams(pipe, request, conditionings),
        )

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What was decided for each prompt that was read last."""
        return () if self._guard is None else self._guard.choices

    @property
    def verdict(self) -> Verdict:
        """What the latest call can show for itself; `GuardFailure` if none has finished."""
        if self._guard is None or self._guard.verdict is None:
            raise GuardFailure("there is no verdict: no call of the pipeline has finished")
        return self._guard.verdict

    def set_state(self, step: int, num_inference_steps: int, timestep: Any) -> None:
        """Open the next step; called by the pipeline's loop."""
        super().set_state(step, num_inference_steps, timestep)
        if self._guard is None:
            raise GuardFailure("SafeGuidance has not read this call's prompt: call read() first")
        sigma = sigma_at(self._scheduler, timestep)
        self._guard.begin(step, num_inference_steps, sigma)

    def prepare_inputs(self, data: dict[str, Any]) -> list[Any]:
        """The conditions of this step: cond, uncond where guidance acts, safe where it is due."""
        assert self._guard is not None
        due = self._guard.open(Encoding(data[STATES][0], data[POOLED][0]))
        batches = [self._prepare_batch(data, 0, COND)]
        if self._evaluates_uncond:
            batches.append(self._prepare_batch(data, 1, UNCOND))
        for name, encoding in due.items():
            batch = self._prepare_batch(data, 0, name)
            setattr(batch, STATES, encoding.states.to(data[STATES][0]))
            setattr(batch, POOLED, _pooled(encoding).to(data[POOLED][0]))
            batches.append(batch)
        return batches

    def forward(
        self,
        pred_cond: Tensor,
        pred_uncond: Tensor | None = None,
        pred_safe: Tensor | None = None,
        pred_unsafe: Tensor | None = None,
    ) -> Any:
        """The guided prediction, ``[images, channels, height, width]``, of the rows' kind."""
        assert self._guard is not None
        scale = self.guidance_scale if self._guides else 1.0
        cond = self._guard.combine(pred_cond, pred_uncond, pred_safe, pred_unsafe, scale)
        pred = cond
        if self._guides:
            assert pred_uncond is not None
            pred = pred_uncond + scale * (cond - pred_uncond)
        if self.guidance_rescale > 0.0:
            pred = rescale_noise_cfg(pred, cond, self.guidance_rescale)
        if self._step == self._num_inference_steps - 1:
            self._guard.finish()
            # Before the next call the pipeline asks how many conditions there will be.
            self._step = self._num_inference_steps = None
        return GuiderOutput(pred=pred, pred_cond=cond, pred_uncond=pred_uncond)

    @property
    def is_conditional(self) -> bool:
        """Whether the condition now evaluated is a text to move towards or away from."""
        return not (self._evaluates_uncond and self._count_prepared == 2)

    @property
    def num_conditions(self) -> int:
        """How many conditions the UNet evaluates in this step, 1 to 4."""
        return 1 + self._evaluates_uncond + (0 if self._guard is None else len(self._guard.due))

    @property
    def _evaluates_uncond(self) -> bool:
        """Whether this step has an uncond row: for guidance, or for a push."""
        return self._guides or (self._guard is not None and self._guard.pushes)

    @property
    def _guides(self) -> bool:
        """Whether classifier-free guidance acts in this step."""
        if not self._enabled or self.guidance_scale == 1.0:
            return False
        if self._num_inference_steps is None:
            return True
        first, last = (int(x * self._num_inference_steps) for x in (self._start, self._stop))
        return bool(first <= self._step < last)


def _pooled(encoding: Encoding) -> Tensor:
    assert encoding.pooled is not None
    return encoding.pooled


class _Guard:
    """The guard of the one call whose prompts were read.

    Args:
        plan: The settings.
        choices: What was decided, one for each prompt; none where the plan is off.
        prompts: The prompts' own encodings, one row each.
        streams: What the extra rows see, one entry for each prompt.
    """

    def __init__(
        self, plan: SafetyPlan, choices: tuple[Choice, ...], prompts: Encoding, streams: Streams
    ) -> None:
        self.plan, self.choices, self.prompts, self.streams = plan, choices, prompts, streams
        self.verdict: Verdict | None = None
        self.session: Session | None = None
        self.due: dict[str, Encoding] = {}
        self._steps, self._progress = 0, 0.0
        self._call: Call | None = None

    def begin(self, step: int, steps: int, sigma: float) -> None:
        """Note the step; its call is opened once the number of images is known."""
        if step == 0:
            self.session = self.verdict = None
        elif self.session is None:
            raise GuardFailure(f"SafeGen's guard began at step {step}: it missed the ones before")
        self._steps, self._progress = steps, progress_at(sigma)
        self._call, self.due = None, {}

    def open(self, given: Encoding) -> dict[str, Encoding]:
        """Open this step's call; what its extra rows see, by name, one row for each image.

        ``given`` are the pipeline's cond rows, several for each prompt where it makes several
        pictures of it.
        """
        times, rest = divmod(len(given), len(self.prompts))
        own = self.prompts.repeated(times)
        if rest or not _alike(own, given):
            raise GuardFailure(
                "the UNet sees another prompt than SafeGuidance has read: call read() with the "
                "pipeline's own prompts first; with several prompts leave num_images_per_prompt "
                "at 1, since some versions of diffusers mix them up"
            )
        streams = self.streams.repeated(times)
        if self.session is None:
            self.session = Session(self.plan, streams.guarded, streams.pushed)
            self.session.expect(self._steps)
        self._call = self.session.begin(self._progress)
        if self._call.evaluate and not all(streams.own):
            self.due[SAFE] = streams.safe.between(given, self._call.share)
        if self._call.push:
            assert streams.unsafe is not None
            self.due[UNSAFE] = streams.unsafe
        return self.due

    @property
    def pushes(self) -> bool:
        """Whether this step has a push, or a call that has not begun will have."""
        return any(self.streams.pushed) if self._call is None else self._call.push

    def combine(
        self,
        cond: Tensor,
        uncond: Tensor | None,
        safe: Tensor | None,
        unsafe: Tensor | None,
        scale: float,
    ) -> Tensor:
        """The cond prediction of both streams; ``scale`` is the one it will be guided with."""
        call = self._call
        if self.session is None or call is None:
            raise GuardFailure("SafeGen's guard was not asked before the UNet was called")
        if safe is None and call.evaluate and all(self.streams.own):
            safe = cond
        if safe is not None:
            self.session.observe(call, cond, safe, uncond)
        pushing: dict[str, Any] = {}
        if call.push:
            pushing = {"unsafe": unsafe, "uncond": uncond, "scale": scale}
        return self.session.combine(call, cond, safe, **pushing)

    def finish(self) -> None:
        """Close the call, in which every step must have been guarded, and keep its verdict."""
        assert self.session is not None
        self.verdict, self._call, self.due = self.session.finish(self._steps), None, {}


def _alike(own: Encoding, given: Encoding) -> bool:
    """Whether both say the same, but for rounding."""

    def near(a: Tensor, b: Tensor) -> bool:
        if a.shape != b.shape:
            return False
        a, b = a.to(b.device).float(), b.float()
        # Token by token: some are much longer than others.
        return bool(((a - b).norm(dim=-1) <= SAME_ENCODING * b.norm(dim=-1)).all())

    return near(own.states, given.states) and near(_pooled(own), _pooled(given))
