"""The words that take the place of a risky stretch: of its part of speech, and of its kind.

A context's own table comes first, then the table that all share (`substitutes.json`), both looked
up by phrase and by base form; then any neutral word of the same kind. A verb keeps its form, a
noun its number, an adverb goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from zlib import crc32

from safegen.contexts import grammar
from safegen.contexts.context import SafetyContext
from safegen.contexts.grammar import Form
from safegen.contexts.library import presets
from safegen.contexts.substitutes import substitutes
from safegen.text.phrases import Hit, Phrases, Term, plural
from safegen.text.spelling import Spelling
from safegen.text.words import tokenize, word_set

_TRANSITIVE = word_set(
    "greet photograph welcome hug applaud high-five chase visit entertain portray encourage help "
    "buy accompany repair paint carry study decorate meet feed water trim seat join invite praise "
    "comfort support protect notice draw honour share gather explore cover light thank respect "
    "deliver count"
)
_TO_PEOPLE = word_set(
    "greet photograph welcome hug applaud high-five visit entertain help accompany invite praise "
    "comfort support protect notice join thank respect encourage meet feed seat honour portray "
    "amuse"
)
_TO_THINGS = word_set(
    "paint carry study decorate repair visit buy water trim gather explore cover light share "
    "deliver count photograph draw clean protect open"
)
TELLING = frozenset({
    "person", "sleeping person", "paintbrush", "camera", "walking stick", "book", "sweater", "coat",
    "sleeve", "belt", "rainbow flag",
})  # fmt: skip
"""What takes the place of a body or a part of it, a weapon, a toy or a sign: who lies there, is led
by whom or does what to it still tells of it."""
_COUNTED = {
    "water": "glass of water", "tea": "cup of tea", "soup": "bowl of soup", "calm": "quiet moment",
    "sleep": "nap", "friendship": "handshake", "joy": "happy moment", "clothing": "coat",
    "cloth": "piece of cloth", "order": "tidy row", "poetry": "poem", "juice": "glass of juice",
    "lemonade": "glass of lemonade", "kindness": "kind gesture", "patience": "quiet moment",
    "stones": "stone", "respect": "handshake", "dignity": "handshake", "honey": "jar of honey",
    "milk": "glass of milk", "fruit": "basket of fruit", "rest": "nap",
}  # fmt: skip
"""What *a* can stand before, for neutral words that it cannot."""


@lru_cache(maxsize=1)
def _shipped() -> frozenset[str]:
    """The names of the built-in contexts, which nobody else's can have."""
    return frozenset(presets())


def is_shipped(context: SafetyContext) -> bool:
    """Whether ``context`` is built in: its words are English."""
    return context.name in _shipped()


def hits(text: str, context: SafetyContext) -> list[Hit]:
    """The words of ``context.neutral`` in ``text``, from left to right; a hit's term is the key."""
    phrases, spelling = _phrases(tuple(context.neutral), context.category or "any")
    return list(phrases.find(spelling.read(tokenize(text))))


@lru_cache(maxsize=64)
def _phrases(keys: tuple[str, ...], category: str) -> tuple[Phrases, Spelling]:
    phrases = Phrases()
    written = [(key, tuple(token.word for token in tokenize(key))) for key in keys]
    # A key that is written out counts more than the plural of another.
    for key, words in written:
        if words:
            phrases.add((*words[:-1], plural(words[-1])), Term(key, category, 1.0))
    for key, words in written:
        if words:
            phrases.add(words, Term(key, category, 1.0))
    return phrases, Spelling(phrases.words())


@dataclass
class Replacer:
    """Finds neutral words for the risky stretches of one prompt, one after another.

    Args:
        context: Whose neutral words come first.
        used: Neutral words put in so far; others are preferred.
        guesses: How many stretches nobody is sure of: no table has a word for them, or the one
            that it has may not fit what stands around.
    """

    context: SafetyContext
    used: list[str] = field(default_factory=list)
    guesses: int = 0

    def __call__(
        self,
        found: str,
        before: str = "",
        after: str = "",
        reading: str = "",
        risky: bool = False,
        rest: str = "",
    ) -> str:
        """Neutral words for ``found``; ``""`` to drop it.

        Args:
            found: The stretch as it is written.
            before: The word before it in its clause, or empty.
            after: The word after it.
            reading: What the stretch stands for, if a detector says so.
            risky: Whether the word after it is replaced too.
            rest: The rest of its clause, to see whom or what a verb is done to.
        """
        for ending in ("'s", "’s"):
            if found.lower().endswith(ending) and len(found) > 3:
                owner = reading.removesuffix(ending) if reading else ""
                word = self(found[: -len(ending)], before, "", owner)
                return word + ending if word else ""
        literal = self._own(found)
        if literal is None and reading and reading != found:
            literal = self._own(reading)
        words = _words(reading or found)
        # What somebody wrote for a context of their own is exchanged, whatever it is a word for.
        ours = literal is None or is_shipped(self.context)
        self.guesses += ours and _is_told_of(words)
        if literal is not None:
            if literal and ours and _describes(words, after.lower()):
                literal = self._pick(None, "a", words[0])  # killer clown: friendly clown
            self.guesses += not _fits(words, literal, before.lower(), after.lower())
            return self._kept(found, literal, before, ours=ours)
        shared = substitutes().phrases.get(" ".join(words))
        if shared is not None:
            return self._kept(found, shared, before)
        if not words:
            return self.context.fallback
        if len(words) == 1:
            word = self._word(words[0], before.lower(), after.lower(), risky, rest)
        elif "-" in found and " " not in found:
            word = self._compound(words, before.lower(), after.lower(), risky)
        else:
            word = self._phrase(words, before.lower(), after.lower())
        return self._kept(found, word, before)

    def _own(self, found: str) -> str | None:
        """What the context itself says; ``None`` if it does not know every word of ``found``."""
        literal = self.context.neutral.get(" ".join(found.lower().split()))
        if literal is not None:
            return literal
        tokens = tokenize(found)
        known = hits(found, self.context)
        covered = [any(hit.start <= t.start < hit.end for hit in known) for t in tokens]
        if not known or not all(covered):
            return None
        words = []
        for hit in known:
            neutral = self.context.neutral[hit.term.name]
            if len(tokens) == 1:
                neutral = _in_form(neutral, found.lower().removeprefix(hit.term.name))
            many = hit.words != hit.term.name and hit.words == plural(hit.term.name)
            words.append(grammar.pluralised(neutral) if many and neutral else neutral)
        return " ".join(word for word in words if word)

    def _kept(self, found: str, word: str, before: str, *, ours: bool = True) -> str:
        """``word``, with a capital if it begins a sentence that began with one."""
        if word:
            self.used.append(word)
        self.guesses += ours and word in TELLING
        begins = not before and found[:1].isupper() and not found[:2].isupper()
        return word[:1].upper() + word[1:] if begins else word

    def _word(self, word: str, before: str, after: str, risky: bool, rest: str = "") -> str:
        form = self._known(word, before, after)
        if form is None:
            return self._unknown(word, before, after)
        if form.part == "r":
            return ""
        specific = substitutes().of(form.part).get(form.lemma)
        if form.part == "a":
            belongs = bool(after) and after not in grammar.FUNCTION
            if specific is None and belongs:
                return substitutes().adjectives.get(word, "")
            if specific is None:
                specific = self._participle(word)
            self.guesses += specific is None or not belongs
            return self._pick(specific, "a", word)
        if form.part == "v":
            return self._verb(form, specific, before, after, rest)
        # Only people, things and places are exchanged for what makes sense there.
        self.guesses += specific is None or form.kind not in "POLGB"
        if after and grammar.follows_as_noun(after) and form.form == "sg":
            return "" if risky else self._pick(None, "a", word)  # murder weapon: friendly weapon
        noun = self._pick(specific, form.kind, word)
        if form.form == "pl":
            return grammar.pluralised(noun)
        return _COUNTED.get(noun, noun) if before in ("a", "an", "another", "one") else noun

    def _unknown(self, word: str, before: str, after: str) -> str:
        """For a word that no dictionary has, by where it stands."""
        if not word.isascii():
            return ""  # a word of another language: an English one would not fit
        self.guesses += 1
        if after and grammar.follows_as_noun(after):
            fallback = self.context.fallback
            return "" if fallback in self.used else fallback
        if word.endswith("ing") and not after and grammar.can_be_noun(before):
            return "smiling"  # what somebody does
        if before in grammar.BE:
            return self._pick(self.context.fallback or None, "a", word)
        if before in grammar.FUNCTION or word.endswith(("er", "or", "ist")):
            noun = self._pick(None, "P", word)
            return grammar.pluralised(noun) if word.endswith("s") else noun
        return self.context.fallback

    def _known(self, word: str, before: str, after: str) -> Form | None:
        form = grammar.taken(word, before, after)
        if form is not None and form.lemma in substitutes().of(form.part):
            return form
        # As it is meant it has no substitute, but as something else it might.
        for other in grammar.forms(word):
            fits = form is None or (other.part == form.part and other.lemma != form.lemma)
            if fits and other.lemma in substitutes().of(other.part):
                return other
        if form is None:
            for part, table in (("a", substitutes().adjectives), ("n", substitutes().nouns)):
                lemma = word if word in table else word.removesuffix("s")
                if lemma in table:
                    return Form(part, lemma, *(("sg", "O") if part == "n" else ()))
        return form

    def _participle(self, word: str) -> str | None:
        """The substitute of an adjective that is a form of a verb: *beaten*, *bleeding*."""
        if word in substitutes().adjectives:
            return substitutes().adjectives[word]
        for form in grammar.forms(word):
            if form.part == "v" and form.lemma in substitutes().verbs:
                return "smiling" if form.form == "ing" else "rested"
        return None

    def _verb(self, form: Form, specific: str | None, before: str, after: str, rest: str) -> str:
        second = bool(before) and "".join(self.used[-1:]).split()[-1:] == [before]
        if second and form.form == "base" and grammar.can_be_noun(form.lemma):
            return ""  # the second of two nouns: slime mold
        self.guesses += not _done_by_someone(form, specific, before, rest)
        takes_object = (
            after in grammar.DETERMINERS
            or after in grammar.PRONOUNS
            or (bool(after) and after not in grammar.FUNCTION)
        )
        passive = form.form == "past" and before in grammar.BE
        if passive or takes_object:
            kind = "transitive"
        elif after in ("at", "to"):
            specific, kind = "wave", "intransitive"
        else:
            kind = "intransitive"
            if specific and specific.split()[0] in _TRANSITIVE:
                specific = None
        if kind == "transitive" and specific and specific.split()[0] not in _TRANSITIVE:
            specific = None
        verb = self._pick(specific, kind, form.lemma)
        return grammar.inflected(verb, form.form, passive=passive)

    def _phrase(self, words: Sequence[str], before: str, after: str) -> str:
        """Several words: each that has a substitute is exchanged, or else all of them are."""
        out: list[str] = []
        changed = False
        for index, word in enumerate(words):
            left = words[index - 1] if index else before
            right = words[index + 1] if index + 1 < len(words) else after
            form = self._known(word, left, right)
            if word in grammar.FUNCTION or form is None:
                out.append(word)
            elif form.lemma in substitutes().of(form.part):
                changed = True
                out.append(self._word(word, left, right, False))
            elif form.part != "r":
                out.append(word)
        if changed:
            return " ".join(word for word in out if word)
        form = self._known(words[0], before, words[1])
        if words[0] in grammar.PREPOSITIONS:
            return ""
        self.guesses += 1
        if form is not None and form.part == "v":
            return grammar.inflected(self._pick(None, "activity", words[0]), form.form)
        last = self._known(words[-1], words[-2], after)
        if before in grammar.DETERMINERS and (last is None or last.part != "n"):
            return self._pick(None, "O", words[-1])
        if last is not None and last.part == "n":
            noun = self._pick(None, last.kind, words[-1])
            return grammar.pluralised(noun) if last.form == "pl" else noun
        return self.context.fallback

    def _compound(self, words: Sequence[str], before: str, after: str, risky: bool) -> str:
        """For words joined by hyphens: the last says what it is, if it is somebody."""
        last = self._known(words[-1], words[-2], after)
        if last is not None and last.part == "n" and last.kind == "P":
            return self._word(words[-1], before, after, False)
        if risky or (after and grammar.follows_as_noun(after)):
            return ""  # a blood-soaked coat
        self.guesses += 1
        if before in grammar.DETERMINERS and (last is None or last.part in "nv"):
            return self._pick(None, "O", words[-1])
        return "" if self.context.fallback in self.used else self.context.fallback

    def _pick(self, specific: str | None, kind: str, word: str) -> str:
        """``specific``, or a neutral word of a kind that has not just been used."""
        options = list(substitutes().any(self.context, kind))
        if options:
            turn = crc32(word.encode()) % len(options)
            options = options[turn:] + options[:turn]
        recent = self.used[-2:]
        for option in ([specific] if specific is not None else []) + options:
            if not option or not any(option.split()[0] in used.split() for used in recent):
                return option
        return specific or (options[0] if options else self.context.fallback)


def _in_form(literal: str, ending: str) -> str:
    """``literal`` with the ending of a verb that it takes the place of."""
    form = {"ing": "ing", "ed": "past"}.get(ending)
    verb = form and literal and any(f.part == "v" for f in grammar.forms(literal.split()[0]))
    return grammar.inflected(literal, form) if form and verb else literal


def _done_by_someone(form: Form, specific: str | None, before: str, rest: str) -> bool:
    """Whether somebody does ``specific`` to somebody or something that it can be done to."""
    doer = before in grammar.SUBJECTS or before in ("is", "are", "to")
    doer = doer or any(one.kind == "P" for one in grammar.forms(before)) or before in _NAMELESS
    if specific is None or not doer or (form.form == "past" and before in grammar.BE):
        return False
    kind, verb = grammar.object_kind(rest), specific.split()[0]
    return (kind == "P" and verb in _TO_PEOPLE) or (kind in ("O", "L", "G") and verb in _TO_THINGS)


def _is_told_of(words: Sequence[str]) -> bool:
    """Whether ``words`` are one, and a part of the body or another thing that a sentence goes on
    about: nobody does to a sweater what is done to a breast."""
    found = grammar.forms(words[0]) if len(words) == 1 else ()
    form = next((one for one in found if one.part == "n"), None)
    if form is None:
        return False
    of_body = form.kind == "B" and form.lemma not in _FLUIDS
    return of_body or substitutes().nouns.get(form.lemma) in TELLING


_FLUIDS = word_set("blood sweat saliva perspiration")
_NAMELESS = word_set("people men women children")


def _describes(words: Sequence[str], after: str) -> bool:
    """Whether ``words`` are one, and somebody as whom the noun after it is described."""
    form = grammar.taken(words[0], "", after) if len(words) == 1 and after else None
    person = form is not None and form.kind == "P" and form.form == "sg"
    return person and grammar.follows_as_noun(after)


def _fits(words: Sequence[str], literal: str, before: str, after: str) -> bool:
    """Whether a context's own ``literal`` is of the part of speech of the one word it replaces."""
    if len(words) != 1 or not literal:
        return True
    form = grammar.taken(words[0], before, after)
    first, last = literal.split()[0], literal.split()[-1]
    if form is None or form.part != "n" or (after and grammar.follows_as_noun(after)):
        return not (bool(after) and first.endswith("ing") and " " in literal)
    return not first.endswith("ing") and (grammar.can_be_noun(last) or not grammar.forms(last))


def has_more(text: str) -> bool:
    """Whether there is a verb or an adjective in ``text`` that the shared table has another for."""
    shared = substitutes()
    return any(
        (form.part == "v" and form.lemma in shared.verbs)
        or (form.part == "a" and form.lemma in shared.adjectives)
        for word in re.findall(r"[a-z]+", text.lower())
        if word not in grammar.FUNCTION
        for number, form in enumerate(grammar.forms(word))
        if not number or (form.part == "v" and form.form != "base")
    )


def _words(text: str) -> list[str]:
    return [token.word for token in tokenize(text)]
