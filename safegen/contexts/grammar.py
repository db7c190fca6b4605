"""Just enough English grammar to put a word in another's place: what a word is, and its forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safegen.text.phrases import plural
from safegen.text.words import word_set

KINDS = Path(__file__).with_name("kinds.json")

DETERMINERS = word_set(
    "a an the this that these those his her its their my your our some any no each every another "
    "two three four five six several many few both one"
)
PREPOSITIONS = word_set(
    "in on at by with from to into onto over under of for off out up down through against near "
    "behind before between among around along across beside towards toward without about after "
    "upon inside outside onto as like"
)
PRONOUNS = word_set(
    "him them me us it her himself herself themselves itself someone somebody "
    "everyone everybody anyone anybody nobody"
)
SUBJECTS = word_set("he she they i we you who")
BE = word_set("is are was were be been being am gets get got looks look seems feels")
OTHERS = word_set("and or but while when then so that which who not very too")
FUNCTION = DETERMINERS | PREPOSITIONS | PRONOUNS | SUBJECTS | BE | OTHERS

_IRREGULAR_VERBS = {
    past: base
    for base, pasts in {
        "shoot": "shot", "hang": "hung", "slay": "slew slain", "bleed": "bled", "fight": "fought",
        "steal": "stole stolen", "strike": "struck stricken", "beat": "beaten", "burn": "burnt",
        "take": "took taken", "break": "broke broken", "tear": "tore torn", "bite": "bit bitten",
        "bind": "bound", "drink": "drank drunk", "eat": "ate eaten", "fall": "fell fallen",
        "flee": "fled", "hide": "hid hidden", "hold": "held", "lie": "lay lain",
        "rise": "rose risen",
        "seek": "sought", "sell": "sold", "shake": "shook shaken", "sit": "sat", "stand": "stood",
        "swear": "swore sworn", "throw": "threw thrown", "weep": "wept", "feed": "fed",
        "draw": "drew drawn", "drive": "drove driven", "leave": "left", "lose": "lost",
        "buy": "bought", "meet": "met", "light": "lit", "rebuild": "rebuilt", "read": "read",
        "sing": "sang sung", "swim": "swam swum", "swing": "swung", "wear": "wore worn",
        "have": "had", "run": "ran", "give": "gave given", "slit": "slit", "cut": "cut",
        "hit": "hit", "hurt": "hurt", "put": "put", "creep": "crept", "stick": "stuck",
        "string": "strung", "smell": "smelt", "catch": "caught", "go": "went gone",
        "forsake": "forsook forsaken", "spin": "spun", "spit": "spat", "write": "wrote written",
    }.items()
    for past in pasts.split()
}  # fmt: skip
_PAST = {base: past for past, base in reversed(_IRREGULAR_VERBS.items())}
_PARTICIPLE = {
    base: past for past, base in _IRREGULAR_VERBS.items() if past.endswith(("n", "ung", "um"))
}
_IRREGULAR_PLURALS = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "foot": "feet",
    "passer-by": "passers-by", "sheep": "sheep", "deer": "deer", "mouse": "mice", "knife": "knives",
    "life": "lives", "wolf": "wolves", "thief": "thieves", "half": "halves", "leaf": "leaves",
    "body": "bodies", "scarf": "scarves",
}  # fmt: skip
_SINGULARS = {many: one for one, many in _IRREGULAR_PLURALS.items()}


@dataclass(frozen=True)
class Form:
    """One way to take a word.

    Args:
        part: ``n``, ``v``, ``a`` or ``r`` (noun, verb, adjective, adverb).
        lemma: The base form.
        form: ``sg`` or ``pl`` of a noun; ``base``, ``s``, ``ing`` or ``past`` of a verb; or empty.
        kind: Of a noun: A animal, B body, E event, G group, L place, O object, P person, S
            substance, Q anything else.
    """

    part: str
    lemma: str
    form: str = ""
    kind: str = ""


@lru_cache(maxsize=1)
def _kinds() -> dict[str, str]:
    table = json.loads(KINDS.read_text(encoding="utf-8"))["kinds"]
    return {word: letters for letters, words in table.items() for word in words.split()}


def kinds_of(word: str) -> str:
    """What a base form can be, the most frequent first: a noun's kind, ``v``, ``a``, ``r``."""
    return _kinds().get(word, "")


def _stems(word: str, ending: str) -> Iterator[str]:
    """What ``word`` may be a form of, without ``ending``."""
    if not word.endswith(ending) or len(word) < len(ending) + 2:
        return
    stem = word[: -len(ending)]
    if ending in ("ed", "ing") and len(stem) > 2 and stem[-1] == stem[-2]:
        yield stem[:-1]
    yield stem
    if ending in ("ed", "ing"):
        yield stem + "e"
    if ending == "ed" and stem.endswith("i"):
        yield stem[:-1] + "y"


def _singulars(word: str) -> Iterator[str]:
    if word in _SINGULARS:
        yield _SINGULARS[word]
    if word.endswith("ies") and len(word) > 4:
        yield word[:-3] + "y"
    if word.endswith("es") and len(word) > 3:
        yield word[:-2]
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        yield word[:-1]


@lru_cache(maxsize=1 << 14)
def forms(word: str) -> tuple[Form, ...]:
    """Every way to take ``word``, the likeliest first; none for one that is not known."""
    found: list[Form] = []

    def add(lemma: str, noun: str, verb: str, others: bool = False) -> None:
        for letter in kinds_of(lemma):
            if letter.isupper() and noun:
                found.append(Form("n", lemma, noun, letter))
            elif letter == "v" and verb:
                found.append(Form("v", lemma, verb))
            elif letter in "ar" and others:
                found.append(Form(letter, lemma))

    if word in _IRREGULAR_VERBS:
        add(_IRREGULAR_VERBS[word], "", "past")
    add(word, "sg", "base", True)
    for stem in _singulars(word):
        add(stem, "pl", "s")
    for ending, form in (("ing", "ing"), ("ed", "past")):
        for stem in _stems(word, ending):
            add(stem, "", form)
    if word.endswith("ly") and len(word) > 4:
        found.append(Form("r", word))
    return tuple(dict.fromkeys(found))


def can_be_noun(word: str) -> bool:
    """Whether ``word`` can be a noun, and is no function word."""
    return word not in FUNCTION and any(f.part == "n" for f in forms(word))


def follows_as_noun(word: str) -> bool:
    """Whether ``word``, right behind another noun or an adjective, is the noun they belong to, and
    not the verb of the sentence."""
    if not can_be_noun(word):
        return False
    verbs = [f.form for f in forms(word) if f.part == "v"]
    return not ({"s", "past", "ing"} & set(verbs))


def object_kind(rest: str) -> str:
    """The kind of what the clause goes on with, ``P`` for a person; empty if that is no noun."""
    words = re.findall(r"[\w-]+(?:['’]\w+)?", rest.lower())[:6]
    for index, word in enumerate(words):
        after = "".join(words[index + 1 : index + 2])
        if word in PRONOUNS:
            return "P"
        if word in DETERMINERS or word.endswith(("'s", "’s")):
            continue
        if word in FUNCTION:
            return ""
        noun = next((form for form in forms(word) if form.part == "n"), None)
        if noun is not None and not follows_as_noun(after):
            return noun.kind
        if noun is None and not any(form.part == "a" for form in forms(word)):
            return ""
    return ""


def inflected(verb: str, form: str, *, passive: bool = False) -> str:
    """``verb``, which may be a phrase, in a form; the first word changes."""
    head, _, rest = verb.partition(" ")
    if form == "s":
        head = {"have": "has", "be": "is", "do": "does", "go": "goes"}.get(head, plural(head))
    elif form == "ing":
        head = _with_ending(head, "ing")
    elif form == "past":
        irregular = _PARTICIPLE.get(head) if passive else None
        head = irregular or _PAST.get(head) or _with_ending(head, "ed")
    return f"{head} {rest}" if rest else head


def _with_ending(verb: str, ending: str) -> str:
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + ending
    if ending == "ed" and re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb):
        return verb + verb[-1] + ending
    return verb + ending


def pluralised(noun: str) -> str:
    """The plural of ``noun``, which may be a phrase: *groups of friends*, *sleeping people*."""
    head, of, rest = noun.partition(" of ")
    before, _, last = head.rpartition(" ")
    if last.endswith("s") and not last.endswith("ss"):
        many = last
    elif last.endswith("man") and last != "human":
        many = last[:-3] + "men"
    else:
        many = _IRREGULAR_PLURALS.get(last) or plural(last)
    return f"{before} {many}".strip() + of + rest


def taken(word: str, before: str, after: str) -> Form | None:
    """How ``word`` is meant between ``before`` and ``after``; ``None`` if it is not known.

    Args:
        word: In lower case.
        before: The word before it in its clause, in lower case; empty if there is none.
        after: The word after it.
    """
    every = forms(word)
    if not every:
        return None

    def first(part: str, *wanted: str) -> Form | None:
        fitting = (f for f in every if f.part == part and (not wanted or f.form in wanted))
        return next(fitting, None)

    noun, verb = first("n"), first("v")
    adjective = first("a")
    article = before in DETERMINERS or before in PREPOSITIONS
    follows = bool(after) and follows_as_noun(after)
    object_ = after in DETERMINERS or after in PRONOUNS
    adverb = first("r")
    if adverb is not None and word.endswith("ly") and not adjective:
        return adverb
    if verb is not None and verb.form == "past" and not before and not after:
        return adjective or Form("a", word)  # a tag: bruised
    if verb is not None and verb.form in ("ing", "past"):
        if before in BE or (before and not article and not follows):
            return verb if noun is None or not article else noun
        if object_ and verb.form == "ing":
            return verb
        if follows and (article or not before):
            if verb.form == "ing" and not before and adjective is None:
                return verb
            return adjective or Form("a", word)
        if article and not follows:
            return noun or (Form("n", word, "sg", "E") if verb.form == "ing" else verb)
        return verb
    acts = object_ or before in SUBJECTS or before == "to"
    if verb is not None and acts and (noun is None or not article or before == "to"):
        return verb
    if article or before in FUNCTION:
        if adjective is not None and (follows or noun is None):
            return adjective
        return noun or adjective or verb
    behind_noun = bool(before) and can_be_noun(before)
    ends = noun is None or after in FUNCTION or not after
    if verb is not None and verb.form == "s" and behind_noun and ends:
        return verb
    if adjective is not None and follows:
        return adjective
    if every[0].part == "v" and noun is not None and not before:
        return noun
    return every[0]
