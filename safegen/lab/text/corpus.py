"""The prompts detectors are trained and measured on, and how they are divided.

The prompt sets themselves are not part of this repository. They are CSV files:

- pairs: ``category``, ``unsafe``, ``safe``; the two texts of a row show one scene;
- benign captions: ``prompt``.

Division is by *scene*, not by row: pairs whose unsafe or safe texts are nearly the same (their
word stems overlap by half or more, directly or through others) stay together, so that no twin,
rewording or repetition of a test prompt is in the training set.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from safegen.learned.pairs import CorpusError, read_csv


def read_prompts(file: Path) -> list[str]:
    """The column ``prompt`` of a CSV file, or ``Prompt`` of a tab-separated one (``.tsv``)."""
    tabs = file.suffix == ".tsv"
    column = "Prompt" if tabs else "prompt"
    return [row[column] for row in read_csv(file, (column,), "\t" if tabs else ",")]


# ------------------------------------------------------------------ what people add to prompts

STYLES = tuple(
    """highly detailed|digital painting|artstation|concept art|smooth|sharp focus|illustration|
    art by greg rutkowski|by alphonse mucha|8k|4k|unreal engine|cinematic lighting|masterpiece|
    best quality|trending on artstation|octane render|oil on canvas|portrait|elegant|intricate|
    dramatic lighting|by norman rockwell|watercolor|photorealistic|35mm photograph|bokeh|
    volumetric light|matte painting|studio ghibli|by makoto shinkai|pastel colors|dslr|f1.8|
    black and white|vintage|retro|pixel art|low poly|isometric|raw photo|absurdres|ultra detailed|
    hdr|dark background|white background|simple background|looking at viewer|upper body|solo|
    1girl|1boy|rim lighting|god rays|dark fantasy|epic composition|by james gurney|by artgerm|
    by edward hopper|by salvador dali|by van gogh|surrealism|expressionism|gothic|noir|
    dutch angle|fisheye lens|polaroid|analog photo|grainy|saturated|muted colors|neon colors|
    blue hour|overcast|foggy|stormy sky|dramatic sky|night scene|candle light|backlit|
    hyper detailed skin texture|sharp eyes|freckles|long hair|short hair|blonde hair|red lips|
    ink drawing|etching|woodcut|linocut|stained glass|mosaic|claymation|papercraft|origami|
    3d render|blender|maya|zbrush|sculpture|marble|bronze|street photography|fashion photography|
    product photography|architecture|interior design|landscape|seascape|still life|flat design|
    poster|magazine cover|album cover|comic panel|manga|storyboard|character sheet|game asset|
    by beeple|by craig mullins|by john singer sargent|by rembrandt|by caravaggio|by mucha|
    ultra wide shot|bird's eye view|worm's eye view|tilt shift|double exposure|silhouette|
    weird|mysterious|ethereal|dreamy|whimsical|melancholic|majestic|ominous|gritty|rough|raw|wild|
    award winning photo|hyperrealistic|ultra hd|by ilya kuvshinov|by wlop|symmetrical|
    golden hour|soft light|vector art|line art|charcoal drawing|by claude monet|impressionism|
    art deco|baroque|cgi|vray|ray tracing|depth of field|national geographic|film grain|
    kodak portra|fantasy art|science fiction|cyberpunk|steampunk|by moebius|by hayao miyazaki|
    detailed face|full body|close up|wide angle|long exposure|macro|moody|high contrast|
    vibrant colors|sketch|comic book style|anime"""
    .replace("\n", " ").split("|")
)  # fmt: skip
"""Style words for training: they are put after harmless and harmful prompts alike."""

UNSEEN_STYLES = tuple(
    """gouache|acrylic on canvas|chalk pastel|by hokusai|by gustav klimt|by zaha hadid|art nouveau|
    bauhaus|pop art|minimalist|ukiyo-e|renaissance painting|rococo|risograph print|screen print|
    chiaroscuro|backlighting|studio lighting|three point lighting|lens flare|shallow focus|
    large format|medium format film|daguerreotype|cyanotype|time lapse|infrared|drone shot|
    extreme close-up|establishing shot|rule of thirds|subsurface scattering|global illumination|
    ambient occlusion|houdini|cinema 4d|lumion|diorama|voxel art|stop motion|felted wool|
    embroidery|collage|double page spread|children's book|travel postcard|tarot card|blueprint|
    exploded view diagram|infographic|sticker|emoji|t-shirt design|wallpaper|ornate|opulent|lush|
    crisp|hazy|sunlit|twilight|misty morning|iridescent|monochrome|sepia|complementary colors|
    hyperdetailed|photobashing|breathtaking|stunning|gorgeous|superb|museum quality"""
    .replace("\n", " ").split("|")
)  # fmt: skip
"""Style words that training never sees, to measure what such words do to harmless prompts."""


def with_styles(
    prompt: str, rng: random.Random, styles: Sequence[str] = STYLES, most: int = 8
) -> str:
    """``prompt`` with one to ``most`` style words after it, as WebUI users write."""
    chosen = rng.sample(styles, rng.randint(1, most))
    return ", ".join([prompt.rstrip(" ."), *(" ".join(style.split()) for style in chosen)])


def background(words: Sequence[str], count: int, rng: random.Random) -> Iterator[str]:
    """``count`` texts of 8 to 30 random ``words``: what a prompt may say that is no sign at all."""
    for _ in range(count):
        chosen = rng.choices(words, k=rng.randint(8, 30))
        yield "".join(word + rng.choice((" ", " ", ", ")) for word in chosen)


def common_words(count: int = 30_000) -> list[str]:
    """The commonest English words of three letters or more.

    Raises:
        CorpusError: if the package that counts them is not installed.
    """
    try:
        from wordfreq import top_n_list
    except ImportError as error:
        raise CorpusError("common words need the package wordfreq (extra: train)") from error
    words: Iterable[str] = top_n_list("en", count)
    return [word for word in words if len(word) > 2 and word.isascii() and word.isalpha()]
