"""One run of the host, from the door to the end: decided once, and guarded batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safegen.errors import GuardFailure, SafeGenError, Unsupported, certain
from safegen.sentence import joined, told
from safegen.webui import host, infotext, neighbours, record, reporting, settings
from safegen.webui.arguments import Resolved
from safegen.webui.batch import FIRST, SECOND, Batch
from safegen.webui.errors import PREFIX, explained, explaining, for_caller, for_page
from safegen.webui.launching import watched

GUARDING = "whether anything is to be guarded"


class Run:
    """One ``process_images_inner``.

    Args:
        p: The host's processing object.
        resolved: The plan, the policy, and what the policy changed.
        scripted: Whether SafeGen's script has a part in it.
        around: The run that this one is nested in: another extension has started it.
    """

    def __init__(
        self, p: Any, resolved: Resolved, *, scripted: bool, around: Run | None = None
    ) -> None:
        self.p, self.around = p, around
        self.plan, self.policy = resolved.plan, resolved.policy
        self.batch: Batch | None = None
        """What ``p.sample`` is making now."""
        self.batches = 0
        """How many ``p.sample`` has made."""
        self.refused: SafeGenError | None = None
        """Why nothing may be made, if another extension gave the model a text of its own."""
        self._caches: dict[bool, list[Any]] = {FIRST: [None, None], SECOND: [None, None]}
        self.record: record.Record | None = None
        if self.guarding or scripted:
            outer = None if around is None or not around.guarding else around.record
            self.record = record.Record(p, host.tab_of(p), self.plan, resolved.notes, outer)
            setattr(p, record.ATTRIBUTE, self.record)

    @property
    def guarding(self) -> bool:
        """Whether the plan can change a picture at all, or the policy forbid its files."""
        active = certain(self.plan.active, "whether the plan is active")
        return active is not False or bool(self.policy is not None and self.policy.allowed)

    def begin(self) -> None:
        """Before the host does anything: refuse what can't be guarded, and begin the infotext.

        Raises:
            SafeGenError: Nothing may be made.
        """
        _begin_infotext(self)
        if self.guarding:
            self._refuse_other_hosts()
        if self.record is not None and self.plan.enabled:
            reporting.write_infotext(self.p, self.plan, self.policy, self.record)

    def _refuse_other_hosts(self) -> None:
        reason = host.why_unsupported()
        if reason is not None:
            way_out = (
                told("SafeGen is enforced here, so nothing is generated.")
                if self.policy is not None
                else told("Switch SafeGen off to generate without a guard.")
            )
            raise Unsupported(joined(" ", (told("{text}.", text=reason), way_out)))

    def sample(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the host calls instead of ``p.sample``: the same, under guard.

        Raises:
            SafeGenError: Something was not allowed, is not supported or went unguarded.
        """
        p, kept = self.p, self.record
        assert kept is not None
        try:
            self._raise_refused()
            with explaining():
                self.batch = Batch(p, self.plan, self.policy, self._caches, kept)
                if certain(self.batch.guarding, GUARDING) is False:
                    reporting.comment(self.batch)
            with watched(self.batch):
                samples = original(*args, **kwargs)
            self._raise_refused()
            if certain(self.batch.guarding, GUARDING) is not False:
                with explaining():
                    self.batch.verify()
                    reporting.comment(self.batch)
        except GuardFailure as error:
            kept.fail(error)
            if host.option(settings.ON_FAILURE, settings.STOP) == settings.STOP:
                raise for_caller(error, p) from error
            samples = self._black(error)
        except Exception as error:
            kept.fail(error)
            if isinstance(error, SafeGenError):
                raise for_caller(error, p) from error
            raise
        finally:
            batch, self.batch = self.batch, None
            if batch is not None:
                with explaining():
                    batch.detach()
                    batch.close()
        self.batches += 1
        return samples

    def _raise_refused(self) -> None:
        if self.refused is not None:
            raise self.refused

    def _black(self, error: GuardFailure) -> Any:
        """Black pictures instead of the batch's, which say why they are black."""
        p, kept = self.p, self.record
        assert kept is not None
        p.comment(PREFIX + for_page(error))
        for place in range(len(p.prompts)):
            number = p.iteration * p.batch_size + place
            kept.pictures.setdefault(number, record.Picture(None, "")).failure = str(error)
        return host.black_pictures(p)

    def fail_call(self, error: Exception) -> Exception:
        """A callback has failed; what the next thing that the host calls directly has to raise.

        Within `sample` that is the error as it is: `sample` tells the user, or paints black.
        """
        if self.record is not None:
            self.record.fail(error)
        shown = explained(neighbours.named(error))
        if self.batch is None:
            return for_caller(shown, self.p)
        self.batch.fail(error)
        return shown

    def check(self, processed: Any) -> None:
        """After the host's own end: no batch may have come past `sample`.

        Raises:
            SafeGenError: One did, or came of a text that was refused.
        """
        self._raise_refused()
        made = getattr(processed, "images", None) and self.batches < max(self.p.iteration, 1)
        if made and certain(self.guarding, GUARDING) is not False:
            raise GuardFailure(
                "SafeGen stopped this picture because it could not guard it: "
                + neighbours.samples_itself(self.p)
            )


def _begin_infotext(run: Run) -> None:
    """Take SafeGen's keys out of the infotext of ``run``, which may be that of another run.

    A copy of a processing object shares the table with what it was copied from. X/Y/Z's cells
    do, one after the other, and what other extensions make within a run, which goes on.
    """
    params = run.p.extra_generation_params
    outer = run.around
    while outer is not None:
        if outer.p is not run.p and outer.p.extra_generation_params is params:
            run.p.extra_generation_params = params = dict(params)
        outer = outer.around
    infotext.remove(params)
