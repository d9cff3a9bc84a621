"""Writes down what transformers answers, as ids, for the engine's tests: F32, in llama.cpp's layout, greedy.

    record.py EXPORT

EXPORT is what `export.py` wrote. Asked are the suites' questions and look-ups about the pictures of `../tests/pictures`, which
`suites draw … --seed 30000000` drew: the first ones of the test split. Writes `../tests/fixtures/transformers.jsonl`.
"""
import json, random, sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import questions
from evaluate import Reader
from scenes import facts_of, scene_of

TESTS = Path(__file__).parent.parent / "tests"


def main():
    truths = [json.loads(line) for line in (TESTS / "pictures/truth.jsonl").read_text().splitlines()]
    pictures = np.stack([np.asarray(Image.open(TESTS / "pictures" / truth["file"]).convert("RGB")) for truth in truths])
    reader = Reader(Path(sys.argv[1]) / "hf", pictures)
    scenes, chance = [scene_of(facts_of(truth["truth"])) for truth in truths], random.Random(3)
    asked = [(number, prompt) for number, scene in enumerate(scenes) for prompt in prompts(scene, chance)]
    answers = reader.ask(asked, reader.words.two_views)
    lines = [
        json.dumps(dict(picture=truths[number]["file"], prompt=questions.text_of(prompt), ids=ids, text=reader.text(ids)))
        for (number, prompt), ids in zip(asked, answers)
    ]
    (TESTS / "fixtures/transformers.jsonl").write_text("\n".join(lines) + "\n")


def prompts(scene, chance):
    direct = [questions.left_right(scene, chance, True), questions.above_below(scene, chance, True), *questions.lookups(scene, chance)]
    return [[prompt] for prompt in questions.EDGE_VISION.values()] + [question.prompt for question in direct if question]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
