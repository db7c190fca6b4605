"""Learned embeddings on disk: made from pairs in one text encoder, refused in any other.

They lie beside the user's contexts::

    learned/<context>/<encoder's hash>.safetensors   one for each text encoder
    learned/<context>/pairs.csv                      what the latest was learned from

The pairs stay, so that learning again for another checkpoint is one call.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError, learned_folder
from safegen.errors import InvalidValue
from safegen.files import write_atomically
from safegen.learned import pairs as pairs_module
from safegen.learned import safetensors_file
from safegen.learned.embedding import LearnedEmbedding, learn
from safegen.learned.encoder import (
    Progress,
    TextEncoder,
    encode_in_batches,
    own_mean,
    start_mark,
)
from safegen.learned.pairs import CorpusError, own_pairs, pairs_text
from safegen.learned.pairs import Pair as LabelledPair

FORMAT_VERSION = 1
KEY = "safegen-embedding"
PAIRS_FILE = "pairs.csv"
RANK = 4
LEAST = 0.1
"""Share of the pairs' squared differences that an axis of the unsafe subspace has to explain. On
the embedded model this keeps one axis for one hazard and three for three."""

Pair = tuple[str, str]
"""An unsafe prompt, and the safe one that shows the same scene."""


class NotLearned(ContextError):
    """A context has no embedding for this text encoder; the text says how to learn one."""


# ------------------------------------------------------------------ pairs


def read_pairs(file: Path) -> tuple[Pair, ...]:
    """The pairs of a CSV file with columns ``unsafe`` and ``safe``; others are passed over.

    Raises:
        ContextError: if it cannot be read, lacks a column, or has no pairs; names the file.
    """
    try:
        return tuple((p.unsafe, p.safe) for p in pairs_module.read_pairs(file, categories=False))
    except CorpusError as error:
        raise ContextError(str(error)) from error


def write_pairs(pairs: Sequence[Pair], file: Path) -> None:
    """Write pairs as `read_pairs` reads them."""
    write_atomically(file, pairs_text([LabelledPair("", *pair) for pair in pairs]))


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """sha256 of the pairs, whatever the layout of the file they came from."""
    return hashlib.sha256(json.dumps([list(p) for p in pairs]).encode()).hexdigest()


_FRAMES = ("a photo of {}", "a painting of {}", "a scene with {}, highly detailed", "{}")


def pairs_of(context: SafetyContext) -> tuple[Pair, ...]:
    """Pairs for one who has no file of them: the built-in ones of the context's category, and
    those made of its own words.

    Each risky word stands where its neutral one stands in the safe half; the context's two
    texts are a pair too.

    Raises:
        InvalidValue: if the context has neither neutral words nor an unsafe text.
    """
    pairs = [
        (frame.format(risky), frame.format(neutral or "a quiet place"))
        for risky, neutral in sorted(context.neutral.items())
        for frame in _FRAMES
    ]
    if context.unsafe_text.strip():
        pairs += [(f.format(context.unsafe_text), f.format(context.safe_text)) for f in _FRAMES]
    if not pairs:
        raise InvalidValue(
            f"context {context.name}", "", "one with neutral words or an unsafe text; or pass pairs"
        )
    own = own_pairs(context.category) if context.category else ()
    return (*((pair.unsafe, pair.safe) for pair in own), *pairs)


# ------------------------------------------------------------------ learning


def learn_from_pairs(
    pairs: Sequence[Pair],
    encoder: TextEncoder,
    *,
    rank: int = RANK,
    progress: Progress | None = None,
) -> LearnedEmbedding:
    """The direction from unsafe to safe and the unsafe subspace, in ``encoder``'s space.

    Each prompt counts as the mean of its own tokens, closing mark included. The subspace has
    as many axes as explain at least `LEAST` of the pairs' differences, ``rank`` at the most
    (see `safegen.learned.embedding.learn`).

    Args:
        pairs: At least one.
        encoder: The checkpoint's own.
        rank: Greatest dimension of the subspace.
        progress: Told after every batch.

    Raises:
        InvalidValue: There are no pairs, none differs, or the encoder answers nonsense.
    """
    if not pairs:
        raise InvalidValue("pairs", "none", "at least one pair of an unsafe and a safe prompt")
    if rank < 1:
        raise InvalidValue("rank", rank, "a whole number from 1 on")
    texts = [text for pair in pairs for text in pair]
    encoded = encode_in_batches(encoder, texts, progress)
    means = torch.stack([own_mean(*one) for one in encoded])
    unsafe, safe = means[0::2], means[1::2]
    found = learn(
        unsafe,
        safe,
        encoder=encoder.identity,
        rank=min(rank, len(unsafe), *encoder.widths),
        least=LEAST,
        widths=encoder.widths,
    )
    return replace(found, start=start_mark(encoded), digest=pairs_digest(pairs))


# ------------------------------------------------------------------ files


def to_bytes(embedding: LearnedEmbedding, context: str = "") -> bytes:
    """A learned embedding as a safetensors file."""
    tensors = {
        "direction": embedding.direction,
        "basis": embedding.basis,
        "center": embedding.center,
    }
    if embedding.start is not None:
        tensors["start"] = embedding.start
    header = {
        "version": FORMAT_VERSION,
        "context": context,
        "encoder": embedding.encoder,
        "width": embedding.width,
        "rank": embedding.rank,
        "pairs": embedding.pairs,
        "pairs_sha256": embedding.digest,
    }
    return safetensors_file.to_bytes(KEY, header, tensors)


def read_embedding(file: Path) -> LearnedEmbedding:
    """The learned embedding in one file, whichever encoder it is for.

    Raises:
        ContextError: if it cannot be read, is none, is of a newer version, or is damaged.
    """
    with safetensors_file.reading(file, ContextError):
        header, tensors = safetensors_file.read(
            file, KEY, newest=FORMAT_VERSION, kind="learned embedding"
        )
        tensors = {name: tensor.float() for name, tensor in tensors.items()}
        width, rank = int(header["width"]), int(header["rank"])
        shapes = {"direction": (width,), "basis": (rank, width), "center": (width,)}
        if "start" in tensors:
            shapes["start"] = (width,)
        safetensors_file.check(file, tensors, shapes)
        return LearnedEmbedding(
            direction=tensors["direction"],
            basis=tensors["basis"],
            center=tensors["center"],
            encoder=str(header["encoder"]),
            pairs=int(header["pairs"]),
            start=tensors.get("start"),
            digest=str(header["pairs_sha256"]),
        )


@dataclass(frozen=True)
class LearnedStore:
    """The learned embeddings in the user's contexts ``folder``."""

    folder: Path

    def learn(
        self,
        context: SafetyContext,
        encoder: TextEncoder,
        pairs: Sequence[Pair] | None = None,
        *,
        rank: int = RANK,
        progress: Progress | None = None,
    ) -> LearnedEmbedding:
        """Learn for ``context`` in ``encoder`` and keep it, in place of what was there before.

        Without ``pairs`` from those that were kept the last time, or else from the context's
        own words: learning again for another checkpoint takes no more than this call. The pairs
        are kept beside it.
        """
        if pairs is None:
            pairs = self._pairs(context)
        found = learn_from_pairs(pairs, encoder, rank=rank, progress=progress)
        write_pairs(pairs, self._home(context.name) / PAIRS_FILE)
        return self._keep(found, context)

    def for_encoder(
        self, context: SafetyContext, encoder: TextEncoder, *, progress: Progress | None = None
    ) -> LearnedEmbedding:
        """What is learned for ``context`` in ``encoder``; learned now, with a progress bar, if it
        has not been yet, or if its pairs are no longer those that it was learned from.

        Raises:
            ContextError: There is a file for it that cannot be used.
            InvalidValue: The context has nothing to learn from.
            OSError: What was learned can't be kept.
        """
        pairs = self._pairs(context)
        try:
            found = self.get(context.name, encoder.identity)
            if found.digest == pairs_digest(pairs):
                return found
        except NotLearned:
            pass
        with tqdm(desc=f"SafeGen learns {context.label} for this model", unit="prompt") as bar:

            def told(done: int, of: int) -> None:
                bar.total = of
                bar.update(done - bar.n)
                if progress is not None:
                    progress(done, of)

            found = learn_from_pairs(pairs, encoder, progress=told)
        return self._keep(found, context)

    def get(self, context: str, identity: str) -> LearnedEmbedding:
        """The embedding of ``context`` for the text encoder ``identity``.

        Raises:
            NotLearned: if there is none for this very encoder; says how to get one.
            ContextError: if there is a file for it that cannot be used.
        """
        file = self._file(context, identity)
        if file.is_file():
            found = read_embedding(file)
            if found.encoder == identity:
                return found
        others = len(self.files(context))
        made = (
            f"the embedding learned for context {context!r} was made for another text encoder"
            if others
            else f"no embedding has been learned for context {context!r}"
        )
        kept = self.kept_pairs(context)
        how = f"learn it again from the {len(kept)} kept pairs" if kept else "learn it from pairs"
        raise NotLearned(
            f"{made}; this model's is {identity}. Press Learn for this context, or run: "
            f"safegen contexts learn {context} --model MODEL ({how})"
        )

    def files(self, context: str) -> list[Path]:
        """Every learned file of ``context``."""
        return sorted(self._home(context).glob("*.safetensors"))

    def kept_pairs(self, context: str) -> tuple[Pair, ...]:
        """The pairs ``context`` was last learned from; none if it never was."""
        file = self._home(context) / PAIRS_FILE
        return read_pairs(file) if file.is_file() else ()

    def _pairs(self, context: SafetyContext) -> tuple[Pair, ...]:
        """What ``context`` is learned from where nothing else is given."""
        return self.kept_pairs(context.name) or pairs_of(context)

    def _keep(self, found: LearnedEmbedding, context: SafetyContext) -> LearnedEmbedding:
        write_atomically(self._file(context.name, found.encoder), to_bytes(found, context.name))
        return found

    def _home(self, context: str) -> Path:
        return learned_folder(self.folder, context)

    def _file(self, context: str, identity: str) -> Path:
        name = hashlib.sha256(identity.encode()).hexdigest()[:24]
        return self._home(context) / f"{name}.safetensors"
