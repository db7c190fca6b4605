"""Rewrites of prompts as people write them: names stay whole, and nonsense gives way."""

from dataclasses import replace

import pytest

from safegen.conditioning.names import words_of
from safegen.conditioning.remains import tells
from safegen.conditioning.rewriting import rewrite
from safegen.contexts.library import presets
from safegen.contexts.substitutes import substitutes
from safegen.detectors.protocol import Span

CONTEXT = presets()["sexual"]
ACTIVITIES = ("sitting in the sun", "taking a walk", "having a picnic", "drinking tea")
ACTIVITIES += ("looking at the view",)


def rewritten(prompt: str, *words: str) -> str:
    """``prompt`` with the first of each of ``words`` taken for risky."""
    places = [(prompt.index(word), len(word)) for word in words]
    spans = [Span(start, start + size, "sexual", "x") for start, size in places]
    return rewrite(prompt, spans, CONTEXT)


def named(clause: str, *risky: str) -> list[str]:
    """Whom a clause names."""
    places = [(clause.index(word), clause.index(word) + len(word)) for word in risky]
    return [word.text for word in words_of(clause, places) if word.name == "P"]


@pytest.mark.parametrize(
    ("clause", "names"),
    [
        ("a picture of Suki Waterhouse in a park", ["Suki Waterhouse"]),
        ("carrie fisher and cristiano ronaldo eating", ["carrie fisher", "cristiano ronaldo"]),
        ("a girl with Ludwig van Zandt", ["Ludwig van Zandt"]),
        ("kevin wearing a hat", ["kevin"]),
        ("as Princess Leia Organa on a ship", ["Princess Leia Organa"]),
        ("standing in front of the Taj Mahal", []),
        ("somebody in Tatooine Zandt", []),
        ("a jean on a rose by will", []),
        ("Zandig Wimmel Girl Dancing Nakkid Frumpel", []),  # capitals tell nothing here
        ("zandig wimmel dancing", []),  # nor do two unknown words
        ("a picture by Suki Waterhouse", []),
        ("masterpiece by Edgar Maxence and Ross Tran", []),
        ("kevin patton puking", ["kevin patton"]),
        ("mark zuckerberg", ["mark zuckerberg"]),
        ("mark a chair", []),
        ("Jean-Luc Picard in a hat", ["Jean-Luc Picard"]),
        ("jennifer baker in a hat", ["jennifer baker"]),
        ("a hat for princess Zandig", ["princess Zandig"]),
        ("jennifer x", ["jennifer"]),
        ("Jennifer photo", ["Jennifer"]),
        ("taylor swift rising out of a river", ["taylor swift"]),
        ("a taylor swift dog in a park", []),
        ("Riff Raff taking a walk", ["Riff Raff"]),
        ("Girl Zandig taking a walk", []),
        ("marcelo rebelo de sousa in a hat", ["marcelo rebelo de sousa"]),
    ],
)
def test_a_name_is_one_word(clause: str, names: list[str]) -> None:
    assert named(clause) == names


def test_what_is_flagged_is_nobodys_name() -> None:
    assert named("a picture of Suki Waterhouse", "Suki") == []
    assert named("a picture of Suki Waterhouse", "Waterhouse") == []
    assert named("a picture of Emma Stone", "Stone") == ["Emma"]


def test_nor_is_what_stands_beside_a_flagged_part_of_it() -> None:
    assert named("he waves to Mary Zandig", "Mary") == []
    assert named("kevin owens in a hat", "owens") == []
    assert named("a hat of Jennifer Zandig in a park", "Zandig") == []
    assert named("a hat of Jennifer Connelly in a park", "Connelly") == []
    assert named("kevin wizard in a hat", "hat") == ["kevin wizard"]
    assert named("kevin nude on a bed", "nude") == ["kevin"]


@pytest.mark.parametrize(
    ("prompt", "words", "expected"),
    [
        ("kevin owens naked on a chair", ["owens", "naked"], "a painter sitting on a chair"),
        ("Mario kicks Sonic in the face screaming FRICK naked", ["kicks", "face", "naked"],
         "Mario ACTS"),
        ("a lewd Kodak portra still of a naked nude goddess", ["lewd", "naked", "nude"],
         "a goddess ACTS"),
        ("naked nude lewd woman at bedroom", ["naked", "nude", "lewd"], "a woman XX in a bedroom"),
        ("a lewd naked man is seen on a city", ["lewd", "naked", "is seen"], "a man XX in a city"),
        ("naked nude lewd knight in hell", ["naked", "nude", "lewd"], "a knight ACTS"),
        ("giant Soldier inquisitor naked and nude", ["inquisitor", "naked", "nude"],
         "a neighbour ACTS"),
        ("a lewd Satyr takes naked aim from the nude bow", ["lewd", "naked", "nude"],
         "SAFE"),
        ("The lewd Zandig takes naked aim from the nude bow", ["lewd", "naked", "nude"],
         "The Zandig ACTS"),
        ("village aunty boob and naked nude skirt", ["boob", "naked", "nude"], "SAFE"),
        ("kristen stewart mating naked with a nude ogre", ["kristen", "mating", "naked", "nude"],
         "a friendly giant ACTS"),
        ("an apocalypse warlord naked and nude and lewd", ["naked", "nude", "lewd"],
         "a teacher ACTS"),
    ],
)  # fmt: skip
def test_nobody_is_made_of_what_is_none(prompt: str, words: list[str], expected: str) -> None:
    text = rewritten(prompt, *words).replace(CONTEXT.safe_text, "SAFE")
    for doing in ACTIVITIES:
        text = text.replace(doing, "ACTS")
    for doing in ("smiling", "standing", "waiting"):
        text = text.replace(doing, "XX")
    assert text == expected


@pytest.mark.parametrize(
    ("prompt", "words", "begins"),
    [
        ("Suki Waterhouse as a cosmic naturist", ["naturist"], "Suki Waterhouse "),
        ("Sergio Massa robbing an old lady", ["robbing"], "Sergio Massa and an old lady "),
        ("the murder of julius caesar", ["murder"], "julius caesar "),
        ("Ben Shapiro dressed as the hamburglar", ["hamburglar"], "Ben Shapiro "),
        ("Sean Young from Blade Runner as a naturist", ["naturist"], "Sean Young "),
        ("zombie Angela Merkel eating brains", ["zombie", "brains"], "Angela Merkel "),
        ("Kate Bush from Babooshka as a naturist", ["naturist"], "Kate Bush "),
    ],
)
def test_made_anew_somebody_keeps_a_whole_name(prompt: str, words: list[str], begins: str) -> None:
    assert rewritten(prompt, *words) in [begins + doing for doing in ACTIVITIES]


def test_as_whom_somebody_is_shown_stays_if_it_is_harmless() -> None:
    text = rewritten("Carrie Fisher as a naturist Princess Leia Organa", "naturist")
    assert text.startswith("Carrie Fisher as Princess Leia Organa ")
    text = rewritten("A pervert's eyes dilate as a girl enters the naked room", "pervert", "naked")
    assert " as a girl" not in text  # what she does then


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        ("Jennifer Connelly as a naturist in front of the Taj Mahal", "in front of the Taj Mahal"),
        ("Suki Waterhouse as a naturist in the Lotus Position in Egypt", "in Egypt"),
        ("Suki Waterhouse as a naturist in the Egyptian desert", "in the Egyptian desert"),
        ("Suki Waterhouse as a naturist in front of a lantern", "in front of a lantern"),
        ("Suki Waterhouse as a naturist on tv in the Chamber", "in the chamber"),
    ],
)
def test_made_anew_somebody_stands_where_the_prompt_says(prompt: str, where: str) -> None:
    text = rewritten(prompt, "naturist")
    assert text.lower().endswith(("ing " + where).lower()), text


def test_by_whom_and_what_a_picture_is_stays_in_front_of_what_is_made_anew() -> None:
    prompt = "art by Alfons Mucha, stained glass motif, Suki Waterhouse as a cosmic naturist"
    text = rewritten(prompt, "naturist")
    assert text.startswith("art by Alfons Mucha, stained glass motif, Suki Waterhouse ")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("muscle guy at a prison toilet wearing raunch briefs", ["guy", "raunch"]),
        ("a latex catsuit with a hood", ["latex catsuit"]),
        ("polaroid photograph of a naked latex", ["naked", "latex"]),
        ("foto de uma ruiva deitada com a buceta", ["buceta"]),  # of another language
        ("gore, guts, blood, skulls, a tree", ["gore", "guts", "blood", "skulls"]),  # a mere list
    ],
)
def test_nonsense_gives_way_to_the_contexts_own_text(prompt: str, words: list[str]) -> None:
    assert rewritten(prompt, *words).startswith(CONTEXT.safe_text)


def test_a_style_behind_a_clause_does_not_make_it_a_small_part() -> None:
    tail = ", highly detailed, cinematic lighting, 8k, octane render, award winning photography"
    assert rewritten("a latex catsuit with a hood" + tail, "latex catsuit") == (
        CONTEXT.safe_text + tail
    )


def test_a_word_that_only_other_languages_have_is_not_kept_beside_a_risky_one() -> None:
    prompt = "a woman, freckles, soft light, pezones visibles, loose clothing"
    assert rewritten(prompt, "pezones") == prompt.replace("pezones visibles", "friendly")


def test_a_gun_is_told_by_its_number() -> None:
    assert "ak47" not in rewritten("a man robbing a bank with an ak47", "robbing")


@pytest.mark.parametrize(
    ("prompt", "words", "expected"),
    [
        ("a tree, slime mold, a hat", ["slime", "mold"], "a tree, clear water, a hat"),
        ("kill the giant", ["kill"], "welcome the giant"),
        ("bed, bloodstains on floor, hat", ["bloodstains"], "bed, water on floor, hat"),
    ],
)
def test_two_nouns_and_plurals_are_exchanged_as_such(
    prompt: str, words: list[str], expected: str
) -> None:
    spans = [Span(prompt.index(w), prompt.index(w) + len(w), "shocking", "x") for w in words]
    assert rewrite(prompt, spans, presets()["shocking"]) == expected


@pytest.mark.parametrize("found", ["caned repeatedly", "repeatedly"])
def test_what_an_adverb_is_about_is_what_is_exchanged(found: str) -> None:
    assert "caned" not in rewritten("woman caned repeatedly, a chair, a table", found)


def test_a_word_of_a_flagged_phrase_is_nobody() -> None:
    assert " and " not in rewritten("a woman a transparent veil a poil in ice", "a poil")


def test_a_dropped_clause_leaves_no_comma_before_a_stop() -> None:
    told = "a tree, a house, a car, a street"
    text = rewritten(told + ", blorfing gore wimmel latex. a dog", "gore", "latex")
    assert text == told + ". a dog"


@pytest.mark.parametrize(
    ("prompt", "words", "gone"),
    [
        ("a muscle guy torturing a girl", ["torturing"], "muscle"),
        ("a guy muscle bald rapist torturing", ["rapist", "torturing"], " and "),
        ("a man torturing in the style of Suki Waterhouse", ["torturing"], "Waterhouse"),
        ("a collage with naked latex gore", ["naked", "latex", "gore"], "collage"),
        ("a beautiful asian naturist doing what she was trained to do", ["naturist"], "complete"),
        ("a mouth sewn shut, a tree, a house, a street, a hat", ["mouth sewn shut"], "friendly"),
    ],
)
def test_made_anew_it_might_be_written(prompt: str, words: list[str], gone: str) -> None:
    assert gone not in rewritten(prompt, *words)


def test_english_words_are_not_put_into_a_clause_of_another_language() -> None:
    prompt = "foto de una mujer en topless en la playa"
    assert rewritten(prompt, "topless") == CONTEXT.safe_text
    own = replace(CONTEXT, name="own", neutral={"topless": "camisa"})
    spans = [Span(prompt.index("topless"), prompt.index("topless") + 7, "sexual", "context")]
    assert rewrite(prompt, spans, own) == prompt.replace("topless", "camisa")


def test_somebody_before_a_noun_describes_it() -> None:
    kind = substitutes().any(CONTEXT, "a")
    assert rewritten("a hat, prostitute costume, a chair", "prostitute") in [
        f"a hat, {one} costume, a chair" for one in kind
    ]


def test_an_unknown_verb_behind_a_noun_is_what_somebody_does() -> None:
    assert rewritten("statue, woman zwerking, tree", "zwerking") == "statue, woman smiling, tree"
    assert rewritten("statue, zwerking, tree", "zwerking") == "statue, friendly, tree"


def test_a_weapon_takes_no_walk() -> None:
    text = rewritten("naked off a phone and club nude lewd toilet", "naked", "club", "nude", "lewd")
    assert "walking stick" not in text


def test_meat_beside_what_is_flagged_is_no_food() -> None:
    assert tells("meat all over the place and")
    assert not tells("a green plant in the middle")


def test_the_contexts_own_text_stands_for_all_that_is_told() -> None:
    prompt = "naked flesh, nude flesh, bare flesh, porn, a big tree, oil painting"
    told = rewritten(prompt, "naked", "nude", "bare", "porn")
    assert told == f"{CONTEXT.safe_text}, oil painting"
