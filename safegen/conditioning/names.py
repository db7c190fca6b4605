"""The words of a clause, with somebody's name as one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from safegen.conditioning.clauses import is_style
from safegen.contexts import grammar
from safegen.contexts.substitutes import substitutes
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
    "aaron abraham adam adele adriana agnes aiden aisha aishwarya akira alan albert alec "
    "alejandro alex alexa alexander alexandra alexandria alexis alfred ali alice alicia alison "
    "allison alvin alyssa amanda amber amelia amir amy ana anastasia anders andre andrea andreas "
    "andrew andy angela angelina angus anita ann anna anne annette annie anthony antoni antonio "
    "anya archie ariana arianna arjun arlo arnold arthur asher ashley astrid aubrey audrey ava "
    "axel barack barbara beatrice becky ben benito benjamin benny bernadette bernard bernardo "
    "bernie bert betty beyonce bianca bill billie billy bob bobbie bobby boris brad bradley "
    "brandon brenda brendan brett brian brianna bridget bridgette brie brigitte britney brittany "
    "brooke bruce bruno bryan bryce byron caitlin caleb calvin cameron camila camille camilo "
    "carl carla carlos carmen carol carolina caroline carrie cary cassandra catherine cathy "
    "cecilia cedric cesar chad charles charlie charlize charlotte chelsea chloe chris christian "
    "christina christine christopher chuck cindy claire clara clarence clarissa clark claude "
    "claudia claudio clayton clifford clint clyde colby colin conan connor conor corey cory "
    "courtney craig cristiano cristina curtis cynthia cyrus daisy dakota damian damon dan daniel "
    "daniela danielle danny dante daphne darren darryl daryl dave david dean debbie deborah "
    "deepak deepika delilah demi denise dennis denzel derek derrick desmond diana diane didier "
    "diego dmitri dolly domenico dominic donald donna donovan doris dorothy doug douglas drew "
    "duncan dustin dwayne dwight dylan ed eddie edgar edith edmund eduardo edward edwin eileen "
    "elaine eleanor elena eli elijah elisabeth eliza elizabeth ella elle ellen ellie elliot "
    "eloise elon elsa elsie elton elvis emilia emilio emily emma emmanuel emmett enrique eric "
    "erica erik erika erin erling ernest ernie esme esteban esther ethan ethel eugene eva evan "
    "evangeline eve evelyn ezra fabio farrah felicia felicity felix fernando fidel filip fiona "
    "florence frances francesca francis francisco francois frank franklin franz fred freddie "
    "frederick freya frida fritz gabriel gabriela gal gareth gary gavin gemma geoffrey george "
    "georgia gerald geraldine gerard gilbert gillian gina giorgio giovanni giselle glen glenn "
    "gloria gordon gracie graham greg greta gunther gustav gwen gwendolyn gwyneth hailey hannah "
    "hannibal hans harold harriet harrison harry harvey hassan hayden heath heather hector heidi "
    "helen helena henry herbert herman hideo hilda hillary horace howard hugh hugo humphrey ian "
    "ibrahim ida idris igor imogen ines ingmar ingrid irene irina iris isaac isabel isabella "
    "isabelle ivan ivanka jack jackie jackson jacob jacqueline jacques jaime jake jamal james "
    "jamie jane janet janice jared jason javier jay jayden jean jeanne jeff jeffrey jenna "
    "jennifer jenny jeremy jermaine jerome jerry jesse jessica jessie jill jim jimi jimmy joan "
    "joanna joanne joaquin jodie joe joel joey johann johannes john johnny jon jonah jonathan "
    "jordi jorge jose josef josefina joseph josephine josh joshua josie joyce juan jude judith "
    "judy jules julia julian juliana julie juliet julio julius justin kaitlyn kaley kamala kanye "
    "kara kareena karen karim karin karl kate katherine kathleen kathryn kathy katie katrina "
    "katy kayla keanu keegan keira keith kelly kelsey ken kendall kendra kenneth kenny kevin "
    "khalid khloe kiera kieran kim kimberly kirk kirsten klaus kobe kourtney kristen kristin "
    "kristina kristy krysten kurt kyle kylian kylie kyra lamar lana lara larry lars laura lauren "
    "laurence leah lebron lee leila lena leo leon leonard leonardo leroy leslie lester levi "
    "lewis liam lillian lily linda lindsay lindsey linus lionel lisa liv liz lola lorenzo "
    "lorraine lottie lou louis louise luca lucas lucia lucien lucille lucius lucy luis luka luke "
    "luna luther lydia lynn mabel mackenzie maddie madison madonna magdalena maggie magnus "
    "mahatma maisie malcolm mandy manuel marc marcel marcelo marco marcus margaret margarita "
    "margo margot maria mariah marian marianne marie marilyn mario marion marisa marjorie mark "
    "markus marlene marlon marta martha martin marvin mary maryl mathew matilda matt matteo "
    "matthew maud maureen maurice mauricio mavis max maximilian megan meghan melania melanie "
    "melinda melissa meredith meryl mia michael micheal michel michelle mick mickey miguel "
    "mikael mike mikhail mila miley milla millie mindy miranda miriam mitchell mohamed mohammed "
    "moira molly mona monica morgan morris muhammad murray myra nadia nadine nancy naomi "
    "narendra natalia natalie natalya natasha nate nathalie nathan neil nelson neville neymar "
    "nicholas nick nicki nicolas nicole nigel nikita nikki nikolai nina noah noel noelle nolan "
    "nora norma norman novak odette olaf oleg olga oliver olivia olivier omar ophelia oprah "
    "orlando oscar otis otto owen pablo pamela paris pascal patricia patrick patsy patti paul "
    "paula pauline pedro peggy penelope percy pete peter petra pharrell phil philip philippa "
    "phoebe phyllis pierre preston priscilla priyanka quentin quinn rachel rafael ralph ramon "
    "ramona randall raquel raul raymond rebecca recep reese reggie renee reuben rhea rhett "
    "rhonda rhys ricardo riccardo richard rick ricky ridley rihanna riley rishi rita rob robert "
    "roberto robin rocco rod rodney rodrigo roger roland rolf roman ron ronald ronan ronda rory "
    "rosa rosalind rosario roscoe rosie ross rowan roxanne roy ruby rudolf rudy rufus rupert "
    "russell ruth ryan sabine sabrina sadie sally salma salvador sam samantha samuel sandra "
    "sanjay santiago saoirse sara sarah sasha satoshi saul scarlett scott sean sebastian selena "
    "selma serena sergei sergey sergio seth seymour shakira shane shannon sharon shaun shawn "
    "sheila shelley sherry shirley sidney sienna sigmund sigourney silas silvia silvio simon "
    "simone skye sofia sofie sonia sonya sophia sophie spencer stacey stacy stan stanley stefan "
    "stella stephan stephanie stephen steve steven stevie stewart stuart sue susan suzanne sven "
    "svetlana sybil sydney sylvester sylvia tabitha tamara tanya tara tasha tatiana taylor ted "
    "terence teresa terrence terry tess thelma theo theodora theodore theresa thierry thomas "
    "tiffany tilda tim timmy timothy tina tobias toby todd tom tommy toni tony tracy travis "
    "trent trevor tricia tristan troy tyler tyra ulrich uma umberto ursula valentina valerie "
    "vanessa vera vernon veronica vicky victor victoria viktor vin vince vincent viola virgil "
    "virginia vivian vladimir volodymyr wallace walt walter wanda warren wayne wendy wes wesley "
    "whitney wilbur wilhelm will willem william willie wilma winnie winona winston xavier yasmin "
    "yoko yolanda yuri yusuf yvette yvonne zac zach zara zendaya zinedine zoe zoey zooey"
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
        behind = words[index + size] if index + size < len(words) else None
        if size == 1 and behind is not None and _is_flagged_surname(behind):
            pass  # who they are is flagged: somebody else's surname stands there
        elif size == 0:
            found.append(words[index])
            if words[index].risky and words[index].plain in _FORENAMES:
                index += _surnames_at(words, index + 1)
        else:
            text = " ".join(word.text for word in words[index : index + size])
            thing = before in grammar.DETERMINERS or (size > 1 and before in _FOUND_IN)
            found.append(Word(text, False, words[index + size - 1].owner, "L" if thing else "P"))
        index += size or 1
    return found


def _is_flagged_surname(word: Word) -> bool:
    """Whether ``word`` is flagged, and somebody's name in a dictionary or in none."""
    found = [form for form in grammar.forms(word.plain) if form.part != "r"]  # Connelly
    named = word.risky and word.plain not in PEOPLE and word.plain not in substitutes().nouns
    return named and (bool(found) or word.text.istitle()) and all(f.kind == "P" for f in found)


def _surnames_at(words: Sequence[Word], index: int) -> int:
    """How many words from ``index`` on are surnames of a flagged forename."""
    end = index
    while (
        end < len(words)
        and _is_new(words[end])
        and (words[end].text.istitle() or grammar.forms(words[end].plain))
    ):
        end += 1
    return end - index


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
    new = telling and first.text[:1].isupper() and _is_new(first)
    if not known and (not new or grammar.forms(first.plain)):
        return 2 if telling and _are_both(words[index : index + 2]) else 0
    end = index + 1
    while end < len(words) and end - index < _LONGEST and not words[end - 1].owner:
        word, ahead = words[end], words[end + 1 : end + 2]
        initial = len(word.text) == 1 and word.text.isupper()
        if (initial or word.plain in _PARTICLES) and ahead and _is_new(ahead[0]):
            end += 2
        elif (
            _is_surname(word) or _is_epithet(word, ahead)
            if sure and end == index + 1
            else _is_new(word)
        ):
            if not known and not word.text[:1].isupper():
                break
            end += 1
        else:
            break
    return end - start if end - start > 1 or (known and alone) else 0


def _are_both(words: Sequence[Word]) -> bool:
    """Whether ``words`` are two with a capital: one that is somebody, too, and one that no
    dictionary has."""
    if len(words) < 2 or not all(word.text.istitle() and not word.risky for word in words):
        return False
    found = [grammar.forms(word.plain) for word in words]
    person = any(form.kind == "P" for form in found[0]) and found[0][0].part != "a"
    known = words[0].plain in PEOPLE or words[0].plain in _HONORIFICS
    return person and not known and not found[1] and _is_new(words[1])


def _is_new(word: Word) -> bool:
    """Whether no dictionary has ``word``, or has it for one who is called so."""
    if word.risky or _is_small(word) or not _is_plain(word) or len(word.text) < 2:
        return False
    if is_style(word.plain) or (word.text.islower() and word.plain.endswith(_ENDINGS)):
        return False
    return all(form.kind == "P" for form in grammar.forms(word.plain)) and word.plain not in PEOPLE


def _is_epithet(word: Word, ahead: Sequence[Word]) -> bool:
    """Whether ``word``, behind a forename, is an adjective that is a surname, too: *swift*, unless
    it is one of the noun ``ahead``."""
    harmful = word.plain in substitutes().adjectives or word.plain in substitutes().nouns
    if word.risky or word.plain in PEOPLE or harmful:
        return False
    found = grammar.forms(word.plain)
    named = bool(found) and found[0].part == "a" and any(form.kind == "P" for form in found)
    return named and not (ahead and grammar.can_be_noun(ahead[0].plain.removesuffix("ing")))


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
