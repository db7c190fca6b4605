"""One ``p.sample`` of a run: which pictures are guarded, and the guard of each sampling pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from safegen.choice import Choice
from safegen.errors import GuardFailure, InvalidValue, certain
from safegen.hosts.a1111 import PassGuard, UnguardedShown
from safegen.hosts.a1111.towards import Guiding
from safegen.plan import SafetyPlan
from safegen.sentence import told
from safegen.webui import deciding, host, resources
from safegen.webui.enforcement import Policy
from safegen.webui.errors import explained, explaining
from safegen.webui.record import Counts, Picture, Record

FIRST, SECOND = False, True
"""The two passes; the second is the hires pass. The host's ``is_hr_pass`` says which it is."""


class Batch:
    """The pictures that one ``p.sample`` makes.

    Args:
        p: The host's processing object.
        plan: The settings.
        policy: What is enforced, if anything.
        caches: For each pass ``[None, None]``, kept for all batches of a run: what the host
            has encoded.
        record: Where it is noted what happens.

    Raises:
        SafeGenError: The plan asks for what can't be had, or what can't be guarded.
    """

    def __init__(
        self,
        p: Any,
        plan: SafetyPlan,
        policy: Policy | None,
        caches: Mapping[bool, list[Any]],
        record: Record,
    ) -> None:
        self.p, self.plan, self.policy = p, plan, policy
        self.caches, self.record = caches, record
        self._check_files()
        self.first = p.iteration * p.batch_size
        """The number of its first picture in the run."""
        self._guiding = {FIRST: {Guiding.before(host, p, hires=FIRST)}}
        self.choices = {FIRST: self._decide(FIRST)}
        if getattr(p, "enable_hr", False) and plan.hires:
            self._guiding[SECOND] = {Guiding.before(host, p, hires=SECOND)}
            self.choices[SECOND] = self._decide(SECOND)
        for choices in self.choices.values():
            _check_complete(choices, len(p.prompts))
        self.guards: list[PassGuard] = []
        self._passes: list[UnguardedShown] = []
        self.open: PassGuard | None = None
        """The guard whose denoiser is between its two callbacks; the second names none."""
        self.error: BaseException | None = None
        self._put_on_record()
        if self.guarding:
            host.adapter().check_pass(host, p, None, plan)
        if SECOND in self._passes_to_guard:
            _check_strength(p)

    # ------------------------------------------------------------------ deciding

    def _decide(self, hires: bool, guiding: Guiding | None = None) -> list[Choice]:
        """What is to be done in a pass that is guided as it is planned to be, or otherwise."""
        p = self.p
        asked = deciding.Asked(
            p.hr_prompts if hires else p.prompts,
            p.hr_negative_prompts if hires else p.negative_prompts,
            guiding or next(iter(self._guiding[hires])),
        )
        return deciding.decide(asked, self.plan, self.policy)

    def _check_files(self) -> None:
        """Refuse what the policy doesn't list."""
        if self.policy is not None and self.policy.allowed:
            kinds = {kind for one in self.policy.allowed for kind in one}
            resources.check(resources.used_by(host, self.p, kinds), self.policy.allowed)

    def check_call(self, denoiser: Any) -> None:
        """What may have changed since the run began, for all that a request can do meanwhile.

        A checkpoint that is chosen in the settings is loaded before the hires pass, and an
        embedding that is made is known at once.

        Raises:
            SafeGenError: Something is not allowed, or is guarded no more.
        """
        if denoiser.step == 0:
            self._check_files()
        self._check_guiding(denoiser)

    def _check_guiding(self, denoiser: Any) -> None:
        """Another extension may change the CFG scale in the midst of a run: decide anew.

        Raises:
            SafeGenError: With that scale something else has to be guarded, or can't be.
        """
        hires = bool(getattr(self.p, "is_hr_pass", False))
        known, found = self._guiding.get(hires), Guiding.of(host, denoiser)
        if known is None or found in known:
            return
        anew = self._decide(hires, found)
        if [one.parts for one in anew] != [one.parts for one in self.choices[hires]]:
            raise GuardFailure(
                "SafeGen stopped this picture because it could not guard it: its CFG scale became "
                f"{found.cfg:g} after it had begun, with which other texts count"
            )
        known.add(found)

    @property
    def guarding(self) -> bool:
        """Whether there is any picture to guard."""
        return bool(self._passes_to_guard)

    @property
    def _passes_to_guard(self) -> set[bool]:
        return {
            hires
            for hires, choices in self.choices.items()
            if certain(_guarded(choices), "whether a context was chosen") is not False
        }

    def _put_on_record(self) -> None:
        hires = self.choices.get(SECOND)
        for place, choice in enumerate(self.choices[FIRST]):
            picture = Picture(_name(choice), _why(choice))
            if hires is not None and self.p.hr_prompts[place] != self.p.prompts[place]:
                picture.hires = _name(hires[place]) or "none"
            if self.record.keeps_maps:
                picture.disagreement = np.zeros(host.latent_size(self.p), dtype=np.float32)
            self.record.pictures[self.first + place] = picture

    @property
    def pictures(self) -> list[Picture]:
        """The record's entries for this batch."""
        count = len(self.choices[FIRST])
        return [self.record.pictures[self.first + place] for place in range(count)]

    # ------------------------------------------------------------------ attaching

    def attach(self, denoiser: Any) -> PassGuard | None:
        """The guard of the pass that ``denoiser`` runs; ``None`` if nothing is to be guarded."""
        hires = bool(getattr(self.p, "is_hr_pass", False))
        if hires not in self._passes_to_guard:
            return None
        for guard in self.guards:
            if guard.denoiser is denoiser:
                return guard
        made: PassGuard = host.adapter().PassGuard(
            host,
            self.p,
            denoiser,
            self.plan,
            [choice.parts for choice in self.choices[hires]],
            hires=hires,
            cache=self.caches[hires],
            maps=self.record.keeps_maps,
            floor=0.0 if self.policy is None else self.policy.floor("weight"),
        )
        self.guards.append(made)
        return made

    def attach_before_sampling(self) -> None:
        """Attach to the sampler that is about to run, so that it is verified when it returns.

        If this is missed, the pass's first callback attaches.
        """
        sampler = self.p.sampler
        guard = self.attach(sampler.model_wrap_cfg)
        if guard is None:
            return
        original = sampler.launch_sampling

        def launch_sampling(steps: Any, func: Callable[[], Any]) -> Any:
            try:
                samples = original(steps, guard.watching(func))
                self._close(guard)
                return samples
            finally:
                guard.detach()
                vars(sampler).pop("launch_sampling", None)

        sampler.launch_sampling = launch_sampling

    def detach(self) -> None:
        """Leave every denoiser as it was found."""
        for guard in self.guards:
            guard.detach()
        for one in self._passes:
            one.detach()

    # ------------------------------------------------------------------ verifying

    def fail(self, error: BaseException) -> None:
        """Remember the first error; `verify` raises it. The next batch may go well."""
        self.error = self.error or error

    def _close(self, guard: PassGuard) -> None:
        if guard.verdict is not None:
            return
        earlier = any(other.verdict is not None for other in self.guards if not other.hires)
        with explaining():
            guard.finish(verified_input=guard.hires and earlier)

    def verify(self) -> None:
        """Every pass that had a picture to guard had a guard, and each is content.

        Raises:
            SafeGenError: Otherwise.
        """
        if self.error is not None:
            error = explained(self.error)
            if error is self.error:
                raise error
            raise error from self.error
        for guard in self.guards:
            self._close(guard)
        had = {guard.hires for guard in self.guards}
        wanted = self._passes_to_guard
        hires = getattr(self.p, "enable_hr", False)
        if hires and getattr(self.p, "firstpass_image", None) is not None:
            wanted.discard(FIRST)  # there was none: the picture came from outside
        if host.stopping() and had == {FIRST}:
            wanted.discard(SECOND)  # stopped before it
        missing = wanted - had
        if missing:
            which = "second" if missing == {SECOND} else "first"
            raise GuardFailure(
                "SafeGen stopped this picture because it could not guard it: the guard was never "
                f"called in the {which} pass"
            )

    # ------------------------------------------------------------------ reporting

    def passed_over(self, denoiser: Any) -> None:
        """A denoiser call of a pass with nothing to guard; what it shows is still looked after."""
        if all(one.denoiser is not denoiser for one in self._passes):
            self._passes.append(host.adapter().UnguardedShown(host, denoiser))
        self.record.count(Counts(calls=1, pictures=len(self.p.prompts)))

    def close(self) -> None:
        """Put on record what the passes did; the first pass's check counts, and the last map."""
        for guard in sorted(self.guards, key=lambda guard: guard.hires):
            seen = guard.session.so_far()
            self.record.count(
                Counts(
                    calls=seen.calls,
                    needed=seen.needed,
                    guarded=seen.guarded,
                    evaluated=seen.evaluated,
                    pictures=seen.calls * len(guard.images),
                    own_rows=guard.own_rows,
                )
            )
            for picture, line in zip(self.pictures, guard.evidence(), strict=False):
                picture.evidence = picture.evidence or line
            for picture, found in zip(self.pictures, guard.maps(), strict=False):
                picture.disagreement = found
        self.record.publish()


def _check_strength(p: Any) -> None:
    """Raise where the host makes a hires pass without a single call of the model."""
    strength = getattr(p, "denoising_strength", None) or 0.0
    if not strength > 0:
        raise InvalidValue(
            "denoising_strength",
            strength,
            "above 0 with a hires pass",
            plain=told(
                "With denoising strength 0 the hires pass makes nothing that could be guarded. "
                "Raise the strength, or switch the hires pass off."
            ),
        )


def _check_complete(choices: Sequence[Choice], pictures: int) -> None:
    """Raise unless each picture has what its safe stream sees, or why it has none."""
    said = all(choice.why and (choice.context is None or any(choice.parts)) for choice in choices)
    if len(choices) != pictures or not said:
        raise GuardFailure(
            f"SafeGen stopped this picture: {len(choices)} decisions for {pictures} prompts, or "
            "one that says nothing"
        )


def _guarded(choices: Sequence[Choice]) -> bool:
    return any(choice.context is not None for choice in choices)


def _name(choice: Choice) -> str | None:
    return None if choice.context is None else choice.context.name


def _why(choice: Choice) -> str:
    """Why, without the words of a detector's error: they may be the prompt's."""
    why = choice.why
    for error in choice.verdict.errors:
        why = why.replace(error, ": ".join(error.split(": ")[:2]))
    return why
