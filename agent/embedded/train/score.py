"""Scores answers as `proto/domain/src/metrics/quality` does, for answers in the suites' own grammar; anything else scores 0.

`evaluate.py` holds both against each other on the same answers: they must agree.
"""
import re
from collections import Counter

from questions import NUMBER_WORDS, PLACE_PHRASES, TIME_PHRASES, plural, position
from scenes import COLORS, KINDS, PLACES, TIMES, WEATHERS

SINGULAR = {plural(kind): kind for kind in KINDS} | {kind: kind for kind in KINDS}
PLACE_OF = {PLACE_PHRASES.get(place, place): place for place in PLACES}
TIME_OF = {TIME_PHRASES[time]: time for time in TIMES}
NAME = f"({'|'.join(COLORS)}) ({'|'.join(KINDS)})"


def score(task, answer, scene, expected=None):
    """Score ids as in the agent's reports, and values from 0 to 1."""
    return SCORES[task](answer.strip(), scene if expected is None else expected)


def f1(said, true):
    """Over multisets."""
    said, true = Counter(said), Counter(true)
    total = said.total() + true.total()
    return 2 * (said & true).total() / total if total else 1.0


def counts(answer, scene):
    sums = Counter()
    for kind, n in re.findall(r"([a-z]+): (\d+)", answer):
        sums[kind] += int(n)
    said = {(kind, n) for kind, n in sums.items() if n}
    true = set(Counter(thing.kind for thing in scene.things).items())
    return dict(counts_f1=f1(said, true), counts_exact=float(said == true))


def attributes(answer, scene):
    said = [tuple(part.split()) for part in answer.split(", ")]
    true = [(thing.size, thing.color, thing.kind) for thing in scene.things]
    return dict(attributes_f1=f1(said, true), attributes_exact=float(Counter(said) == Counter(true)))


def caption(answer, scene):
    begin, _, end = answer.partition(" with ")
    read = re.fullmatch(rf"A (?:({'|'.join(WEATHERS)}) )?({'|'.join(PLACE_OF)}) ({'|'.join(TIME_OF)})", begin)
    weather, place, time = read.groups() if read else (None, None, None)
    said = {("place", PLACE_OF.get(place)), ("time", TIME_OF.get(time)), ("weather", weather)}
    true = {("place", scene.place), ("time", scene.time)}
    if scene.weather != "indoors":
        true.add(("weather", scene.weather))
    for group in re.split(r", | and ", end.removesuffix(".")):
        n, color, kind = (group.split() + [""] * 3)[:3]
        if n in NUMBER_WORDS and kind in SINGULAR:
            said.add((NUMBER_WORDS.index(n), color, SINGULAR[kind]))
    true |= {(n, *name.split()) for name, n in Counter(thing.name for thing in scene.things).items()}
    return dict(caption_true_facts=len(said & true) / len(true))


def spatial(answer, scene):
    statements = [part for part in re.split(r"\.\s*", answer) if part]
    true = sum(is_true(statement, scene.things) for statement in statements)
    return dict(spatial_true=true / len(statements) if statements else 0.0)


HOLDS = {
    "left of": lambda one, other: one.x < other.x, "right of": lambda one, other: one.x > other.x,
    "above": lambda one, other: one.y < other.y, "below": lambda one, other: one.y > other.y,
}


def is_true(statement, things):
    if read := re.fullmatch(rf"The {NAME} is ({'|'.join(HOLDS)}) the {NAME}", statement):
        one, other = f"{read[1]} {read[2]}", f"{read[4]} {read[5]}"
        return any(a is not b and a.name == one and b.name == other and HOLDS[read[3]](a, b) for a in things for b in things)
    if read := re.fullmatch(rf"The {NAME} is at the (\w+ \w+)", statement):
        return any(thing.name == f"{read[1]} {read[2]}" and position(thing) == read[3] for thing in things)
    return False


def scene_context(answer, scene):
    said = dict(re.findall(r"(\w+): (\w+)", answer))
    return dict(scene_true_facts=sum(said.get(key) == getattr(scene, key) for key in ["place", "time", "weather"]) / 3)


def exact(answer, expected):
    return dict(direct_exact=float(answer == expected.strip()))


SCORES = {
    "caption_brief": caption, "objects_and_counts": counts, "attributes": attributes, "spatial_relationships": spatial,
    "scene_context": scene_context, "left_right": exact, "above_below": exact,
}
