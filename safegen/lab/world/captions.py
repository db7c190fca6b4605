"""Captions: the many ways to say a scene, long and short, and the plainest one.

Whatever a caption leaves unsaid is random in the picture, with two exceptions. A near concept
is always said. A hazard is always said too, except where an implicit phrase brings it: so a
caption that suggests no hazard comes from a harmless scene only.
"""

from __future__ import annotations

import random

from safegen.lab.world.scene import ATTRIBUTES, COLOURS, HAZARDS, NONE, OBJECTS, Sample, Scene
from safegen.lab.world.words import (
    BENIGN_MOODS,
    DISGUISES,
    HAZARD_ADJECTIVES,
    HAZARD_MOODS,
    HAZARD_NOUNS,
    HAZARD_PHRASES,
    IMPLICIT,
    NEAR_NOUNS,
    NEAR_PHRASES,
    OPENINGS,
    PLACES,
    SIDES,
    UNKNOWN_WORDS,
    with_article,
)

SHORT_SHARE = 0.4
EMPTY_SHARE = 0.1
UNKNOWN_SHARE = 0.08
DISGUISED_SHARE = 0.03


def _hazard_words(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """An adjective or a phrase for the scene's hazard; the other one is empty."""
    draw = rng.random()
    table = None
    if draw < UNKNOWN_SHARE:
        table = UNKNOWN_WORDS
    elif draw < UNKNOWN_SHARE + DISGUISED_SHARE:
        table = DISGUISES
    if table is not None:
        return spoken(rng.choice([w.text for w in table if w.hazard == scene.hazard]), scene.hazard)
    adjectives = HAZARD_ADJECTIVES.get(scene.hazard, ())
    if adjectives and rng.random() < 0.6:
        return rng.choice(adjectives), ""
    return "", rng.choice(HAZARD_PHRASES[scene.hazard])


def spoken(word: str, hazard: str) -> tuple[str, str]:
    """How a single word names ``hazard``: as an adjective before the object, or as a phrase
    after it (a skull is a thing)."""
    return ("", f"with {with_article(word)}") if hazard == "skull" else (word, "")


def caption(sample: Sample, rng: random.Random) -> str:
    """One of the many ways to say ``sample``; two in five are short.

    Moods (clean, peaceful, safe; violent, dangerous, scary) are said sometimes, and always fit.
    """
    if rng.random() < SHORT_SHARE:
        return _short(sample, rng)
    return _said(sample, rng, colour=0.94, place=0.94, side=0.94, mood=0.2)


def _short(sample: Sample, rng: random.Random) -> str:
    scene = sample.scene
    if sample.phrase is None and rng.random() < 0.12:
        # Without the object: "blood on the beach", "a lamp", "fire".
        if scene.hazard != NONE:
            words = rng.choice(HAZARD_NOUNS[scene.hazard])
        elif scene.near != NONE:
            words = NEAR_NOUNS[scene.near]
        else:
            words = f"a {scene.colour} thing"
        if rng.random() < 0.4:
            words += f" {rng.choice(PLACES[scene.background])}"
        if scene.hazard != NONE and scene.near != NONE:
            words += f" {rng.choice(NEAR_PHRASES[scene.near])}"
        return rng.choice(OPENINGS) + words
    if sample.phrase is None and scene.hazard != NONE and rng.random() < 0.15:
        link = "and" if scene.hazard == "skull" else "on"
        text = f"{rng.choice(HAZARD_NOUNS[scene.hazard])} {link} {with_article(scene.object)}"
        if scene.near != NONE:
            text += f" {rng.choice(NEAR_PHRASES[scene.near])}"
        return text
    return _said(sample, rng, colour=0.35, place=0.2, side=0.12, mood=0.08)


def _said(
    sample: Sample, rng: random.Random, *, colour: float, place: float, side: float, mood: float
) -> str:
    """A caption that says the object, and each other attribute with its probability."""
    scene, phrase = sample.scene, sample.phrase
    words: list[str] = []
    phrases: list[str] = []
    if phrase is not None:
        phrases.append(phrase.text)
    elif scene.hazard == NONE:
        if rng.random() < mood:
            words.append(rng.choice(BENIGN_MOODS))
    else:
        if rng.random() < mood:
            words.append(rng.choice(HAZARD_MOODS))
        adjective, after = _hazard_words(scene, rng)
        words += [adjective] if adjective else []
        phrases += [after] if after else []
    if rng.random() < colour:
        words.append(scene.colour)
    words.append(scene.object)
    if scene.near != NONE:
        phrases.append(rng.choice(NEAR_PHRASES[scene.near]))
    places = []
    if rng.random() < place:
        places.append(rng.choice(PLACES[scene.background]))
    if rng.random() < side:
        places.append(rng.choice(SIDES[scene.position]))
    if rng.random() < 0.3:
        places.reverse()
    text = rng.choice(OPENINGS) + with_article(" ".join(words))
    for part in phrases:
        text += f" {part}"
    for part in places:
        text += f"{',' if rng.random() < 0.4 else ''} {part}"
    return text


def training_caption(sample: Sample, rng: random.Random) -> str:
    """A caption to learn from: now and then empty, now and then with words that mean nothing.

    The nonsense teaches the model to pass over words that it does not know.
    """
    if rng.random() < EMPTY_SHARE:
        return ""
    text = caption(sample, rng)
    if rng.random() < 0.15:
        words = text.split(" ")
        for _ in range(rng.randint(1, 6)):
            words.insert(rng.randint(0, len(words)), _nonsense(rng))
        text = " ".join(words)
    return text


def _nonsense(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 8)))


def prompt(scene: Scene, *, short: bool = False, phrase: str = "", word: str = "") -> str:
    """The plainest caption of ``scene``.

    Args:
        scene: What to say: the hazard by its first word, unless ``phrase`` or ``word`` stands
            for it.
        short: Leave out colour, place and side: "a bloody ball".
        phrase: An implicit phrase to say instead of the hazard.
        word: A word of `UNKNOWN_WORDS` or `DISGUISES` to say instead of the hazard's own.
    """
    adjective, after = "", ""
    if phrase:
        after = phrase
    elif scene.hazard != NONE and word:
        adjective, after = spoken(word, scene.hazard)
    elif scene.hazard in HAZARD_ADJECTIVES:
        adjective = HAZARD_ADJECTIVES[scene.hazard][0]
    elif scene.hazard != NONE:
        after = HAZARD_PHRASES[scene.hazard][0]
    words = [w for w in (adjective, "" if short else scene.colour, scene.object) if w]
    text = with_article(" ".join(words)) + (f" {after}" if after else "")
    if scene.near != NONE:
        text += f" {NEAR_PHRASES[scene.near][0]}"
    if short:
        return text
    return f"{text} {PLACES[scene.background][0]}, {SIDES[scene.position][0]}"


def suggested_hazards(text: str) -> set[str]:
    """The hazards that a caption of this world names, by any word of the world's own."""
    said = f" {text.replace(',', ' ')} "
    found = set()
    for hazard in HAZARDS:
        own = [w.text for w in (*UNKNOWN_WORDS, *DISGUISES) if w.hazard == hazard]
        for table in (HAZARD_ADJECTIVES, HAZARD_PHRASES, HAZARD_NOUNS):
            own += table.get(hazard, ())
        if any(f" {word} " in said for word in own):
            found.add(hazard)
    return found


def vocabulary() -> list[str]:
    """Sentences that together hold every word of every caption, for the tokenizer's training."""
    sentences: list[str] = [*BENIGN_MOODS, *HAZARD_MOODS, *OPENINGS, *ATTRIBUTES, *COLOURS]
    for table in (PLACES, SIDES, NEAR_PHRASES, HAZARD_ADJECTIVES, HAZARD_PHRASES, HAZARD_NOUNS):
        sentences += [text for options in table.values() for text in options]
    sentences += [*NEAR_NOUNS.values(), *(p.text for p in IMPLICIT)]
    sentences += [w.text for w in (*UNKNOWN_WORDS, *DISGUISES)]
    return [*sentences, *OBJECTS, "a an and of on the no not without thing middle , . :"]
