"""Independent streams: the safe stream at a latent of its own, blended after guidance."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from safegen.hosts.a1111.conds import rows_of
from safegen.hosts.a1111.evaluation import OwnCalls
from safegen.hosts.a1111.rows import ExtraRow
from safegen.hosts.a1111.streams import OpenCall, Streams


class IndependentStreams(Streams):
    """The session blends each image's guided x0, and the cond rows are written to give it."""

    by_image = True

    def session_rows(self, image: int) -> Sequence[int]:
        return [image]

    def extra(self, _current: OpenCall) -> list[ExtraRow]:
        return []  # the safe stream's rows have other latents than the host's

    def blend(self, current: OpenCall, rows: Tensor, calls: OwnCalls) -> None:
        call, layout, chosen = current.call, self.layout, current.call.chosen
        guidance, noise = self.guidance(current), self.levels.at(current.given.sigma)
        x, uncond = layout.uncond(current.given.x), layout.uncond(rows)
        original = noise.to_x0(x, guidance.guided(rows[: layout.cond_rows], uncond))
        safe, push = None, {}
        if call.active:
            latent = noise.exploded(x)
            safe_x = noise.imploded(self.session.safe_latent(call, latent, noise.sigma)).to(x)
            if call.evaluate:
                own, own_uncond = self._evaluate(current, safe_x, calls)
                guided = guidance.guided(own, own_uncond)
                safe = original.clone()
                safe[chosen] = noise.to_x0(safe_x, guided)[chosen].to(safe)
                if call.push:
                    found = self._push(current, safe_x, calls, own_uncond)
                    push = {
                        name: noise.to_x0(safe_x, value).to(safe) for name, value in found.items()
                    }
                if self.session.observing:
                    base = None if current.without_uncond else noise.to_x0(x, uncond)
                    self.session.observe(call, original, safe, base)
                if self.disagreement is not None:
                    self.disagreement.add(safe - original)
        wanted = noise.from_x0(x, self.session.combine(call, original, safe, **push)).to(rows)
        for image in chosen:
            value = wanted[image]
            if current.without_uncond:
                uncond[image] = value
            else:
                value = row_for(value, uncond[image], guidance.total(image))
            for row in layout.of_image(image):
                rows[row] = value

    def _evaluate(self, current: OpenCall, x: Tensor, calls: OwnCalls) -> tuple[Tensor, Tensor]:
        """The safe stream's cond and uncond rows at its own latents ``x``, ``[B, C, H, W]``.

        The rows of images that are not guarded are zeros: nothing reads them.
        """
        layout, given, images = self.layout, current.given, current.call.chosen
        rows = [row for image in images for row in layout.of_image(image)]
        texts = [
            rows_of(given.text_cond, [row])
            if self.conds.has_safe(row) is False
            else self.safe_texts(current, [row])[0]
            for row in rows
        ]
        cond = x.new_zeros((layout.cond_rows, *x.shape[1:]))
        cond[rows] = calls.evaluate(x[[layout.image_of[row] for row in rows]], texts, rows)
        current.own_rows += len(rows)
        uncond = x.new_zeros((layout.images, *x.shape[1:]))
        if current.without_uncond:
            uncond[images] = cond[[layout.first[image] for image in images]]
            return cond, uncond
        uncond[images] = calls.uncond(x[images], images)
        current.own_rows += len(images)
        return cond, uncond

    def _push(
        self, current: OpenCall, x: Tensor, calls: OwnCalls, uncond: Tensor
    ) -> dict[str, Tensor]:
        """The unsafe and the uncond rows of every image at the safe stream's own latents ``x``.

        Of an image that is not pushed both are ``uncond``.
        """
        layout = self.layout
        images = [image for image, strength in enumerate(current.call.pushes) if strength > 0]
        rows = [
            next(row for row in layout.of_image(i) if self.conds.has_unsafe(row)) for i in images
        ]
        if current.without_uncond:
            uncond = uncond.clone()
            uncond[images] = calls.uncond(x[images], images)
            current.own_rows += len(images)
        unsafe = uncond.clone()
        unsafe[images] = calls.evaluate(x[images], self.unsafe_texts(current, rows), rows)
        current.own_rows += len(images)
        return {"unsafe": unsafe, "uncond": uncond}


def row_for(wanted: Tensor, uncond: Tensor, total: float) -> Tensor:
    """The cond row, in all ``AND`` parts of an image, that the host guides to ``wanted``.

    Args:
        total: The CFG scale times the sum of the parts' weights.

    Raises:
        ValueError: ``total`` is 0.
    """
    if not abs(total) > 1e-6:
        raise ValueError(
            "with independent streams the CFG scale times the AND weights must not be 0"
        )
    return uncond + (wanted - uncond) / total
