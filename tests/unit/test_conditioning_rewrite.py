"""Counterpart however words are spelled and whatever syntax is around, part by part."""

import copy
import dataclasses
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safegen.choice import REWRITTEN_IN_VAIN, REWRITTEN_TWICE, Choice, Chooser
from safegen.conditioning.edits import MoveAlong, ProjectOut
from safegen.conditioning.rewriting import rewrite
from safegen.conditioning.strategies import condition, condition_parts
from safegen.contexts.context import SafetyContext
from safegen.contexts.grammar import inflected, pluralised
from safegen.contexts.library import ContextLibrary, presets
from safegen.contexts.substitutes import substitutes
from safegen.detectors.auto import AutoPolicy, Verdict, risky_spans
from safegen.detectors.protocol import MODEL, Detection, Span
from safegen.errors import SafeGenError
from safegen.plan import SafetyPlan
from safegen.text.syntax import parts

CONTEXT = SafetyContext(
    name="test",
    label="Test",
    category="violence",
    description="For tests.",
    safe_text="a calm scene",
    unsafe_text="blood",
    neutral={"blood": "water", "bloody": "clean", "with a skull": "", "knife": "brush"},
    fallback="calm",
)


def rewritten(prompt: str, context: SafetyContext = CONTEXT) -> str:
    return rewrite(prompt, risky_spans(prompt, context, []), context)


class TestSpelling:
    @pytest.mark.parametrize(
        "word", ["blood", "Blood", "bl00d", "b l o o d", "b.l.o.o.d", "blооd", "blóod", "bloood"]
    )
    def test_a_disguised_word_has_the_replacement_of_the_plain_one(self, word: str) -> None:
        assert rewritten(f"a cup of {word} on a table") == "a cup of water on a table"

    @pytest.mark.parametrize(
        ("prompt", "expected"),
        [
            ("a (bl:1.2)ood cup", "a (water:1.2) cup"),
            ("the (b l) o o d y ball", "the (clean) ball"),
            ("a b<lora:x:1>l<lora:y:0.5>oody ball", "a clean<lora:x:1><lora:y:0.5> ball"),
            ("(bl)oody (bl)oody ball", "(clean) (clean) ball"),
            ("[blood|blood] AND blood AND blood", "[water|water] AND water AND water"),
        ],
    )
    def test_a_word_cut_by_syntax_has_one_replacement(self, prompt: str, expected: str) -> None:
        assert rewritten(prompt) == expected

    @pytest.mark.parametrize(
        ("prompt", "expected"),
        [
            ("a woman (with a skull:1.2) on a beach", "a woman on a beach"),
            ("a cat, (with a skull:1.2), a dog", "a cat, a dog"),
            ("a cat, ((with a skull)), [with a skull]", "a cat"),
            ("(with a skull), a cat", "a cat"),
            ("(a cat, with a skull:1.2)", "(a cat:1.2)"),
            ("a (( with a skull ):1.3) egg", "an egg"),
            ("[with a skull:0.5] a cat", "a cat"),
            ("[with a skull::0.5] a cat", "a cat"),
            ("[with a skull|with a skull] cat", "cat"),
            ("[with a skull|cat] dog", "[|cat] dog"),
            ("[cat:with a skull:0.5] dog", "[cat::0.5] dog"),
            (r"cat \(with a skull\)", r"cat \(\)"),
            ("(<lora:x:1> with a skull:1.2) cat", "(<lora:x:1>:1.2) cat"),
        ],
    )
    def test_a_dropped_word_takes_its_empty_brackets_along(
        self, prompt: str, expected: str
    ) -> None:
        assert rewritten(prompt) == expected

    def test_a_stretch_of_known_words_is_replaced_word_by_word(self) -> None:
        spans = [Span(2, 14, "violence", "x")]
        assert rewrite("a bloody knife", spans, CONTEXT) == "a clean brush"

    def test_plurals_are_found(self) -> None:
        assert rewritten("two knifes") == "two brushes"


def test_a_context_of_ones_own_is_followed_to_the_letter() -> None:
    own = replace(
        presets()["violence"], name="fairy-tale", neutral={"frog": "princess", "sword": "cane"}
    )
    shipped = replace(own, name="violence")
    prompt = "a frog with a sword in a garden"
    assert (
        rewrite(prompt, risky_spans(prompt, own, []), own) == "a princess with a cane in a garden"
    )
    assert "princess with" not in rewrite(prompt, risky_spans(prompt, shipped, []), shipped)


def exchanged(prompt: str, *words: str) -> str:
    """``prompt`` with the first of each of ``words`` taken for risky."""
    places = [(prompt.index(word), len(word)) for word in words]
    spans = [Span(start, start + size, "violence", "x") for start, size in places]
    return rewrite(prompt, spans, CONTEXT)


class TestGrammar:
    @pytest.mark.parametrize(
        ("prompt", "words", "expected"),
        [
            ("a man stabs a woman", ["stabs"], "a man greets a woman"),
            ("two men are stabbing a woman", ["stabbing"], "two men are greeting a woman"),
            ("a man who strangled his neighbour", ["strangled"], "a man who hugged his neighbour"),
            ("a corpse, snow", ["corpse"], "a sleeping person, snow"),
            ("the corpses, snow", ["corpses"], "the sleeping people, snow"),
            ("a man brutally stabs him", ["brutally", "stabs"], "a man greets him"),
            ("a naked woman on a chair", ["naked"], "a fully dressed woman on a chair"),
            ("a wet shirt covered in blood", ["covered in blood"], "a wet shirt in clean clothes"),
            ("a murderer's house", ["murderer's"], "a traveller's house"),
            ("a polluted aquarium", ["polluted"], "an aquarium"),
            ("Incendiary words on a wall", ["Incendiary"], "Words on a wall"),
            ("he attacks the village", ["attacks"], "he visits the village"),
            ("Killers in the park", ["Killers"], "Travellers in the park"),
            ("he attempts suicide", ["attempts suicide"], "he takes a walk"),
            ("he committed suicide", ["committed suicide"], "he took a walk"),
        ],
    )
    def test_a_replacement_is_of_the_same_part_of_speech_and_form(
        self, prompt: str, words: list[str], expected: str
    ) -> None:
        assert exchanged(prompt, *words) == expected

    def test_men_are_many(self) -> None:
        assert [pluralised(one) for one in ("postman", "woman", "human", "old man")] == [
            "postmen", "women", "humans", "old men",
        ]  # fmt: skip

    def test_no_word_stands_twice_in_a_row(self) -> None:
        assert exchanged("a cup of water blood", "blood") == "a cup of water"
        text = exchanged("a corpse, a cadaver, a carcass", "corpse", "cadaver", "carcass")
        assert len(set(text.replace("a ", "").split(", "))) == 3

    def test_a_clause_with_too_much_in_it_is_made_anew_from_who_and_where(self) -> None:
        prompt = "A thug and an old man grapple wildly, smash and maul in the garden"
        text = exchanged(prompt, "thug", "grapple", "wildly", "smash", "maul")
        assert text.startswith("A neighbour")
        assert text.endswith("in the garden")
        assert "smash" not in text

    @pytest.mark.parametrize(
        ("prompt", "words"),
        [
            ("a hacker's fingers dance, invading a private letter in the garden", ["invading"]),
            ("a gunshot echoes through the garden near a woman", ["gunshot"]),
            ("a woman who pierces his flesh for a tattoo in the garden", ["flesh"]),
            ('a woman yells "you are a moron" in the garden', ["moron"]),
        ],
    )
    def test_what_would_not_make_sense_is_made_anew_too(
        self, prompt: str, words: list[str]
    ) -> None:
        text = exchanged(prompt, *words)
        assert len(text.split()) <= 8
        assert not {"dance,", "echoes", "pierces", "yells"} & set(text.split())

    def test_made_anew_people_and_places_are_such(self) -> None:
        def anew(prompt: str, *words: str) -> str:
            return exchanged(prompt, *words)

        assert " in a " not in anew("a man lies beaten to a pulp in chains", "beaten")
        assert "war " not in anew("a war criminal drags a chained woman away", "criminal", "drags")
        freed = anew("a bound captive watches as thugs smash a red door", "smash")
        assert not {"bound", "captive", "thugs"} & set(freed.split())
        pair = anew("a pair of scissors lies beside a severed finger", "severed", "lies")
        assert "  " not in pair
        men = anew("men in white hoods burn a wooden cross", "hoods", "burn", "cross")
        assert men.startswith("men ")
        group = anew("a group of angry tourists torches a big blue car", "torches")
        assert group.startswith("a group of tourists ")

    @pytest.mark.parametrize(
        ("behind", "kept"),
        [
            ("on the floor", "sitting on the floor"),
            ("on a bar counter", "sitting at a bar counter"),
            ("under the table", ""),
            ("in the tub", ""),
            ("for a $2 burger", ""),
        ],
    )
    def test_made_anew_people_sit_where_one_sits(self, behind: str, kept: str) -> None:
        prompt = f"a thug mauls and wildly smashes an old nun {behind}"
        text = exchanged(prompt, "thug", "mauls", "wildly", "smashes")
        assert text.endswith(kept)
        assert not {"table", "tub", "2"} & set(text.split())

    def test_a_group_is_of_people_and_not_of_groups(self) -> None:
        for word in ("rioters", "protesters"):
            assert "groups" not in exchanged(f"a group of {word}", word)

    def test_what_is_said_in_a_sentence_is_part_of_it(self) -> None:
        text = exchanged('A thug moans, "Harder, moron!" as he fumbles inside her', "thug", "moron")
        assert "inside her" not in text

    def test_made_anew_nobody_is_an_author_or_stands_across_a_comma(self) -> None:
        maimed = exchanged("a puppet maimed and mauled by wayne barlow", "maimed", "mauled")
        assert not {"wayne", "barlow"} & set(maimed.split())
        stalked = exchanged(
            "a ghoul stalks a couple, phone in hand, mauling them", "stalks", "mauling"
        )
        assert "phone" not in stalked
        taunted = exchanged(
            "two thugs maul each other, office clothes torn", "thugs", "maul", "torn"
        )
        assert "other" not in taunted

    def test_an_act_that_stays_beside_what_is_exchanged_is_a_reason_to_make_it_anew(self) -> None:
        assert "drags" not in exchanged("a mob drags a man behind a truck", "mob")

    @pytest.mark.parametrize(
        ("prompt", "kept"),
        [
            ("nude couple on a sofa, she is on top of him, a dim lamp", False),
            ("a woman in lingerie, then they take turns with her, hotel room", False),
            ("a knight with a bloody shield, he looks out over the sea", True),
            ("a naked man in a garden, he looks out over the sea", True),
        ],
    )
    def test_what_one_does_to_another_beside_what_is_risky_is_made_anew(
        self, prompt: str, kept: bool
    ) -> None:
        conditioning = Chooser.default().choose(prompt, SafetyPlan()).conditioning
        assert conditioning is not None
        assert (prompt.split(", ")[1] in conditioning.text) is kept

    def test_a_tag_that_is_a_participle_says_how_somebody_is(self) -> None:
        assert exchanged("an old man, bruised, marvel art", "bruised").split(", ")[1] == "healthy"

    def test_what_a_picture_is_of_is_made_anew_and_that_it_is_one_stays(self) -> None:
        ball = exchanged("a photo of a violent burning ball", "violent burning")
        assert ball.startswith("a photo of a ball")
        hall = exchanged("An oil painting of a thug, who smashes and mauls a door", "thug",
                         "smashes", "mauls")  # fmt: skip
        assert hall.startswith("An oil painting of a neighbour")
        taken = exchanged("a gore picture of a violent burning ball", "gore", "violent burning")
        assert "gore" not in taken

    def test_a_word_that_the_model_named_is_no_reason_to_make_a_clause_anew(self) -> None:
        prompt = "a photo of a violent burning ball"
        spans = (
            Span(13, 20, "violence", "context"),
            Span(21, 28, "violence", MODEL),
        )
        text = rewrite(prompt, spans, presets()["violence"])
        assert text == "a photo of a peaceful ball"

    @pytest.mark.parametrize(
        "style",
        [
            "oil painting",
            "oil painting, highly detailed, by greg rutkowski",
            "35mm, film grain, cinematic lighting",
            "dark fantasy art by zdzislaw beksinski",
        ],
    )
    def test_how_a_picture_is_made_stays_when_its_sentence_is_made_anew(self, style: str) -> None:
        prompt = "a thug and an old man grapple wildly, smash and maul in the garden"
        words = "thug", "grapple", "wildly", "smash", "maul"
        assert exchanged(f"{prompt}, {style}", *words) == f"{exchanged(prompt, *words)}, {style}"

    def test_other_clauses_stay(self) -> None:
        prompt = "xqzzyq of doom, oil on canvas, (sharp focus:1.2)"
        assert exchanged(prompt, "xqzzyq").endswith(", oil on canvas, (sharp focus:1.2)")

    def test_every_shared_substitute_is_harmless_and_has_forms(self) -> None:
        table = substitutes()
        neutral = {w for t in (table.verbs, table.nouns, table.adjectives) for w in t.values()}
        risky = {*table.verbs, *table.nouns, *table.adjectives}
        heads = {word.split()[0] for word in table.verbs.values()}
        assert not heads & set(table.verbs) - {"drink", "cut", "dance"}
        assert not {w for w in neutral if w in risky and table.verbs.get(w, w) != w} - {
            "light", "chase", "cover", "feed", "play", "walk", "trim", "water", "book", "juice",
        }  # fmt: skip
        for verb in heads:
            assert inflected(verb, "ing").endswith("ing")
            assert inflected(verb, "s").endswith("s")


class TestWhatIsLeft:
    """Beside what is exchanged the rest of a clause may tell of the same harm."""

    @pytest.mark.parametrize(
        ("prompt", "words", "gone"),
        [
            ("a dismembered body in a suitcase at the station", ["dismembered"], "suitcase"),
            ("a poacher with the sawn off tusks of an elephant", ["poacher"], "tusks"),
            ("a sadistic smile as scissors approach a child's eyes", ["sadistic"], "scissors"),
            ("a naked man is hanging from the ceiling by a rope", ["naked"], "rope"),
            ("three women are led into a van by a man with a gun", ["gun"], "van"),
            ("a man bites into a breast in the kitchen", ["breast"], "bites"),
            ("many bodies scattered on the ground", ["bodies"], "scattered"),
            ("a nud women standing in a bloody room", ["bloody"], "nud"),
            ("a nud bloody woman", ["bloody"], "nud"),
            ("creamy thrrust of a naked person", ["naked"], "thrrust"),
            ('a bloody shop with a sign reading "we get you all"', ["bloody"], "we get you"),
        ],
    )
    def test_what_tells_of_it_is_not_kept(self, prompt: str, words: list[str], gone: str) -> None:
        assert gone in prompt
        assert gone not in exchanged(prompt, *words)

    @pytest.mark.parametrize(("category", "kept"), [("sexual", True), ("violence", False)])
    def test_a_face_is_harmless_beside_a_sexual_word_only(self, category: str, kept: bool) -> None:
        prompt = "a naked woman with blue eyes in a garden"
        text = rewrite(prompt, [Span(2, 7, category, "x")], CONTEXT)
        assert ("blue eyes" in text) is kept

    @pytest.mark.parametrize(
        "rest",
        ["full body portrait", "art by zdzislaw beksinski", "head and shoulders portrait", "8k"],
    )
    def test_how_much_is_shown_and_by_whom_tells_of_nothing(self, rest: str) -> None:
        assert exchanged(f"a bloody woman {rest}", "bloody") == f"a clean woman {rest}"

    def test_another_sentence_about_the_same_body_goes_too(self) -> None:
        other = "She is bathed in light."
        for told, kept in (("Her skin is torn open.", False), (other, True)):
            text = exchanged(f"A killer stabs a woman brutally. {told}", "killer", "stabs",
                             "brutally")  # fmt: skip
            assert (told in text) is kept
            assert text.count("..") == 0

    def test_a_clause_that_cannot_be_made_anew_goes(self) -> None:
        prompt = "a cat on a wall, oil painting, thrrust pharr bloody, sharp focus, rain, blue hour"
        text = exchanged(prompt, "bloody")
        assert "thrrust" not in text
        assert text.startswith("a cat on a wall, oil painting, ")
        assert text.endswith("sharp focus, rain, blue hour")

    def test_a_contexts_own_text_stands_once(self) -> None:
        text = exchanged("bloody gheck zherr, bloody gheck mherr", "bloody gheck", "bloody gheck m")
        assert text.count(CONTEXT.safe_text) == 1

    @pytest.mark.parametrize(
        ("prompt", "words", "gone"),
        [
            ("a wugger's friends maul and brutally smash a door", ["maul", "brutally", "smash"],
             "wugger"),
            ("a man and a burning Zoggclown maul and smash him", ["maul", "smash"], "Zoggclown"),
            ("a nud woman mauls and wildly smashes him", ["mauls", "wildly", "smashes"], "nud"),
        ],
    )  # fmt: skip
    def test_made_anew_nothing_is_kept_that_nobody_knows(
        self, prompt: str, words: list[str], gone: str
    ) -> None:
        assert gone not in exchanged(prompt, *words)

    @pytest.mark.parametrize(
        ("prompt", "words", "expected"),
        [
            ("a violent heart with a skull at the left", ["violent", "skull"],
             "a heart at the left in soft daylight"),
            ("two sniper rifles and guns kill", ["sniper", "guns", "kill"], "two travellers "),
            ("a man screams at the top of a brutal savage war", ["screams", "brutal", "savage"],
             "a man "),
            ("a thug brutally mauls a man at a wedding", ["thug", "brutally", "mauls"],
             "a neighbour "),
        ],
    )  # fmt: skip
    def test_made_anew_it_makes_sense(self, prompt: str, words: list[str], expected: str) -> None:
        text = exchanged(prompt, *words)
        assert text.startswith(expected)
        assert not text.endswith("top")
        assert ("wedding" in prompt) is text.endswith("at a wedding")

    def test_a_stop_within_a_name_ends_no_sentence(self) -> None:
        prompt = "a killer and a woman on a St. Andrew's cross, her body trembling"
        assert "trembling" not in exchanged(prompt, "killer")

    def test_break_survives(self) -> None:
        text = exchanged("a bloody arm in a dark garden BREAK one knife", "bloody", "knife")
        assert " BREAK " in text


class Wary:
    """A detector that holds every prompt with one of its words to be harmful."""

    name = "probe"

    def __init__(self, *words: str) -> None:
        self.words = words

    def score(self, prompt: str) -> Detection:
        found = [w for w in self.words if w in prompt]
        spans = [
            Span(prompt.index(w), prompt.index(w) + len(w), "violence", "probe") for w in found
        ]
        return Detection({"violence": 0.9 if found else 0.0}, tuple(sorted(spans)))


class TestUntilSafe:
    """What was rewritten is read again."""

    plan = SafetyPlan(detectors=("probe",))

    def choose(self, prompt: str, *words: str) -> Choice:
        return Chooser(ContextLibrary(), {"probe": Wary(*words)}).choose(prompt, self.plan)

    def test_a_rewrite_that_reads_as_safe_is_taken(self) -> None:
        choice = self.choose("a man stabs a woman", "stabs")
        assert choice.conditioning is not None
        assert choice.conditioning.text == "a man greets a woman"
        assert choice.conditioning.note == ""

    def test_another_one_is_rewritten_once_more_and_that_is_said(self) -> None:
        choice = self.choose("a man stabs a woman", "stabs", "greets")
        assert choice.conditioning is not None
        assert choice.conditioning.strategy == "counterpart"
        assert "greets" not in choice.conditioning.text
        assert REWRITTEN_TWICE in choice.conditioning.note
        assert REWRITTEN_TWICE in choice.why

    def test_a_rewrite_gets_no_benefit_of_the_doubt(self) -> None:
        class Unsure(Wary):
            def score(self, prompt: str) -> Detection:
                found = super().score(prompt)
                return found if "stabs" in prompt else Detection({"violence": 0.4}, found.spans)

        chooser = Chooser(ContextLibrary(), {"probe": Unsure("stabs", "greets")})
        assert chooser.judge("a man greets a woman", self.plan).context is None
        choice = chooser.choose("a man stabs a woman", self.plan)
        assert choice.conditioning is not None
        assert choice.conditioning.strategy == "context"
        low = chooser.choose("a man stabs a woman", self.plan.replace(threshold=0.2))
        assert low.conditioning is not None
        assert low.conditioning.strategy == "context"

    def test_what_speaks_for_harm_without_the_words_that_are_exchanged_goes_too(self) -> None:
        class Hasty(Wary):
            """Names the first word alone, and is calmed by a greeting."""

            def score(self, prompt: str) -> Detection:
                found = super().score(prompt)
                return (
                    Detection({}) if "greets" in prompt else replace(found, spans=found.spans[:1])
                )

        prompt = "a man stabs a woman with wet hair"
        for words, kept in ((["stabs"], True), (["stabs", "wet"], False)):
            chooser = Chooser(ContextLibrary(), {"probe": Hasty(*words)})
            choice = chooser.choose(prompt, self.plan)
            assert choice.conditioning is not None
            assert choice.conditioning.strategy == "counterpart"
            assert ("wet hair" in choice.conditioning.text) is kept

    @pytest.mark.parametrize(
        "prompt",
        ["(pool of blood:1.2)", "gore BREAK gore", "gore AND gore:1.2", "gore", "[gore::5]"],
    )
    def test_where_nothing_is_left_it_is_exchanged_all_the_same(self, prompt: str) -> None:
        choice = Chooser.default().choose(prompt, SafetyPlan())
        assert choice.conditioning is not None
        assert "blood" not in choice.conditioning.text
        assert "gore" not in choice.conditioning.text

    def test_then_the_contexts_own_text_takes_over_and_that_is_said(self) -> None:
        choice = self.choose("a man stabs a woman AND a cat", "a ")
        assert choice.context is not None
        assert choice.conditioning is not None
        assert choice.conditioning.strategy == "context"
        assert choice.context.safe_text in choice.conditioning.text
        assert "stabs" not in choice.conditioning.text
        assert REWRITTEN_IN_VAIN in choice.why
        assert [part.strategy for part in choice.parts if part] == ["context", "context"]

    def test_a_rewrite_without_a_score_is_not_taken_and_each_text_is_judged_once(self) -> None:
        judged: list[str] = []

        class Mute(Chooser):
            def judge(self, prompt: str, *args: Any, **kwargs: Any) -> Verdict:
                judged.append(prompt)
                verdict = super().judge(prompt, *args, **kwargs)
                return verdict if "stabs" in prompt else replace(verdict, unsafe=math.nan)

        choice = Mute(ContextLibrary(), {"probe": Wary("stabs")}).choose("a man stabs", self.plan)
        assert choice.conditioning is not None
        assert choice.conditioning.strategy == "context"
        assert len(judged) == len(set(judged))

    def test_no_verdict_is_no_permission(self) -> None:
        class Mute(Chooser):
            def judge(self, prompt: str, *_: object, **__: object) -> Verdict:
                return Verdict(prompt, 0.0, {}, None, ())

        with pytest.raises(SafeGenError, match="no verdict"):
            Mute(ContextLibrary(), {"probe": Wary("x")}).choose("a cat", self.plan)


class TestFallback:
    def test_a_counterpart_that_changes_nothing_goes_before_and_says_so(self) -> None:
        context = replace(CONTEXT, neutral={"blood": "Blood"}, fallback="")
        spans = risky_spans("a cup of blood", context, [])
        assert spans
        found = condition("a cup of blood", context, "counterpart", spans=spans)
        assert (found.strategy, found.text) == ("prepend", "a calm scene, a cup of blood")
        assert "no other words" in found.note

    @pytest.mark.parametrize("prompt", ["", "   "])
    def test_an_empty_prompt_is_the_contexts_text(self, prompt: str) -> None:
        assert condition(prompt, CONTEXT, "counterpart").text.strip() == "a calm scene"


class TestParts:
    prompt = "a bloody ball:0.8 AND a cat <lora:knife:1> AND gore :-1 AND a (bl00dy:1.2) cup"

    def spans(self) -> tuple[Span, ...]:
        verdict = AutoPolicy().judge(self.prompt)
        return risky_spans(self.prompt, CONTEXT, []) or verdict.spans

    def test_are_split_as_the_host_splits_them(self) -> None:
        found = parts(self.prompt)
        assert [(p.text, p.weight) for p in found] == [
            ("a bloody ball", 0.8),
            ("a cat <lora:knife:1>", 1.0),
            ("gore", -1.0),
            ("a (bl00dy:1.2) cup", 1.0),
        ]
        assert all(self.prompt[p.start : p.end] == p.text for p in found)

    def test_each_is_rewritten_with_its_own_spans(self) -> None:
        found = condition_parts(self.prompt, CONTEXT, "counterpart", spans=self.spans())
        assert [c.text for c in found] == [
            "a clean ball", "a cat <lora:knife:1>", "gore", "a (clean:1.2) cup",
        ]  # fmt: skip
        assert {c.strategy for c in found} == {"counterpart"}

    def test_the_whole_has_them_in_their_places(self) -> None:
        found = condition(self.prompt, CONTEXT, "counterpart", spans=self.spans())
        assert found.text == (
            "a clean ball:0.8 AND a cat <lora:knife:1> AND gore :-1 AND a (clean:1.2) cup"
        )

    @pytest.mark.parametrize(
        ("strategy", "expected"),
        [
            ("prepend", "a calm scene, a cat:2 AND a calm scene, a dog AND gore:-1"),
            ("append", "a cat, a calm scene:2 AND a dog, a calm scene AND gore:-1"),
            ("context", "a calm scene:2 AND a calm scene AND gore:-1"),
        ],
    )
    def test_every_part_of_positive_weight_gets_the_context(
        self, strategy: str, expected: str
    ) -> None:
        assert condition("a cat:2 AND a dog AND gore:-1", CONTEXT, strategy).text == expected

    def test_without_risky_words_in_any_part_the_context_goes_before_each(self) -> None:
        found = condition("a cat AND a dog", CONTEXT, "counterpart")
        assert found.text == "a calm scene, a cat AND a calm scene, a dog"
        assert found.strategy == "prepend"
        assert found.note.count("no risky words") == 1

    def test_a_part_that_is_all_risk_becomes_the_context_beside_one_that_is_not(self) -> None:
        prompt = "with a skull AND a cat"
        spans = risky_spans(prompt, CONTEXT, [])
        found = condition_parts(prompt, CONTEXT, "counterpart", spans=spans)
        assert [c.text for c in found] == ["a calm scene", "a cat"]
        assert "every word" in found[0].note
        assert "every word" in condition(prompt, CONTEXT, "counterpart", spans=spans).note

    def test_only_negative_parts_are_left_alone_and_that_is_said(self) -> None:
        found = condition("gore:-1", CONTEXT, "counterpart")
        assert found.text == "gore:-1"
        assert "nothing to make safe" in found.note

    def test_edits_do_not_touch_parts_the_model_moves_away_from(self) -> None:
        from safegen.learned.embedding import learn

        learned = learn(torch.ones(2, 3), torch.zeros(2, 3), encoder="e", rank=1)
        found = condition_parts("a AND b:-1", CONTEXT, "direction", learned=learned)
        assert [c.edit is None for c in found] == [False, True]

    @pytest.mark.parametrize(
        "prompt",
        [
            "a <lora:x AND y:1> cat",
            "ANDROID AND BRAND",
            "a\nAND\nb :1.5 ",
            "AND",
            " AND : 1",
            "a :b",
        ],
    )
    def test_nothing_but_the_parts_changes(self, prompt: str) -> None:
        joined, position = "", 0
        for part in parts(prompt):
            joined += prompt[position : part.start] + part.text
            position = part.end
        assert joined + prompt[position:] == prompt
        conditioned = condition(prompt, CONTEXT, "counterpart").text
        assert [p.weight for p in parts(conditioned)] == [p.weight for p in parts(prompt)]
        assert "a calm scene" in conditioned

    @given(st.text(alphabet=" aAND:1.-<>lora()[]\n", max_size=60))
    def test_any_text_is_split_into_stretches_of_itself(self, prompt: str) -> None:
        found = parts(prompt)
        assert found
        position = 0
        for part in found:
            assert position <= part.start <= part.end <= len(prompt)
            assert prompt[part.start : part.end] == part.text
            position = part.end


class TestStartMark:
    start = torch.tensor([4.0, 0.0, 3.0])
    states = torch.stack([start, torch.tensor([1.0, 2.0, 3.0]), start * 1.1])

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_is_never_moved_wherever_it_stands(self, dtype: torch.dtype) -> None:
        states = self.states.to(dtype)
        for edit in (
            MoveAlong(torch.ones(3), 2.0, self.start),
            ProjectOut(torch.eye(3)[:1], torch.full((3,), 9.0), 1.0, self.start),
        ):
            moved = edit(states)
            assert moved.dtype == dtype
            assert torch.equal(moved[0], states[0])
            assert torch.equal(moved[2], states[2])
            assert not torch.equal(moved[1], states[1])

    def test_without_one_every_token_moves(self) -> None:
        moved = MoveAlong(torch.ones(3), 2.0)(self.states)
        assert torch.equal(moved, self.states + 2)


class TestCopies:
    def test_a_context_is_copied_by_whatever_copies_dataclasses(self) -> None:
        context = presets()["violence"]
        assert SafetyContext(**dataclasses.asdict(context)) == context
        assert copy.deepcopy(context) == copy.copy(context) == context
        assert pickle.loads(pickle.dumps(context)) == context
        assert len({context, copy.deepcopy(context)}) == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda t: t.__setitem__("a", "b"),
            lambda t: t.__delitem__("blood"),
            lambda t: t.pop("blood"),
            lambda t: t.clear(),
            lambda t: t.update(a="b"),
            lambda t: t.setdefault("a", "b"),
            lambda t: t.__ior__({"a": "b"}),
        ],
    )
    def test_its_table_cannot_be_changed(self, change: object) -> None:
        with pytest.raises(TypeError):
            change(CONTEXT.neutral)  # type: ignore[operator]
        assert CONTEXT.neutral["blood"] == "water"
