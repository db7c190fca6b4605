"""Make the n-gram network's weights: ``python -m safegen.lab.text.train --pairs … --prompts …
--requests … --captions … --scenes … --photographs … --people … --titles …``.

What is learned from, each in its *train* part:

- pairs of harmful and harmless prompts for one scene, by category;
- prompts that people wrote for Stable Diffusion, as harmless, but for those in which the lexicon
  finds a word that is more than a hint, or a sexual hint;
- harmless requests that sound risky, captions, and short harmless scenes;
- further prompts that people wrote, each read by hand (`people.json`), harmful and harmless;
- captions of further photographs, all of them; titles of works of art, as short harmless texts;
- terms of the lexicon, in sentences and among tags, as harmful, and sentences and tags of our own
  in ten languages as harmless;
- pairs of our own writing (`safegen.learned.pairs.own_pairs`), acts told without a hard word, and
  harmless ones in the same words (`acts.json`);
- common words of each language in random order, as harmless, so that neither a language nor a
  word nobody has seen says anything;
- a part of all this once more in nine other languages, each word by the nearest in meaning.

Harmful and harmless texts alike are given openings (*generate an image of*) and pieces of people's
prompts before and behind them, so that style says nothing and padding hides nothing. Words are
dropped at random, and their own vectors more often, so that their meaning has to do as well. The
loss is the logistic one over the pooled places, plus the categories'.

One network for each of `SEEDS` learns so, from texts drawn anew. They stand side by side: what they
say of a place is averaged, and what only one of them takes for a sign counts for less. A linear
model learns from the same without openings and pieces, and in their own language alone. About an
hour on one free core.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from safegen.detectors.bag import Bag
from safegen.detectors.lexicon import LexiconDetector, built_in
from safegen.detectors.ngram import REACH, STRIDE, WEIGHTS, NgramDetector, Weights, inputs
from safegen.detectors.reading import STOP, UNKNOWN
from safegen.files import sha256
from safegen.lab.text import bag, corpus
from safegen.lab.text.texts import Text, risky, training_texts
from safegen.learned.pairs import read_pairs
from safegen.text.vocabulary import vocabulary
from safegen.text.words import tokenize

HIDDEN = 96
SEEDS = tuple(corpus.SEED + 1 + network for network in range(2))
"""One for each network."""
EPOCHS = 8
BATCH = 96
RATE = 3e-3
DECAY = 1e-2
DROPPED = 0.05
"""Share of words that are made unknown, anew in every epoch."""
OWN = 16
"""Width of a word's own vector."""
OWN_DROPPED = 0.5
"""Share of words that are read without theirs, anew in every epoch."""
OWN_SCALE = 2.0
OWN_DECAY = 0.1
FEWEST = 5
"""Texts a word must stand in to have one."""
FILES = ("pairs", "prompts", "requests", "captions", "scenes")
LEARNED = (*FILES, "photographs", "people", "titles")
"""With what is learned from as a whole, and has no part to test on."""
WANTED = 3000
# ------------------------------------------------------------------ the network


class Network(nn.Module):
    """One network of `safegen.detectors.ngram` in torch."""

    def __init__(self, width: int, categories: int, words: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        half = REACH // 2
        self.own = nn.Embedding(words + 1, OWN, padding_idx=0)
        nn.init.normal_(self.own.weight, 0.0, 0.05)
        nn.init.zeros_(self.own.weight[0])
        self.first = nn.Conv1d(width + 2 + OWN, hidden, REACH, padding=half)
        self.second = nn.Conv1d(hidden, hidden, REACH, padding=half * STRIDE, dilation=STRIDE)
        self.out = nn.Linear(2 * hidden, 1 + categories)
        self.drop = nn.Dropout(0.3)
        nn.init.constant_(self.out.bias, -3.0)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Of every place what speaks for harm ``[n, places]`` and for which kind.

        ``words`` says which vector of its own each place has, from 1 on; 0 for none.
        """
        x = torch.cat([x, OWN_SCALE * self.own(words)], -1)
        first = functional.relu(self.first(self.drop(x.transpose(1, 2)))) * mask[:, None]
        second = functional.relu(self.second(self.drop(first)))
        said = self.out(self.drop(torch.cat([first, second], 1).transpose(1, 2)))
        return said[..., 0].masked_fill(~mask, -1e4), said[..., 1:]


def _by_run(convolution: nn.Conv1d) -> NDArray[np.float32]:
    """A layer's weight as ``[REACH, in, out]``."""
    return np.asarray(convolution.weight.detach().numpy().transpose(2, 1, 0))


def _flat(by_run: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(by_run.reshape(-1, by_run.shape[2]))


def exported(
    networks: Sequence[tuple[Network, Sequence[int]]],
    linear: Bag,
    categories: Sequence[str],
    origin: dict[str, Any],
) -> Weights:
    """Networks side by side as weights, not calibrated.

    Beside each stand the rows of the words that have a vector of their own in it.
    """
    hashes = {row: key for key, row in vocabulary().rows.items()}
    words = sorted({row for _, rows in networks for row in rows})
    place = {row: i for i, row in enumerate(words)}
    own = np.zeros((len(words), OWN * len(networks)), np.float32)
    first, second, out = [], [], []
    for number, (network, rows) in enumerate(networks):
        vectors = OWN_SCALE * network.own.weight.detach().numpy()[1:]
        mine = slice(OWN * number, OWN * (number + 1))
        own[[place[row] for row in rows], mine] = vectors
        shared, its = np.split(_by_run(network.first), [-OWN], axis=1)
        others = np.zeros((REACH, own.shape[1], shared.shape[2]), np.float32)
        others[:, mine] = its
        first.append(np.concatenate([shared, others], axis=1))
        second.append(_flat(_by_run(network.second)))
        out.append(np.split(network.out.weight.detach().numpy().T / len(networks), 2))
    near, far = zip(*out, strict=True)
    bias = [network.out.bias.detach().numpy() for network, _ in networks]
    return Weights(
        first=(_flat(np.concatenate(first, axis=2)), _biases(n.first for n, _ in networks)),
        second=(np.stack(second), _biases(n.second for n, _ in networks)),
        out=(np.concatenate([*near, *far]), np.mean(bias, axis=0)),
        words=np.asarray([hashes[row] for row in words], np.uint32),
        own=own,
        bag=linear,
        categories=tuple(categories),
        slope=1.0,
        offset=0.0,
        wanted=(),
        origin=origin,
    )


def _biases(layers: Iterable[nn.Conv1d]) -> NDArray[np.float32]:
    return np.concatenate([cast(Tensor, layer.bias).detach().numpy() for layer in layers])


def _batches(texts: Sequence[Text], rng: random.Random) -> Iterator[list[Text]]:
    """Texts of like length together, in random order."""
    order = list(texts)
    rng.shuffle(order)
    batches = []
    for begin in range(0, len(order), 40 * BATCH):
        chunk = sorted(order[begin : begin + 40 * BATCH], key=lambda text: len(text.rows))
        batches += [chunk[i : i + BATCH] for i in range(0, len(chunk), BATCH)]
    rng.shuffle(batches)
    yield from batches


def fit(
    texts: Sequence[Text], categories: Sequence[str], seed: int, epochs: int = EPOCHS
) -> tuple[Network, list[int]]:
    """Train a network on ``texts``; says the loss of each epoch.

    Returns the network, and the rows of the words that have a vector of their own.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    noise = np.random.default_rng(seed)
    known = vocabulary()
    counts = Counter(row for text in texts for row in set(text.rows) if row >= 0)
    words = sorted(row for row, count in counts.items() if count >= FEWEST)
    own_of = np.zeros(len(known.vectors) + 1, np.int64)  # the last for what is no word
    own_of[words] = np.arange(1, len(words) + 1)
    none = np.zeros((len(known.vectors), 0), np.float32)
    network = Network(known.vectors.shape[1], len(categories), len(words))
    own = [network.own.weight]
    others = [p for name, p in network.named_parameters() if not name.startswith("own")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "weight_decay": DECAY}, {"params": own, "weight_decay": OWN_DECAY}],
        RATE,
    )
    steps = epochs * (len(texts) // BATCH + 41)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [RATE, RATE], total_steps=steps)
    for epoch in range(epochs):
        total, count = 0.0, 0
        for batch in _batches(texts, rng):
            longest = max(len(text.rows) for text in batch)
            rows = np.full((len(batch), longest), STOP, np.int64)
            mask = np.zeros((len(batch), longest), bool)
            for i, text in enumerate(batch):
                rows[i, : len(text.rows)] = text.rows
                mask[i, : len(text.rows)] = True
            rows[(noise.random(rows.shape) < DROPPED) & (rows >= 0)] = UNKNOWN
            numbers = own_of[np.maximum(rows, -1)]
            numbers[noise.random(rows.shape) < OWN_DROPPED] = 0
            x = inputs(rows, known, none) * mask[..., None]
            places, kinds = network(
                torch.from_numpy(x), torch.from_numpy(numbers), torch.from_numpy(mask)
            )
            loss = _loss(places, kinds, batch)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total, count = total + loss.item(), count + 1
        print(f"epoch {epoch + 1}: {total / count:.4f}", flush=True)
    return network.eval(), words


def _loss(places: Tensor, kinds: Tensor, batch: Sequence[Text]) -> Tensor:
    target = torch.tensor([float(text.harmful) for text in batch])
    weight = torch.tensor([text.weight for text in batch])
    pooled = torch.logsumexp(places, 1)
    each = functional.binary_cross_entropy_with_logits(pooled, target, reduction="none")
    loss = (each * weight).mean()
    kind = torch.tensor([text.kind for text in batch])
    if bool((kind >= 0).any()):
        share = torch.softmax(places, 1)
        mixed = (share[..., None] * kinds).sum(1)[kind >= 0]
        loss = loss + 0.3 * functional.cross_entropy(mixed, kind[kind >= 0])
    return loss


# ------------------------------------------------------------------ calibration


def calibrate(
    z: NDArray[np.float64], label: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Platt's slope and offset, so that 1 / (1 + exp(-(slope · z + offset))) is a probability."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6).fit(z[:, None], label, sample_weight=weight)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def held_out(files: Mapping[str, Path]) -> tuple[list[str], list[float], list[float]]:
    """The calibration parts: texts, whether each is harmful, and how much it counts.

    Harmful and harmless count the same, and so does each of four kinds of harmless text.
    """
    lexicon = LexiconDetector()
    pairs = corpus.divided_pairs(files["pairs"])["calibration"]
    sets = [
        [pair.safe for pair in pairs],
        [
            row.text
            for row in corpus.divided(files["prompts"])["calibration"]
            if not risky(row.text, lexicon)
        ],
        [row.text for row in corpus.divided(files["requests"])["calibration"]],
        [row.text for row in corpus.divided(files["captions"])["calibration"]],
    ]
    texts = [pair.unsafe for pair in pairs]
    label, weight = [1.0] * len(texts), [1.0] * len(texts)
    for part in sets:
        texts += part
        label += [0.0] * len(part)
        weight += [len(pairs) / len(sets) / len(part)] * len(part)
    return texts, label, weight


def wanted_words(detector: NgramDetector, files: Mapping[str, Path]) -> tuple[str, ...]:
    """Words of five letters and more that speak for harm alone, the strongest first."""
    words = set(built_in().phrases.words())
    for pair in corpus.divided_pairs(files["pairs"])["train"]:
        words |= {token.word for token in tokenize(pair.unsafe)}
    known = vocabulary()
    able = sorted(w for w in words if len(w) > 4 and w.isascii() and w.isalpha() and w in known)
    rows = np.asarray([[known.row(word)] for word in able], np.int64)
    z = detector._places(rows)[:, 0, 0]
    strong = [(float(one), word) for one, word in zip(z, able, strict=True)]
    chosen = sorted(strong, reverse=True)[:WANTED]
    return tuple(word for one, word in chosen if detector.probability(one) >= 0.5)


def train(files: Mapping[str, Path], epochs: int = EPOCHS) -> Weights:
    """Divide, fit, calibrate.

    Args:
        files: A file for each of `LEARNED`; test parts are not looked at.
        epochs: How often everything is seen.
    """
    categories = sorted({pair.category for pair in read_pairs(files["pairs"])})
    networks: list[tuple[Network, list[int]]] = []
    for seed in SEEDS:
        texts = training_texts(files, categories, seed)
        print(f"network {len(networks) + 1} of {len(SEEDS)}: {len(texts)} texts", flush=True)
        networks.append(fit(texts, categories, seed, epochs))
    origin: dict[str, Any] = {
        "seed": corpus.SEED,
        "second_seed": corpus.SECOND_SEED,
        "sha256": {name: sha256(file) for name, file in files.items()},
        "networks": len(networks),
        "epochs": epochs,
    }
    linear = bag.fit(training_texts(files, categories, SEEDS[0], bare=True))
    weights = exported(networks, linear, categories, origin).rounded()
    texts_held, label, weight = held_out(files)
    detector = NgramDetector(weights)
    z = np.asarray([detector.log_odds(text) for text in texts_held])
    slope, offset = calibrate(z, np.asarray(label), np.asarray(weight))
    weights = replace(weights, slope=slope, offset=offset)
    return replace(weights, wanted=wanted_words(NgramDetector(weights), files))


def arguments(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The options that name the prompt sets."""
    parser.add_argument("--pairs", type=Path, required=required, help="CSV: category, unsafe, safe")
    parser.add_argument("--prompts", type=Path, required=required, help="people's own: CSV: prompt")
    parser.add_argument(
        "--requests", type=Path, required=required, help="harmless, sound risky: category, prompt"
    )
    parser.add_argument("--captions", type=Path, required=required, help="CSV: prompt")
    parser.add_argument("--scenes", type=Path, required=required, help="short ones: CSV: prompt")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m safegen.lab.text.train")
    arguments(parser, required=True)
    parser.add_argument("--photographs", type=Path, required=True, help="captions: CSV: prompt")
    parser.add_argument(
        "--people", type=Path, required=True, help="further people's own: a text file, one a line"
    )
    parser.add_argument("--titles", type=Path, required=True, help="works of art: CSV: prompt")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    weights = train({name: getattr(args, name) for name in LEARNED}, args.epochs)
    weights.save(args.out)
    print(f"{args.out.name}: {args.out.stat().st_size / 1e6:.2f} MB, {weights.origin}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
