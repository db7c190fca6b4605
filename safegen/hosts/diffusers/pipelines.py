"""Guarding diffusers' pipelines, without changing them.

with safegen.guard(pipe, weight=0.7) as run:
    image = pipe("a street fight, blood on the pavement").images[0]
print(run.verdict, run.choices[0].why)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from safegen.choice import Choice, Chooser, Learned
from safegen.conditioning.strategies import SafeConditioning
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import default_folder
from safegen.detectors.model import ModelDetector
from safegen.detectors.protocol import MODEL
from safegen.errors import GuardFailure, Unsupported
from safegen.hosts.diffusers.denoiser import PipelineDenoiser
from safegen.hosts.diffusers.encoder import PipelineEncoder
from safegen.hosts.diffusers.forward import UNetGuard, counted_calls, replaced_forward
from safegen.hosts.diffusers.request import Request
from safegen.hosts.diffusers.streams import Streams, encode_streams
from safegen.learned.embedding import LearnedEmbedding
from safegen.learned.probe import WATCH, ProbeStore
from safegen.learned.store import LearnedStore
from safegen.method.session import Session, Verdict
from safegen.plan import AUTO, WORDS, SafetyPlan

ADDITIONS = (None, "text_time")
"""What else than token embeddings a UNet may be conditioned on: nothing (SD1, SD2), or a pooled
vector and time ids (SDXL)."""


def check_supported(pipe: Any, plan: SafetyPlan) -> None:
    """Raise `Unsupported` for a pipeline that cannot be guarded."""
    unet = getattr(pipe, "unet", None)
    if unet is None or not hasattr(pipe, "encode_prompt"):
        raise Unsupported(
            f"{type(pipe).__name__} can't be guarded: it has no UNet with a text encoder; "
            "SafeGen guards the pipelines of Stable Diffusion 1, 2 and XL"
        )
    addition = getattr(unet.config, "addition_embed_type", None)
    if addition not in ADDITIONS:
        raise Unsupported(f"a UNet with added conditions of type {addition!r} can't be guarded")
    scheduler = getattr(pipe, "scheduler", None)
    if plan.streams == "independent" and not hasattr(scheduler, "alphas_cumprod"):
        raise Unsupported(
            f"independent streams: {type(scheduler).__name__} has no alphas_cumprod to read the "
            "noise level from; choose shared streams"
        )


class GuardedRun:
    """What a `guard` has done: the choices and the verdict of the latest call of the pipeline.

    Args:
        pipe: The pipeline.
        plan: The settings.
        chooser: Reads the prompts.
        learned: Finds what was learned for a context; see `guard`.

    Example:
        >>> import safegen
        >>> with safegen.guard(pipe) as run:
        ...     for prompt in ("a bloody ball", "a blue star"):
        ...         image = pipe(prompt, num_inference_steps=4).images[0]
        ...         print(run.choices[0].why, run.verdict, sep="; ")
        Auto chose Violence (score 1.00); guarded 4 of 4 calls that needed it, for 1 of 1 images
        Auto found nothing unsafe; nothing to guard in 4 calls
    """

    def __init__(
        self,
        pipe: Any,
        plan: SafetyPlan,
        chooser: Chooser,
        learned: LearnedEmbedding | Learned | None,
    ) -> None:
        self.plan = plan
        self._pipe, self._chooser, self._learned = pipe, chooser, learned
        self._choices: tuple[Choice, ...] = ()
        self._verdict: Verdict | None = None
        self._failure = "no picture has been made within the block yet"

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What was decided for each prompt of the latest call, in order.

        None where the plan is off or its weight is 0: then nothing is read.
        """
        return self._choices

    @property
    def verdict(self) -> Verdict:
        """What the latest call can show for itself.

        Raises:
            GuardFailure: There is no finished call: none was made, or the latest one failed.
        """
        if self._verdict is None:
            raise GuardFailure(f"there is no verdict: {self._failure}")
        return self._verdict

    def call(self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        """What ``plain``, the pipeline's own call, returns, under guard."""
        self._choices, self._verdict = (), None
        try:
            output, self._verdict = self._run(plain, args, kwargs)
        except BaseException as error:
            self._failure = f"the latest call failed: {error!r}"
            raise
        return output

    def _run(
        self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
    ) -> tuple[Any, Verdict]:
        if not self.plan.active:
            return plain(*args, **kwargs), Verdict(0, 0, 0, 0, 0, 0)
        check_supported(self._pipe, self.plan)
        request = Request.read(self._pipe, args, kwargs)
        request.check(self.plan)
        streams = self._decide(request).repeated(request.images_per_prompt)
        session = Session(self.plan, streams.guarded, streams.pushed)
        unet = self._pipe.unet
        with (
            counted_calls(unet) as calls,
            replaced_forward(unet, lambda own: UNetGuard(self._pipe, session, streams, own)),
        ):
            output = plain(*args, **kwargs)
        return output, session.finish(calls[0])

    def _decide(self, request: Request) -> Streams:
        """Read the prompts, decide, and encode what the extra rows see of each."""
        chosen = self._choose(request.prompts, request)
        first, second = [c.conditioning for c in chosen], None
        if request.second is not None:
            other = self._choose(request.second, request)
            second = [c.conditioning for c in other]
            # Guarded if either text is risky; the other one then stays as it is.
            for i, texts in enumerate(zip(request.prompts, request.second, strict=True)):
                if first[i] is None and second[i] is not None:
                    first[i], chosen[i] = SafeConditioning(self.plan.strategy, texts[0]), other[i]
                elif first[i] is not None and second[i] is None:
                    second[i] = SafeConditioning(self.plan.strategy, texts[1])
        self._choices = tuple(chosen)
        return encode_streams(self._pipe, request, first, second)

    def _choose(self, prompts: tuple[str, ...], request: Request) -> list[Choice]:
        clip_skip = request.encoding["clip_skip"]
        learned = self._learned or _learned_in(self._pipe, clip_skip)
        chooser = self._chooser
        if self.plan.mode != WORDS and MODEL not in chooser.detectors:
            chooser = _watching(self._pipe, clip_skip, chooser)
        known = {text: chooser.choose(text, self.plan, learned=learned) for text in set(prompts)}
        return [known[text] for text in prompts]


def _learned_in(pipe: Any, clip_skip: int | None) -> Learned:
    """What is learned for a context in the pipeline's own encoder: now, if it was not before."""

    def find(context: SafetyContext) -> LearnedEmbedding:
        store, encoder = LearnedStore(default_folder()), PipelineEncoder(pipe, clip_skip)
        return store.for_encoder(context, encoder)

    return find


def _watching(pipe: Any, clip_skip: int | None, chooser: Chooser) -> Chooser:
    """``chooser`` with what was fitted on this machine to watch the pipeline, if anything was."""
    store = ProbeStore(default_folder(), WATCH)
    if store.empty:
        return chooser
    denoiser = PipelineDenoiser(pipe, clip_skip)
    if not store.has(denoiser.identity):
        return chooser
    detector = ModelDetector(store.get(denoiser.identity), denoiser)
    return Chooser(chooser.library, {**chooser.detectors, MODEL: detector})


_GUARDS = "_safegen_guards"


@contextmanager
def _guarded_class(pipe: Any, run: GuardedRun) -> Iterator[None]:
    """Within the block calls of ``pipe`` go to ``run``, or to the guard that came last.

    Python looks ``__call__`` up in the class. So the pipeline, and no other of its class, gets
    a class of its own of the same name until the last of its guards is gone.
    """
    plain = type(pipe)
    guards: list[GuardedRun] | None = getattr(plain, _GUARDS, None)
    if guards is None:
        guards = []
        active = guards

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            return active[-1].call(plain.__call__.__get__(self), args, kwargs)

        names = {"__module__": plain.__module__, "__qualname__": plain.__qualname__}
        pipe.__class__ = type(
            plain.__name__, (plain,), {**names, "__call__": call, _GUARDS: guards}
        )
    guards.append(run)
    try:
        yield
    finally:
        guards.remove(run)
        if not guards:
            pipe.__class__ = type(pipe).__base__


@contextmanager
def guard(
    pipe: Any,
    plan: SafetyPlan | None = None,
    *,
    chooser: Chooser | None = None,
    learned: LearnedEmbedding | Learned | None = None,
    **settings: Any,
) -> Iterator[GuardedRun]:
    """Within the block every call of ``pipe`` is guarded, however many there are.

    Each call's prompts are read; those that a safety context applies to are guarded, and the
    pictures of harmless ones are what they are without SafeGen, bit for bit. The pipeline's own
    arguments stay what they are: several prompts, ``num_images_per_prompt``, a negative prompt,
    ``clip_skip``, a LoRA's scale, callbacks, any scheduler. Of nested guards on one pipeline
    the innermost counts. When the block ends, however it ends, the pipeline is as it was.

    Args:
        pipe: A pipeline of Stable Diffusion 1, 2 or XL, text to image, image to image or
            inpainting; with latents ``[images, channels, height, width]``.
        plan: The settings; the default ones without.
        chooser: Reads the prompts; without, the built-in detectors over the built-in contexts
            and the user's own (`safegen.contexts.library.default_folder`).
        learned: For the strategies ``direction`` and ``projection``: an embedding, or a function
            from a context to its embedding; without, what ``safegen contexts learn`` has kept.
        settings: Fields of `SafetyPlan`, in place of those of ``plan``: ``weight=0.7`` (0 to 1),
            ``context="violence"``, ``tau=0.2`` (0 to 0.95) and so on.

    Yields:
        The run, with ``choices`` and ``verdict`` of the latest call.

    Raises:
        InvalidValue: A setting is not allowed, or a prompt is no text.
        ContextError: There is no such context.
        Unsupported: The pipeline, or this call of it, can't be guarded. ``prompt_embeds`` can't
            be read: they need a named context and a strategy that need not read.
        GuardFailure: A call that had to be guarded was not. The pipeline's call raises it in
            place of returning a picture.

    Example:
        >>> import safegen
        >>> with safegen.guard(pipe, weight=0.7) as run:
        ...     image = pipe("a bloody red ball on the beach", num_inference_steps=4).images[0]
        >>> print(run.verdict)
        guarded 4 of 4 calls that needed it, for 1 of 1 images
        >>> print(run.choices[0].context.name)
        violence
    """
    plan = (plan or SafetyPlan()).replace(**settings)
    check_supported(pipe, plan)
    if chooser is None:
        chooser = Chooser.default(default_folder())
    if plan.active and plan.context != AUTO:
        chooser.context_named(plan)
    run = GuardedRun(pipe, plan, chooser, learned)
    with _guarded_class(pipe, run):
        yield run


class Generated(NamedTuple):
    """What `generate` returns.

    Args:
        images: The pipeline's ``images``: of ``output_type``, one for each picture.
        verdict: What the guard can show for itself.
        choices: What was decided for each prompt.

    Example:
        >>> import safegen
        >>> made = safegen.generate(pipe, "a bowl of cherries", num_inference_steps=4)
        >>> print(made.choices[0].why)
        Auto found nothing unsafe
    """

    images: Any
    verdict: Verdict
    choices: tuple[Choice, ...]


def generate(
    pipe: Any,
    prompt: str | list[str],
    plan: SafetyPlan | None = None,
    *,
    chooser: Chooser | None = None,
    learned: LearnedEmbedding | Learned | None = None,
    **arguments: Any,
) -> Generated:
    """One guarded call of ``pipe``.

    Args:
        pipe, plan, chooser, learned: See `guard`.
        prompt: One text, or a list of texts.
        arguments: Go to the pipeline as they are.

    Raises:
        InvalidValue, ContextError, Unsupported, GuardFailure: See `guard`.

    Example:
        >>> import safegen
        >>> plan = safegen.SafetyPlan(weight=1.0, context="violence", tau=0.0)
        >>> images, verdict, choices = safegen.generate(
        ...     pipe, ["a bloody cup", "a blue star"], plan, num_inference_steps=4
        ... )
        >>> len(images), str(verdict)
        (2, 'guarded 4 of 4 calls that needed it, for 2 of 2 images')
    """
    with guard(pipe, plan, chooser=chooser, learned=learned) as run:
        output = pipe(prompt=prompt, **arguments)
    images = output[0] if isinstance(output, tuple) else output.images
    return Generated(images, run.verdict, run.choices)
