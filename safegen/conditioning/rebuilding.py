"""A clause made anew from what is harmless in it: who, with whom, where.

Where too much of a clause is risky, or nobody knows what its words are, exchanging words one by
one gives nonsense. What a person would write instead keeps who is seen and where, and lets them
do something harmless.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from safegen.conditioning.clauses import of_another_language
from safegen.conditioning.names import BREAK, PEOPLE, Word, words_of
from safegen.conditioning.nouns import (
    COUNTRIES,
    INSIDES,
    NAMES,
    NO_PEOPLE,
    NO_PLACES,
    PICTURES,
    PLACE_THINGS,
    QUALITIES,
    SEATS,
    SIDES,
    TABLES,
)
from safegen.conditioning.remains import is_known
from safegen.contexts import grammar
from safegen.contexts.context import SafetyContext
from safegen.contexts.replacements import TELLING
from safegen.contexts.substitutes import substitutes
from safegen.text.words import word_set

_PLACED = word_set("in on at by near under beside behind inside outside along across") | {
    "in front of"
}
_THINGS = "OL"
_LIVING = "PA"
_AS = word_set("as like")
"""What is behind these is played: nobody else is there."""
_SHOWN_AS = word_set("dressed portrayed depicted shown posing cosplaying cosplay drawn painted")
_NO_ROLE = grammar.SUBJECTS | word_set("and with")
_POSSESSIVES = word_set("his her its their my your our")
_ANYWHERE = ("smile", "stand", "wait")
_DEPICTED = re.compile(
    r"\s*(?:(?:an?|the)\s+)?(?:[^\W_]+\s+){0,2}(?:photo|photograph|picture|image|painting|portrait|"
    r"drawing|illustration|sketch|render|rendering|shot|close-?up|watercolou?r|sculpture|statue)"
    r"\s+of\s+",
    re.IGNORECASE,
)
"""How a clause begins that says of what the picture is."""
_GROUPS = word_set("group crowd bunch pair team couple line number row gang circle")
_NUMBERS = word_set("two three four five six several many few these those")
_ONE = word_set("a an the this that another")
_EACH_OTHER = {("each", "other"), ("one", "another")}
_MANY = word_set("people men police cattle teeth")
"""Plurals that a dictionary has in the singular, too."""
_LONGEST = 4
"""Words of a noun phrase beside its article."""


@dataclass(frozen=True)
class _Phrase:
    """A noun phrase.

    Args:
        text: As it is written anew.
        kind: Its head's.
        placed: The preposition before it, of those that say where.
        role: Whether it says as whom or what somebody is shown: *as a pirate*.
        exchanged: Whether its head takes the place of what was risky.
        clear: Whether no verb and nothing risky stands before it but an adjective.
    """

    text: str
    kind: str
    placed: str = ""
    role: bool = False
    exchanged: bool = False
    clear: bool = True


def _head(word: Word, before: str, after: str) -> tuple[str, str] | None:
    """The noun that ``word`` is, or is exchanged for, and its kind; ``None`` if it is none."""
    if word.plain in grammar.FUNCTION:
        return None
    if word.name:
        return word.text, word.name
    form = grammar.taken(word.plain, before, "" if word.owner else after)
    if word.risky:
        nouns = [f for f in grammar.forms(word.plain) if f.part == "n"]
        known = next((f for f in nouns if f.lemma in substitutes().nouns), None)
        lemma = known.lemma if known else word.plain
        if form is not None and form.part == "v":
            return None
        new = word.text.isalpha() and not grammar.forms(word.plain)
        if new and (before in _ONE or word.plain.endswith("ist")):
            return _somebody(word.plain), "P"  # an insult that no dictionary has
        if lemma not in substitutes().nouns:
            person = next((f for f in nouns if f.kind == "P"), None)
            if person is None or word.plain in PEOPLE:
                return None
            noun = _somebody(lemma)
            return (grammar.pluralised(noun) if person.form == "pl" else noun), "P"
        noun = substitutes().nouns[lemma]
        if known is not None and known.form == "pl":
            noun = grammar.pluralised(noun)
        kind = known.kind if known else _kind(noun)
        thing = not TELLING.isdisjoint({noun, substitutes().nouns[lemma].split()[-1]} - {"person"})
        return noun, "P" if kind in "PG" and not thing else "Q"
    if form is None:
        return _nameless(word, before, after)
    if form.part == "n":
        kind = "P" if word.plain in PEOPLE or word.plain in NAMES else form.kind
        other = None if _can_be_place(word.plain, kind) else substitutes().nouns.get(form.lemma)
        if other and word.plain not in PEOPLE:
            return (grammar.pluralised(other) if form.form == "pl" else other), kind
        if kind == "P" and word.plain in QUALITIES:
            return None
        if word.text.isupper() and kind == "P" and before not in grammar.DETERMINERS:
            return (word.text, kind) if word.plain in PEOPLE else None  # shouted
        return word.text, "O" if kind == "P" and word.plain in NO_PEOPLE else kind
    return None


def _nameless(word: Word, before: str, after: str) -> tuple[str, str] | None:
    """Whom a word names that no dictionary has: somebody by a name, or, as it may be an insult or a
    slip, anybody."""
    name = word.text.istitle() and word.text.isalpha() and len(word.text) > 1
    if name and (before not in grammar.DETERMINERS or word.plain.endswith(("ese", "ian"))):
        named = before not in ("", BREAK) and not (after and grammar.follows_as_noun(after))
        return (word.text, "P") if named or word.owner else None
    if not word.owner or not word.text.isalpha() or before not in grammar.DETERMINERS:
        return None
    return _somebody(word.plain), "P"


def _is_brand(word: Word, head: tuple[str, str]) -> bool:
    """Whether ``word`` is none of a dictionary, and taken for somebody for its capital alone."""
    kept = not word.name and not word.risky and not word.owner and head == (word.text, "P")
    return kept and not grammar.forms(word.plain) and not word.plain.endswith(("ese", "ian"))


def _kind(noun: str) -> str:
    return next((form.kind for form in grammar.forms(noun) if form.part == "n"), "P")


def _somebody(word: str) -> str:
    options = substitutes().kinds["any"]["P"]
    return options[crc32(word.encode()) % len(options)]


def _phrases(words: Sequence[Word]) -> list[_Phrase]:
    """The noun phrases of a clause that are harmless, or can be made so."""
    found: list[_Phrase] = []
    parts: list[str] = []
    placed = ""
    role = same = source = False
    clear = True
    for index, word in enumerate(words):
        before = words[index - 1].plain if index else ""
        after = words[index + 1].plain if index + 1 < len(words) else ""
        same = same and word.plain not in grammar.FUNCTION and word.plain != BREAK
        source = word.text[:1].isupper() and (source or before == "from")  # Sean from Blade Runner
        if word.plain in _AS:
            role = before in _SHOWN_AS or not _acts(before)
        elif word.plain in _PLACED or word.plain == BREAK or word.plain in _NO_ROLE:
            role = False
        if word.plain == BREAK or (before, word.plain) in _EACH_OTHER:
            parts, placed = [], ""
            continue
        if word.plain in grammar.DETERMINERS and not word.risky:
            parts = [word.text]
            placed = before if before in _PLACED else ""
            continue
        if word.plain == "of" and parts and parts[-1] == "of":
            continue
        article = index > 0 and words[index - 1].risky and before in _ONE  # of a flagged phrase
        behind = "" if article else before
        if parts and not word.risky and grammar.can_be_noun(word.plain):
            form = grammar.taken(word.plain, before, after)
            if form is not None and form.form == "base":
                behind = parts[0].lower()  # the Egyptian desert
        head = _head(word, behind, after)
        if head is not None and after == "of" and head[0] in _GROUPS:
            parts += [head[0], "of"]
            continue
        if head is None:
            form = grammar.taken(word.plain, before, after)
            part = form.part if form is not None else ""
            ends = part == "v" or (word.risky and part != "a")
            clear = clear and not (ends and (not parts or (word.risky and part == "n")))
            # A participle or a word that no dictionary has, between an article and a noun.
            loose = word.text.isalpha() and _may_stay(word.plain, form)
            adjective = bool(parts) and (loose or (form is not None and form.part == "a"))
            adjective = adjective and word.plain not in grammar.FUNCTION
            harmless = not word.risky and word.plain not in substitutes().adjectives
            if adjective and harmless and len(parts) <= _LONGEST:
                parts.append(word.text)
            elif not adjective:
                parts, placed = [], ""
            continue
        follows = (
            not word.owner
            and index + 1 < len(words)
            and _head(
                words[index + 1],
                word.plain,
                words[index + 2].plain if index + 2 < len(words) else "",
            )
        )
        if parts[:1] and parts[0].lower() in ("a", "an") and _is_brand(word, head):
            parts, placed = [], ""
            continue
        own = word.plain in PEOPLE and follows and (follows[1] == "B" or words[index + 1].risky)
        same = same or bool(own)  # guy muscle
        joined = follows and not own and after not in grammar.FUNCTION
        if joined and grammar.follows_as_noun(after):
            if not word.risky and head[1] != "B":
                parts.append(word.text)  # the first of two nouns: police car
            continue
        called = index + 1 < len(words) and words[index + 1].name == "P"  # zombie Angela
        if source or (word.risky and called) or (same and word.risky and head[1] == "P"):
            parts, placed = [], ""
            continue
        if not parts and before in _PLACED:
            placed = before
        if word.risky:
            parts = parts[: parts.index("of") + 1] if "of" in parts else parts[:1]
        if word.risky or head[0].lower() != word.plain:  # nobody is a *war neighbour*
            parts = [part for part in parts if not _is_noun(part)]
        if len(parts) <= _LONGEST + 1:
            next_ones = words[index + 1 : index + 3]
            noun = grammar.pluralised(head[0]) if _are_many(parts, head[0]) else head[0]
            if word.name:
                text = " ".join([*parts[:1], noun] if word.name == "L" else [noun])
            else:
                text = _with_article(" ".join([*parts, noun]), noun)
            found.append(
                _Phrase(
                    text,
                    head[1],
                    placed,
                    role and not any(_acts(one.plain) for one in next_ones),
                    word.risky,
                    clear,
                )
            )
            clear = clear and not word.risky
        parts, placed = [], ""
    return found


def _are_many(parts: Sequence[str], head: str) -> bool:
    """Whether a phrase begins with how many there are, and its noun is one of them: *two sniper*,
    as of rifles."""
    last = head.split()[-1].lower()
    single = last not in _MANY and any(form.form == "sg" for form in grammar.forms(last))
    return single and bool(parts) and parts[0].lower() in _NUMBERS


def _is_noun(word: str) -> bool:
    """Whether ``word`` is first of all a noun, and of no material."""
    form = next(iter(grammar.forms(word.lower())), None)
    small = word.lower() in grammar.FUNCTION or word in _GROUPS
    return form is not None and form.part == "n" and form.kind != "S" and not small


def _acts(word: str) -> bool:
    """Whether ``word`` is what somebody does or did."""
    return any(one.part == "v" and one.form in ("s", "past") for one in grammar.forms(word))


def _may_stay(word: str, form: grammar.Form | None) -> bool:
    """Whether a word before a noun that is no adjective says how somebody is: *a parked car*, *a
    Muslim girl*; not *a burning car*, nor what may be a slip or a piece of another word."""
    if form is None:
        return is_known(word)
    verbs = substitutes().verbs
    harmful = any(one.part == "v" and one.lemma in verbs for one in grammar.forms(word))
    return word.endswith(("ing", "ed")) and not harmful


def _is_place(phrase: _Phrase) -> bool:
    head = _last(phrase)
    if head in SEATS or head in TABLES:
        return phrase.placed in ("on", "at")
    if phrase.kind == "E" and phrase.placed == "at":
        return True  # at a wedding
    if phrase.kind in _THINGS and phrase.placed == "in front of":
        return True
    return _can_be_place(head, phrase.kind)


def _can_be_place(head: str, kind: str) -> bool:
    return head in PLACE_THINGS or (kind == "L" and head not in NO_PLACES)


def _last(phrase: _Phrase) -> str:
    return phrase.text.split()[-1].lower()


def _with_article(text: str, head: str) -> str:
    """``text`` with an article, where it is one thing and has none."""
    first = text.split()[0].lower()
    if first in grammar.DETERMINERS or first in NAMES | COUNTRIES:
        return text
    if not head.islower() and head.lower() not in PLACE_THINGS:
        return text
    if head.split()[-1] in _MANY:
        return text
    kinds = {f.form for f in grammar.forms(head.split()[-1].lower()) if f.part == "n"}
    single = "sg" in kinds and not (head.endswith("s") and "pl" in kinds)
    return f"a {text}" if single or "-" in head else text


def rebuilt(
    clause: str, risky: Sequence[tuple[int, int]], context: SafetyContext, left: str = ""
) -> str | None:
    """``clause`` anew, or ``None`` if nothing in it can be kept.

    Args:
        clause: Plain text without syntax.
        risky: The risky stretches of it.
        context: Whose neutral activities and moods are taken.
        left: What stands before the clause, to see whether it begins the prompt.
    """
    text = _anew(clause, risky, context)
    if text is None:
        return None
    if clause.lstrip()[:1].isupper():
        return text[:1].upper() + text[1:]
    return text if left.strip() else _lowered(text)


def _anew(clause: str, risky: Sequence[tuple[int, int]], context: SafetyContext) -> str | None:
    """What `rebuilt` gives, but for the capital that it begins with."""
    depicted = _DEPICTED.match(clause)
    if of_another_language(clause):
        return None
    if depicted and not any(start < depicted.end() for start, _ in risky):
        begun = depicted.end()
        inside = [(start - begun, end - begun) for start, end in risky]
        shown = _anew(clause[begun:], inside, context)
        return None if shown is None else clause[:begun].lstrip() + _lowered(shown)
    phrases = _phrases(words_of(clause, risky))
    living = [p for p in phrases if p.kind in _LIVING and not p.placed]
    living += [p for p in phrases if p.kind == "P" and p.placed]
    living = [p for p in living if p.text.split()[0].lower() not in _POSSESSIVES]
    played = [p for p in living if p.role]
    living = [p for p in living if not p.role] or played[:1]
    places = [p for p in phrases if p.placed and _is_place(p)]
    place = next((p for p in places if not living or _last(p) not in SIDES), None)
    turn = crc32(clause.encode())
    if living:
        who = living[0].text
        others = [p for p in living[1:] if p.kind == "P" and _last(p) != _last(living[0])]
        roles = [p for p in played if not p.exchanged and p not in living]
        if roles:
            who += f" as {_lowered(roles[0].text)}"
        elif others and not place:
            who += f" and {_lowered(others[0].text)}"
        activities = substitutes().any(context, "activity")
        doing = activities[turn % len(activities)] if living[0].kind == "P" else "rest"
        at = ""
        if place:
            doing = _ANYWHERE[turn % len(_ANYWHERE)]
            placed = place.placed
            if _last(place) in SEATS or _last(place) in TABLES:
                doing, placed = "sit", "at" if _last(place) in TABLES else "on"
            at = f" {_fitting(placed, place)} {_lowered(place.text)}"
        text = f"{who} {grammar.inflected(doing, 'ing')}{at}"
    else:
        things = (p for p in phrases if not p.placed and _last(p) not in PICTURES)
        things = (p for p in things if p.clear or p.kind == "L")
        thing = next((p for p in things if p.kind in _THINGS or _last(p) == "heart"), None)
        if thing is None and place and _can_be_place(_last(place), place.kind):
            thing, place = place, None
        if thing is None or _last(thing) in SIDES:
            return None
        text = thing.text
        if place:
            text += f" {_fitting(place.placed, place)} {_lowered(place.text)}"
        text += " in soft daylight"
    return text


def _fitting(preposition: str, place: _Phrase) -> str:
    """``preposition``, or *in*, where nobody is *at* or *on* such a place."""
    return "in" if preposition in ("at", "on") and _last(place) in INSIDES else preposition


def _lowered(text: str) -> str:
    """``text`` without the capital that a sentence begins with."""
    determined = text.split()[0].lower() in grammar.DETERMINERS
    return text[:1].lower() + text[1:] if determined else text
