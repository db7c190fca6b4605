"""The words of a clause, with somebody's name as one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from safegen.conditioning.clauses import is_style
from safegen.contexts import grammar
from safegen.text.words import word_set

_WORD = re.compile(r"in\s+front\s+of(?=\s)|[^\W_]+(?:[-'’][^\W_]+)*|,", re.IGNORECASE)
_STYLED = re.compile(r"\b(?:in the style of|inspired by|based on)\b[^,]*", re.IGNORECASE)
"""What says after whom or what a picture is made."""
BREAK = ","
_AUTHORS = 3
"""Words of a name behind *by*: of whom a picture is by, not on it."""
PEOPLE = word_set(
    "man woman men women girl boy girls boys person people child children couple family group "
    "crowd lady guy teenager teen teens student students worker workers kid kids"
)
_FORENAMES = word_set(
    "aaron abraham adam adele adriana agnes aisha aishwarya akira alan albert alejandro alex "
    "alexander alexandra alexandria alfred ali alice alicia alison allison alyssa amanda amber "
    "amelia amy ana anastasia andre andrea andreas andrew andy angela angelina anita ann anna "
    "anne annette annie anthony antonio anya ariana arianna arnold arthur ashley audrey ava "
    "barack barbara beatrice ben benito benjamin bernard bernie bert betty beyonce bianca bill "
    "billie billy bob bobby boris brad bradley brandon brenda brett brian bridget brie brigitte "
    "britney brittany brooke bruce bruno bryan caitlin cameron camila camille carl carla carlos "
    "carmen carol carolina caroline carrie catherine cathy chad charles charlie charlize "
    "charlotte chelsea chloe chris christian christina christine christopher chuck cindy claire "
    "clara claudia clint courtney cristiano cristina cynthia daisy dakota dan daniel daniela "
    "danny daphne dave david dean debbie deborah deepika demi denise dennis denzel derek diana "
    "diane didier diego dolly dominic donald donna dorothy doug douglas drew dustin dwayne dylan "
    "ed eddie edgar edward eleanor elena eli elijah elisabeth eliza elizabeth ella elle ellen "
    "ellie elliot elon elsa elton elvis emilia emily emma emmanuel eric erica erik erika erling "
    "ernest ethan eugene eva evan eve evelyn felix fernando fidel fiona florence frances "
    "francesca francis francisco frank franklin fred freddie frederick freya gabriel gabriela gal "
    "gareth gary gemma george georgia gerald gerard gillian gina giovanni gloria gordon greg "
    "greta gwen gwyneth hailey hannah hans harold harrison harry harvey hayden heath heather "
    "heidi helen helena henry hideo hillary howard hugh hugo ian ida idris igor ines ingmar "
    "ingrid irene iris isabel isabella ivan ivanka jack jackie jackson jacob jake james jamie "
    "jane janet jared jason javier jay jean jeff jeffrey jenna jennifer jenny jeremy jerry jesse "
    "jessica jessie jill jim jimi jimmy joan joanna joanne joaquin joe joel johann johannes john "
    "johnny jon jonathan jorge jose josef joseph josh joshua joyce juan judith judy jules julia "
    "julian juliana julie juliet julius justin kaley kamala kanye kareena karen karl kate "
    "katherine kathleen kathryn kathy katie katy keanu keira keith kelly kelsey ken kendall "
    "kendra kenneth kevin khloe kim kimberly kirk klaus kobe kourtney kristen kristin kristina "
    "kurt kyle kylian kylie lana lara larry lars laura lauren laurence lebron lee lena leo leon "
    "leonard leonardo leslie lester lewis lily linda lindsay lindsey lionel lisa liv liz lola "
    "lorenzo lou louis louise luca lucas lucia lucy luis luka luke luna lydia lynn mackenzie "
    "madison madonna maggie magnus mahatma malcolm manuel marc marcel marco marcus margaret "
    "margot maria mariah marie marilyn mario marion marisa marjorie mark markus marlene marlon "
    "martha martin marvin mary maryl matt matteo matthew maureen maurice max megan meghan melania "
    "melanie melissa meryl mia michael micheal michelle mick mickey miguel mikael mike mila miley "
    "milla miranda mohamed mohammed molly monica morgan muhammad nadia nancy naomi narendra "
    "natalia natalie natasha nate nathalie nathan neil nelson neymar nicholas nick nicki nicolas "
    "nicole nigel nikki nina noah noel nora norma norman novak olaf oleg olga oliver olivia "
    "olivier oprah orlando oscar otto owen pablo pamela paris patricia patrick patti paul paula "
    "pedro peggy penelope pete peter pharrell phil philip phoebe pierre priyanka quentin quinn "
    "rachel rafael ralph ramon raul raymond rebecca recep reese reggie renee rhys ricardo richard "
    "rick ricky rihanna riley rishi rita rob robert roberto robin rod roger roman ron ronald "
    "ronda rory rosa rosario rosie ross roy ruby rupert russell ruth ryan sabrina sally salma sam "
    "samantha samuel sandra saoirse sara sarah sasha saul scarlett scott sean sebastian selena "
    "serena sergei sergio seth shakira shane shannon sharon shawn sheila shirley sienna sigourney "
    "silvia simon skye sofia sonia sophia sophie spencer stacy stanley stefan stella stephan "
    "stephanie stephen steve steven stuart sue susan suzanne sven sydney sylvester sylvia tamara "
    "tanya tara taylor ted terrence terry theresa thierry thomas tiffany tim timothy tina toby "
    "todd tom tommy tony tracy travis trevor tristan troy tyler tyra uma ursula valentina vanessa "
    "vera veronica victor victoria vin vince vincent viola virginia vivian vladimir volodymyr "
    "walter wanda warren wayne wendy wes whitney will willem william willie winnie winona winston "
    "xavier yasmin yoko yuri yvonne zac zach zendaya zinedine zoe zoey zooey"
)
_HONORIFICS = word_set(
    "king queen prince princess president emperor lord lady sir saint dr mr mrs ms miss captain "
    "professor pope"
)
_PARTICLES = word_set("van von de der den del della da di du la le al el bin ibn ten st")
_FOUND_IN = word_set("in on at from near")
"""Where something with a name of several words is no person."""
_ENDINGS = ("ing", "ed", "ly")
"""How a word ends that says what somebody does or how, rather than a name."""
_LONGEST = 4
"""Words of a name."""
_MOST = 0.7
"""Share of words with a capital in a clause in which a capital does not tell a name."""


@dataclass(frozen=True)
class Word:
    """A word of a clause, or a whole name.

    Args:
        text: As it is written.
        risky: Whether something in it is flagged.
        owner: Whether it ended in *'s*, which ``text`` is without.
        name: ``P`` for somebody's name, ``L`` for the name of something else.
    """

    text: str
    risky: bool
    owner: bool
    name: str = ""

    @cached_property
    def plain(self) -> str:
        return " ".join(self.text.lower().split())


def words_of(clause: str, risky: Sequence[tuple[int, int]]) -> list[Word]:
    """The words of ``clause``, of which the stretches ``risky`` are flagged; `BREAK` for a comma
    and for an author."""
    found = []
    clause = _STYLED.sub(lambda m: "," + " " * (len(m[0]) - 1), clause)
    for match in _WORD.finditer(clause):
        text = match.group()
        owner = text.lower().endswith(("'s", "’s"))
        touched = any(start < match.end() and match.start() < end for start, end in risky)
        found.append(Word(text[:-2] if owner else text, touched, owner))
    return _with_names(_without_authors(found))


def _without_authors(words: Sequence[Word]) -> list[Word]:
    """``words`` without the names behind *by*, and those behind these."""
    found: list[Word] = []
    left, named = 0, False
    for index, word in enumerate(words):
        before = words[index - 1].plain if index else ""
        if word.plain in grammar.FUNCTION or word.plain == BREAK or word.risky:
            left = 0
        elif before == "by":
            left = 0 if _many(word.plain) else _AUTHORS
        elif named and _may_be_name(word) and _goes_on(words, index):
            left = _AUTHORS
        named = named or left > 0
        found.append(Word(BREAK, False, False) if left else word)
        left = max(left - 1, 0)
    return found


def _may_be_name(word: Word) -> bool:
    return word.plain in _FORENAMES or not grammar.forms(word.plain)


def _goes_on(words: Sequence[Word], index: int) -> bool:
    """Whether a list of authors does, at ``index``: whoever does something is another's name."""
    if words[index - 1].plain not in (BREAK, "and"):
        return False
    behind = [word.plain for word in words[index : index + _AUTHORS + 1]]
    ends = len(behind) <= _AUTHORS or BREAK in behind or "and" in behind
    return words[index - 1].plain == "and" or ends


def _many(word: str) -> bool:
    return any(form.part == "n" and form.form == "pl" for form in grammar.forms(word))


def _with_names(words: Sequence[Word]) -> list[Word]:
    """``words`` with each name as one."""
    letters = [word.text for word in words if word.text[0].isalpha() and not _is_small(word)]
    capitals = sum(text[0].isupper() for text in letters)
    telling = capitals <= _MOST * len(letters)
    found: list[Word] = []
    index = 0
    while index < len(words):
        size = _name_at(words, index, telling)
        before = words[index - 1].plain if index else ""
        if size == 0:
            found.append(words[index])
        elif before in grammar.DETERMINERS or (size > 1 and before in _FOUND_IN):
            text = " ".join(word.text for word in words[index : index + size])
            found.append(Word(text, False, words[index + size - 1].owner, "L"))
        else:
            text = " ".join(word.text for word in words[index : index + size])
            found.append(Word(text, False, words[index + size - 1].owner, "P"))
        index += size or 1
    return found


def _is_small(word: Word) -> bool:
    return word.plain in grammar.FUNCTION


def _name_at(words: Sequence[Word], index: int, telling: bool) -> int:
    """How many words from ``index`` on are a name; 0 if none begins there."""
    start = index
    if words[index].plain in _HONORIFICS and not words[index].risky and index + 1 < len(words):
        index += 1
    first = words[index]
    alone = all(form.kind == "P" for form in grammar.forms(first.plain))
    known = first.plain in _FORENAMES and not first.risky
    sure = known and (alone or first.text.istitle())
    telling = telling or index > start
    if not known and not (telling and first.text[:1].isupper() and _is_new(first)):
        return 0
    if not known and grammar.forms(first.plain):
        return 0
    end = index + 1
    while end < len(words) and end - index < _LONGEST and not words[end - 1].owner:
        word, ahead = words[end], words[end + 1 : end + 2]
        initial = len(word.text) == 1 and word.text.isupper()
        if (initial or word.plain in _PARTICLES) and ahead and _is_new(ahead[0]):
            end += 2
        elif _is_surname(word) if sure and end == index + 1 else _is_new(word):
            if not known and not word.text[:1].isupper():
                break
            end += 1
        else:
            break
    return end - start if end - start > 1 or (known and alone) else 0


def _is_new(word: Word) -> bool:
    """Whether no dictionary has ``word``, or has it for one who is called so."""
    if word.risky or _is_small(word) or not _is_plain(word) or len(word.text) < 2:
        return False
    if is_style(word.plain) or (word.text.islower() and word.plain.endswith(_ENDINGS)):
        return False
    return all(form.kind == "P" for form in grammar.forms(word.plain)) and word.plain not in PEOPLE


def _is_plain(word: Word) -> bool:
    """Whether there are letters alone in it, and hyphens where it has a capital."""
    letters = word.text.replace("-", "") if word.text[:1].isupper() else word.text
    return letters.isalpha()


def _is_surname(word: Word) -> bool:
    """Whether ``word`` may be a surname, behind a forename."""
    if _is_new(word):
        return True
    if word.risky or _is_small(word) or not _is_plain(word) or word.plain in PEOPLE:
        return False
    if len(word.text) < 2 or is_style(word.plain):
        return False
    first = next(iter(grammar.forms(word.plain)), None)
    thing = first is not None and first.part == "n" and first.kind not in "BE"
    return word.text.istitle() or thing
