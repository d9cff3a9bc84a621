"""Draws scenes with our own program and keeps them as two numpy files a split: pictures and facts.

Three splits whose seeds lie apart from each other and from those of the suites (0 and up; 700000 and up, which older figures
used; 2^63 and up, which warm up): see SPLITS. The agent draws in blocks, so that stopping costs one block.

    scenes.py AGENT FOLDER
"""
import json, subprocess, sys, tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SPLITS = {"train": (10_000_000, 98_304), "validation": (20_000_000, 2_048), "test": (30_000_000, 4_096)}
"""First seed and number of scenes; each further scene's seed is one higher."""

SIDE = 96
TILES = 6
"""Image tokens across a picture; the program draws at most one object in a tile."""

BLOCK = 1024
OBJECTS_MAX = 6

KINDS = ["ball", "box", "car", "cone", "heart", "house", "ring", "star", "tree"]
COLORS = ["red", "green", "blue", "yellow", "orange", "purple", "white", "black"]
SIZES = ["small", "large"]
PLACES = ["beach", "desert", "field", "room", "snow", "street"]
TIMES = ["day", "sunset", "night"]
WEATHERS = ["clear", "cloudy", "rainy", "indoors"]


class Thing(NamedTuple):
    """An object; its centre in thousandths of the picture's side."""
    kind: str
    color: str
    size: str
    x: int
    y: int

    @property
    def name(self):
        return f"{self.color} {self.kind}"

    @property
    def tile(self):
        return self.y * TILES // 1000 * TILES + self.x * TILES // 1000


class Scene(NamedTuple):
    """What a picture shows; things from left to right."""
    place: str
    time: str
    weather: str
    things: list


class Scenes:
    """A split: pictures stay on the disk, facts are unpacked when they are asked for."""

    def __init__(self, folder, split):
        self.pictures = np.load(Path(folder) / f"{split}-pictures.npy", mmap_mode="r")
        self.facts = np.load(Path(folder) / f"{split}-facts.npy")

    def __len__(self):
        return len(self.facts)

    def __getitem__(self, index):
        return scene_of(self.facts[index].tolist())


def facts_of(truth):
    """A line of `truth.jsonl` as numbers: setting, how many things, and five numbers a thing."""
    things = [(KINDS.index(o["kind"]), COLORS.index(o["color"]), SIZES.index(o["size"]), o["x"], o["y"]) for o in truth["objects"]]
    setting = [PLACES.index(truth["place"]), TIMES.index(truth["time"]), WEATHERS.index(truth["weather"]), len(things)]
    return setting + sum(map(list, things), []) + [0] * 5 * (OBJECTS_MAX - len(things))


def scene_of(facts):
    place, time, weather, n, *rest = facts
    numbers = (rest[5 * i:5 * i + 5] for i in range(n))
    things = [Thing(KINDS[kind], COLORS[color], SIZES[size], x, y) for kind, color, size, x, y in numbers]
    return Scene(PLACES[place], TIMES[time], WEATHERS[weather], things)


def draw(agent, folder, split):
    """Draws what is missing of a split; files grow under a name of their own until they are whole."""
    folder = Path(folder)
    first, count = SPLITS[split]
    pictures, facts = folder / f"{split}-pictures.npy", folder / f"{split}-facts.npy"
    if facts.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    growing, progress = folder / f"{split}-growing.npy", folder / f"{split}-progress.npy"
    known = np.load(progress) if progress.exists() else np.zeros((0, 4 + 5 * OBJECTS_MAX), np.int16)
    mode = "r+" if len(known) else "w+"
    out = np.lib.format.open_memmap(growing, mode, np.uint8, (count, SIDE, SIDE, 3))
    for start in range(len(known), count, BLOCK):
        n = min(BLOCK, count - start)
        block, truths = draw_block(agent, first + start, n)
        out[start:start + n] = block
        out.flush()
        known = np.concatenate([known, np.array(truths, np.int16)])
        np.save(progress, known)
    growing.rename(pictures)
    progress.rename(facts)


def draw_block(agent, seed, count):
    with tempfile.TemporaryDirectory() as home:
        out = draw_pictures(agent, seed, count, Path(home))
        lines = [json.loads(line) for line in (out / "truth.jsonl").read_text().splitlines()]
        pictures = [np.asarray(Image.open(out / line["file"]).convert("RGB")) for line in lines]
        return np.stack(pictures), [facts_of(line["truth"]) for line in lines]


def draw_pictures(agent, seed, count, home):
    out = home / "scenes"
    command = [agent, "suites", "draw", out, "--count", count, "--seed", seed, "--size", SIDE, "--data", home / "data"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return out


if __name__ == "__main__":
    for split in ["validation", "test", "train"]:
        draw(sys.argv[1], sys.argv[2], split)
        print(split, "first seed and number of scenes:", *SPLITS[split], flush=True)
