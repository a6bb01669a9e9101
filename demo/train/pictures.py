"""The demo's pictures, captions and hold-out: Fluent emoji on six coloured backgrounds."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

# (R, G, B) of each background. The caption names it, so that words are worth reading.
BACKGROUNDS = {
    "white": (246, 246, 246),
    "pink": (255, 188, 212),
    "blue": (142, 196, 246),
    "green": (158, 218, 152),
    "purple": (196, 170, 240),
    "orange": (255, 200, 128),
}

LABELS = """
grinning face; grinning squinting face; face with tears of joy; winking face; smiling face with
halo; smiling face with hearts; smiling face with heart-eyes; star-struck; kissing face with
closed eyes; squinting face with tongue; thinking face; zipper-mouth face; neutral face;
sleeping face; face with medical mask; nauseated face; hot face; cold face; exploding head;
cowboy hat face; partying face; smiling face with sunglasses; nerd face; face with open mouth;
loudly crying face; face screaming in fear; enraged face; smiling face with horns; skull; pile
of poo; clown face; ogre; ghost; alien; robot; red heart; broken heart; monkey face; dog face;
wolf; fox; raccoon; cat face; lion; tiger face; horse face; unicorn; cow face; pig face; mouse
face; hamster; rabbit face; bear; polar bear; koala; panda; elephant; giraffe; hedgehog; turkey;
rooster; baby chick; penguin; duck; owl; flamingo; parrot; frog; crocodile; turtle; snake;
dragon face; T-Rex; spouting whale; dolphin; tropical fish; blowfish; shark; octopus; crab;
snail; butterfly; honeybee; lady beetle; rose; sunflower; tulip; evergreen tree; palm tree;
cactus; four leaf clover; maple leaf; mushroom; grapes; watermelon; tangerine; lemon; banana;
pineapple; red apple; green apple; cherries; strawberry; kiwi fruit; tomato; avocado; eggplant;
carrot; ear of corn; broccoli; bread; croissant; pretzel; pancakes; cheese wedge; hamburger;
french fries; pizza; hot dog; taco; egg; cooking; popcorn; sushi; ice cream; doughnut; cookie;
birthday cake; cupcake; chocolate bar; lollipop; honey pot; hot beverage; tropical drink; beer
mug; house; castle; tent; locomotive; bus; fire engine; police car; automobile; tractor;
bicycle; sailboat; helicopter; rocket; flying saucer; alarm clock; ringed planet; star; rainbow;
umbrella with rain drops; fire; droplet; snowman without snow; jack-o-lantern; Christmas tree;
balloon; wrapped gift; trophy; soccer ball; basketball; bullseye; pool 8 ball; crystal ball;
game die; teddy bear; artist palette; crown; top hat; gem stone; guitar; drum; camera; light
bulb; books; money bag; key; bomb; magnet; microscope
"""


@dataclass(frozen=True)
class Picture:
    label: str
    tags: tuple[str, ...]
    rgba: np.ndarray  # (size, size, 4) float32 in [0, 1]


def label_list() -> list[str]:
    """LABELS as emojibase writes them; captions have them in lower case."""
    return [" ".join(label.split()) for label in LABELS.split(";")]


def load_pictures(emoji_folder: Path, data_folder: Path, size: int) -> list[Picture]:
    """Read the pictures of LABELS from the unpacked npm packages named in demo/README.md."""
    entries = json.loads((data_folder / "en" / "data.json").read_text(encoding="utf-8"))
    by_label = {entry["label"]: entry for entry in entries}
    pictures = []
    for label in label_list():
        entry = by_label[label]
        code = entry["hexcode"].lower()
        stem = code.removesuffix("-fe0f")
        names = (code, stem, f"{stem}-fe0f")
        files = [emoji_folder / f"{name}{kind}" for name in names for kind in (".webp", ".svg")]
        square = opened(next(path for path in files if path.exists()), size)
        # One-word tags that do not repeat the label; the rest only makes captions long.
        tags = tuple(t for t in entry["tags"] if t.isalpha() and t not in label.lower())[:6]
        pictures.append(Picture(label.lower(), tags, np.asarray(square, np.float32) / 255))
    return pictures


def opened(path: Path, size: int) -> Image.Image:
    """A square of `size` pixels with transparency."""
    if path.suffix == ".svg":
        import resvg_py  # pyright: ignore[reportMissingImports]

        drawn = resvg_py.svg_to_bytes(svg_path=str(path), width=size, height=size)
        return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")
    with Image.open(path) as image:
        square = image.convert("RGBA").crop((0, 0, 256, 256))
        return square.resize((size, size), Image.Resampling.LANCZOS)


def on_background(picture: Picture, colour: str) -> np.ndarray:
    """(size, size, 3) float32 in [0, 1]."""
    rgb, alpha = picture.rgba[..., :3], picture.rgba[..., 3:]
    return rgb * alpha + (1 - alpha) * np.array(BACKGROUNDS[colour], np.float32) / 255


def held_out_colour(index: int) -> str:
    """The one background that picture `index` is never trained on: captions of it are held out."""
    return list(BACKGROUNDS)[index % len(BACKGROUNDS)]


def training_colours(index: int) -> list[str]:
    return [colour for colour in BACKGROUNDS if colour != held_out_colour(index)]


def training_captions() -> list[str]:
    """One caption per picture, on a background it was trained on; the order of LABELS."""
    labels = [label.lower() for label in label_list()]
    colours = [training_colours(i) for i in range(len(labels))]
    return [
        caption(label, allowed[i % len(allowed)])
        for i, (label, allowed) in enumerate(zip(labels, colours, strict=True))
    ]


def caption(label: str, colour: str, tags: tuple[str, ...] = ()) -> str:
    return ", ".join((label, *tags)) + f" on a {colour} background"


def vocabulary(pictures: list[Picture]) -> list[str]:
    from ..networks import CaptionTokenizer

    words = {"on", "a", "background", *BACKGROUNDS}
    for picture in pictures:
        words.update(CaptionTokenizer.split(picture.label))
        words.update(tag.lower() for tag in picture.tags)
    return sorted(words)
