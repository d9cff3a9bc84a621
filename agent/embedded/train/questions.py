"""What is asked about a scene, and the right answers, in the grammar that the suites' prompts ask for.

A text is a list of parts: plain words, and mentions of things. Parts begin with a space except the first, so that encoding them
one by one gives the tokens of the whole. Mentions let training point at what a word is about.

The first wording of each task is the suite's own, read from its file; right answers are those of
`proto/domain/src/metrics/quality/canonical.rs`.
"""
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from scenes import COLORS, KINDS, Thing

SUITES = Path(__file__).parents[3] / "configs/suites"
CLEARLY_APART = 63
"""Thousandths between two things that may be compared: `agent/src/workload/relation.rs`."""


class Mention(NamedTuple):
    """Words about a thing."""
    text: str
    thing: Thing


class Question(NamedTuple):
    task: str
    prompt: list
    answer: list


def text_of(parts):
    return "".join(part if isinstance(part, str) else part.text for part in parts)


def suite_prompts(name):
    suite = tomllib.loads((SUITES / f"{name}.toml").read_text())
    return {task["name"]: task["prompt"] for task in suite["task"]}


EDGE_VISION, SPATIAL_DIRECT = suite_prompts("edge-vision"), suite_prompts("spatial-direct")

# Listing tasks: the suite's wording, then others.
WORDINGS = {
    "caption_brief": [
        "What does this picture show?", "Write one sentence about this picture.", "Caption the image.", "Give a short caption.",
        "Describe the image.",
    ],
    "objects_and_counts": [
        "Count the objects of each kind.", "How many objects of each kind are there?", "Count the objects in this image.",
        "What kinds of objects are there, and how many of each?",
    ],
    "attributes": [
        "Give the size and color of every object.", "What are the size and the color of each object?",
        "List the objects from left to right with size and color.", "Describe each object.",
    ],
    "spatial_relationships": [
        "Where are the objects relative to each other?", "How are the objects arranged?",
        "Describe where each object is relative to the next one.", "Describe the layout of the objects.",
    ],
    "scene_context": [
        "What are the place, the time and the weather?", "Describe the setting.", "Where is this, at what time and in what weather?",
        "Classify the scene.",
    ],
    "counts_json": ["List the objects and their counts as JSON.", "Count the objects. Answer in JSON."],
}
SUITE_WORDING_SHARE = 0.6

NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six"]
PLACE_PHRASES = {"field": "grassy field", "snow": "snowy field"}
TIME_PHRASES = {"day": "during the day", "sunset": "at sunset", "night": "at night"}


def plural(kind):
    return kind + ("es" if kind.endswith("x") else "s")


def caption(scene):
    groups = {}
    for thing in scene.things:
        groups.setdefault(thing.name, []).append(thing)
    weather = "" if scene.weather == "indoors" else f" {scene.weather}"
    parts = [f" A{weather} {PLACE_PHRASES.get(scene.place, scene.place)} {TIME_PHRASES[scene.time]} with"]
    for position, group in enumerate(groups.values()):
        if position:
            parts.append(" and" if position == len(groups) - 1 else ",")
        first, n = group[0], len(group)
        parts.append(Mention(f" {NUMBER_WORDS[n]} {first.color} {first.kind if n == 1 else plural(first.kind)}", first))
    return parts + ["."]


def kinds_counted(scene):
    return sorted(Counter(thing.kind for thing in scene.things).items())


def counts(scene):
    return [" " + ", ".join(f"{kind}: {n}" for kind, n in kinds_counted(scene))]


def counts_json(scene):
    return [" {" + ", ".join(f'"{kind}": {n}' for kind, n in kinds_counted(scene)) + "}"]


def attributes(scene):
    parts = []
    for thing in scene.things:
        parts += [",", Mention(f" {thing.size} {thing.name}", thing)]
    return parts[1:]


def spatial(scene):
    if len(scene.things) == 1:
        only = scene.things[0]
        return [" The", Mention(f" {only.name}", only), f" is at the {position(only)}."]
    parts = []
    for one, next_one in zip(scene.things, scene.things[1:]):
        parts += [" The", Mention(f" {one.name}", one), f" is {relation(one, next_one)} the", Mention(f" {next_one.name}", next_one), "."]
    return parts


def relation(one, other):
    """Along the axis on which they are further apart."""
    across, down = other.x - one.x, other.y - one.y
    if abs(across) >= abs(down):
        return "left of" if across > 0 else "right of"
    return "above" if down > 0 else "below"


def position(thing):
    third = lambda thousandth: min(thousandth * 3 // 1000, 2)
    return f"{['top', 'middle', 'bottom'][third(thing.y)]} {['left', 'center', 'right'][third(thing.x)]}"


def scene_context(scene):
    return [f" place: {scene.place}, time: {scene.time}, weather: {scene.weather}"]


LISTING = {
    "caption_brief": caption, "objects_and_counts": counts, "attributes": attributes, "spatial_relationships": spatial,
    "scene_context": scene_context, "counts_json": counts_json,
}


def listing(task, scene, chance, is_suite_wording=None):
    own = EDGE_VISION.get(task)
    if is_suite_wording is None:
        is_suite_wording = chance.random() < SUITE_WORDING_SHARE
    wording = own if own and is_suite_wording else chance.choice(WORDINGS[task])
    return Question(task, [wording], LISTING[task](scene))


# Direct questions: one or two words about things that are named. Each returns None where a scene gives no such question.

def fill(template, **things):
    """`{a}` and `{b}` of a template become mentions."""
    parts, rest = [], template
    while "{" in rest:
        before, _, after = rest.partition("{")
        key, _, rest = after.partition("}")
        parts += [before.removesuffix(" "), things[key]]
    return [part for part in [*parts, rest] if part]


def the(thing):
    return Mention(f" {thing.name}", thing)


def with_own_name(scene):
    names = Counter(thing.name for thing in scene.things)
    return [thing for thing in scene.things if names[thing.name] == 1]


def with_own_kind(scene):
    kinds = Counter(thing.kind for thing in scene.things)
    return [thing for thing in scene.things if kinds[thing.kind] == 1]


OTHER_WORDING = {
    "left_right": "On which side of the {b} is the {a}, left or right?", "above_below": "Where is the {a}, above or below the {b}?",
}


def compared(task, at, low, high, scene, chance, is_suite_wording):
    things = with_own_name(scene)
    pairs = [(a, b) for a in things for b in things if abs(at(a) - at(b)) >= CLEARLY_APART]
    if not pairs:
        return None
    a, b = chance.choice(pairs)
    wording = SPATIAL_DIRECT[task] if is_suite_wording or chance.random() < 0.8 else OTHER_WORDING[task]
    return Question(task, fill(wording, a=the(a), b=the(b)), [" " + (low if at(a) < at(b) else high)])


def left_right(scene, chance, is_suite_wording=False):
    return compared("left_right", lambda thing: thing.x, "left", "right", scene, chance, is_suite_wording)


def above_below(scene, chance, is_suite_wording=False):
    return compared("above_below", lambda thing: thing.y, "above", "below", scene, chance, is_suite_wording)


def about_one(task, things, template, name, answer, chance):
    if not things:
        return None
    thing = chance.choice(things)
    return Question(task, fill(template, a=Mention(f" {name(thing)}", thing)), [f" {answer(thing)}"])


def color_of(scene, chance):
    return about_one("color_of", with_own_kind(scene), "What color is the {a}?", lambda thing: thing.kind, lambda thing: thing.color, chance)


def size_of(scene, chance):
    return about_one("size_of", with_own_name(scene), "Is the {a} small or large?", lambda thing: thing.name, lambda thing: thing.size, chance)


def kind_of(scene, chance):
    colors = Counter(thing.color for thing in scene.things)
    things = [thing for thing in scene.things if colors[thing.color] == 1]
    return about_one("kind_of", things, "What is the {a} object?", lambda thing: thing.color, lambda thing: thing.kind, chance)


def position_of(scene, chance):
    return about_one("position_of", with_own_name(scene), "Where is the {a} in the image?", lambda thing: thing.name, position, chance)


def count_of(scene, chance):
    """Of a kind that is there, four times of five; a number is as likely as scenes make it."""
    kind = chance.choice(scene.things).kind if chance.random() < 0.8 else chance.choice(KINDS)
    n = sum(thing.kind == kind for thing in scene.things)
    return Question("count_of", [f"How many {plural(kind)} are there?"], [f" {n}"])


def count_all(scene, chance):
    return Question("count_all", ["How many objects are there?"], [f" {len(scene.things)}"])


def is_there(scene, chance):
    """Half the time it is; where it is not, its colour or its kind often is."""
    thing = chance.choice(scene.things)
    if chance.random() < 0.5:
        return Question("is_there", fill("Is there a {a}?", a=the(thing)), [" yes"])
    other = chance.choice(scene.things)
    name = chance.choice([f"{thing.color} {other.kind}", f"{thing.color} {chance.choice(KINDS)}", f"{chance.choice(COLORS)} {thing.kind}"])
    if any(thing.name == name for thing in scene.things):
        return None
    return Question("is_there", [f"Is there a {name}?"], [" no"])


def setting_of(scene, chance):
    prompt, answer = chance.choice([
        ("What kind of place is this?", scene.place), ("What time of day is it?", scene.time),
        ("What is the weather like?", scene.weather),
    ])
    return Question("setting_of", [prompt], [f" {answer}"])


DIRECT = {
    left_right: 5, above_below: 6, color_of: 3, size_of: 3, kind_of: 2, position_of: 3, count_of: 4, count_all: 1, is_there: 2,
    setting_of: 1,
}
"""Each kind of direct question and how often it comes up."""


def direct(scene, chance):
    while True:
        question = chance.choices(list(DIRECT), list(DIRECT.values()))[0](scene, chance)
        if question:
            return question


LISTED = {"caption_brief": 3, "objects_and_counts": 5, "attributes": 4, "spatial_relationships": 4, "scene_context": 1, "counts_json": 1}
"""How often each listing task comes up: what is learned soon comes up less."""
LISTED_EACH = 3


def for_training(scene, chance):
    """Some listing tasks, then direct questions without end: training takes as many as fit."""
    for _ in range(LISTED_EACH):
        yield listing(chance.choices(list(LISTED), list(LISTED.values()))[0], scene, chance)
    while True:
        yield direct(scene, chance)


LOOKUPS = [color_of, size_of, kind_of, position_of, count_of, count_all, is_there]


def lookups(scene, chance):
    """One of each kind that no suite asks, as far as the scene gives it."""
    return [question for question in (ask(scene, chance) for ask in LOOKUPS) if question]


def for_validation(scene, chance):
    """Each question once, in the suites' wording where there is one."""
    questions = [listing(task, scene, chance, is_suite_wording=True) for task in EDGE_VISION]
    questions += [left_right(scene, chance, True), above_below(scene, chance, True)]
    return [question for question in questions if question] + lookups(scene, chance)
