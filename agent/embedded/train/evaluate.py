"""Asks exported files about scenes that training never saw, by the embedded engine and by transformers.

    evaluate.py AGENT SPEED EXPORT --scenes FOLDER [--split test] [--limit 1000] [--precisions f32,q8_0] [--transformers 200]

SPEED is the engine's example of that name, EXPORT what `export.py` wrote; `report-SPLIT.json` in it keeps the figures. `bench` asks the
suites about the split's seeds; scores are given over all pictures and over those of up to four objects, beside the best constant answer
and one that knows the grammar only, and speed as the median over the tasks of `edge-vision`.
The first `--transformers` pictures are also asked by transformers in F32, in its own layout and in llama.cpp's: scores, and how
many answers to `edge-vision` are the engine's, id for id.
Look-ups that no suite asks (colour, size, …) are asked by transformers in llama.cpp's layout, about the `--limit` first pictures.
"""
import argparse, json, random, statistics, subprocess, sys, tempfile
from pathlib import Path

import torch

import model as tiny
import questions
from scenes import SPLITS, Scenes, draw_pictures
from score import score

SUITES = ["edge-vision", "spatial-direct"]
SUITE_PICTURES = 500
"""As many as a suite has; more are asked about in several benches, each with a first seed of its own."""

SPEED = ["decode_tps", "requests_per_s"]
FEW = 4
AT_ONCE = 64
LOOKUP_ROWS_EACH = 3
ANSWER_TOKENS_MAX = 64


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("agent")
    arguments.add_argument("speed")
    arguments.add_argument("export", type=Path)
    arguments.add_argument("--scenes", type=Path, required=True)
    arguments.add_argument("--split", default="test", choices=["validation", "test"])
    arguments.add_argument("--limit", type=int, default=1000)
    arguments.add_argument("--precisions", default="f32,q8_0")
    arguments.add_argument("--transformers", type=int, default=0)
    options = arguments.parse_args()
    scenes = Scenes(options.scenes, options.split)
    report = {"split": options.split, "first_seed": SPLITS[options.split][0], "pictures": options.limit}
    asked = {}
    for precision in options.precisions.split(","):
        asked[precision], baselines, speed = by_engine(options, precision, scenes)
        report |= {"baselines": baselines, precision: summary(asked[precision]) | speed}
    reader = Reader(options.export / "hf", scenes.pictures)
    report["lookups"] = lookups(reader, scenes, options.limit)
    if options.transformers:
        some = [case for case in asked["f32"] if case["picture"] < options.transformers]
        report["engine_f32_same_pictures"] = summary(some)
        by_engine_ids = ids_of_engine(options)
        for layout, prefix in [("one_view", reader.words.one_view), ("two_views", reader.words.two_views)]:
            answers = reader.ask([(case["picture"], case["prompt"]) for case in some], prefix)
            others = [case | {"answer": reader.text(ids)} for ids, case in zip(answers, some)]
            same = [ids == by_engine_ids[case["picture"], case["task"]] for ids, case in zip(answers, some)
                    if case["task"] in questions.EDGE_VISION]
            report[f"transformers_{layout}"] = summary(others) | {"answers": len(same), "same_ids_as_engine": mean(same)}
    text = json.dumps(report, indent=1)
    print(text)
    (options.export / f"report-{options.split}.json").write_text(text + "\n")


def mean(values):
    return round(sum(values) / len(values), 4)


def by_engine(options, precision, scenes):
    """Every answer of both suites, what their baselines get, and how fast it was."""
    cases, baselines, metrics = [], {}, []
    for suite in SUITES:
        for first in range(0, options.limit, SUITE_PICTURES):
            for report, answers in bench(options, precision, suite, first, scenes):
                cases += answers
                for key, value in report["quality"].items():
                    if key.endswith((".constant", ".grammar")):
                        baselines.setdefault(f"{report['cell']['task']}.{key}", []).append(value)
                if suite == "edge-vision":
                    metrics.append(report["metrics"])
    speed = {name: round(statistics.median(of_task[name] for of_task in metrics), 2) for name in SPEED}
    return cases, {key: mean(values) for key, values in baselines.items()}, speed


def bench(options, precision, suite, first, scenes):
    """Reports and answers of one suite, asked about as many pictures as it has, from this one of the split."""
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        command = [options.agent, "bench", "--suite", suite, "--model", options.export / f"tiny-vlm-{precision}.gguf",
                   "--mmproj", options.export / "tiny-vlm-mmproj-f32.gguf", "--seed", SPLITS[options.split][0] + first,
                   "--limit", min(SUITE_PICTURES, options.limit - first), "--power", "none", "--quick", "--repeat", 1, "--threads", 1,
                   "--format", "json", "--data", home / "data", "--out", home / "bundle"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench failed:\n{done.stderr}")
        reports = {run["run"]: run for run in json.loads(done.stdout)["runs"]}
        for path in sorted((home / "bundle/traces").iterdir()):
            trace = json.loads(path.read_text())
            report = reports[trace["header"]["run"]]
            answers = read_trace(trace, report["cell"]["task"], options.split, scenes)
            compare_scores(report["quality"], answers)
            yield report, answers


def ids_of_engine(options):
    """What the engine answers in F32, as ids, by picture and task."""
    tasks = list(questions.EDGE_VISION)
    with tempfile.TemporaryDirectory() as home:
        drawn = draw_pictures(options.agent, SPLITS[options.split][0], options.transformers, Path(home))
        pictures = sorted(drawn.glob("scene_*.png"))
        command = [options.speed, options.export / "tiny-vlm-f32.gguf", options.export / "tiny-vlm-mmproj-f32.gguf", 1, 1,
                   *pictures, "--", *questions.EDGE_VISION.values()]
        lines = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.splitlines()[1:]
    return {(place // len(tasks), tasks[place % len(tasks)]): json.loads(line)["ids"] for place, line in enumerate(lines)}


def read_trace(trace, task, split, scenes):
    requests = sorted((request for segment in trace["segments"] for request in segment["requests"]), key=lambda one: one["index"])
    cases = []
    for number, request in enumerate(requests):
        picture = int(request["item"].removeprefix("scene-")) - SPLITS[split][0]
        prompt, expected = [questions.EDGE_VISION.get(task)], None
        if task in questions.SPATIAL_DIRECT:
            prompt, expected = direct_question(task, scenes[picture], number)
            assert expected == request["truth"]["answer"]["expected"], request
        cases.append(dict(task=task, picture=picture, scene=scenes[picture], prompt=prompt, expected=expected, answer=request["answer"]))
    return cases


def direct_question(task, scene, number):
    """As `agent/src/workload/relation.rs` asks it: pairs take turns, and so do the answers."""
    at, words = {"left_right": (lambda thing: thing.x, ["left", "right"]), "above_below": (lambda thing: thing.y, ["above", "below"])}[task]
    things = questions.with_own_name(scene)
    pairs = [(low, high) for low in things for high in things if at(high) >= at(low) + questions.CLEARLY_APART]
    pair = pairs[number // 2 % len(pairs)]
    a, b = pair if number % 2 == 0 else reversed(pair)
    return questions.fill(questions.SPATIAL_DIRECT[task], a=questions.the(a), b=questions.the(b)), words[number % 2]


def compare_scores(quality, cases):
    """Our scorer must agree with the agent's."""
    for key, ours in scores_of(cases).items():
        if abs(ours - quality[key]) > 1e-4:
            print(f"score {key}: {ours} here, {quality[key]} by the agent", file=sys.stderr)


def scores_of(cases):
    scores = {}
    for case in cases:
        for key, value in score(case["task"], case["answer"], case["scene"], case["expected"]).items():
            scores.setdefault(key if key != "direct_exact" or len({c["task"] for c in cases}) == 1 else case["task"], []).append(value)
    return {key: sum(values) / len(values) for key, values in scores.items()}


def summary(cases):
    few = [case for case in cases if len(case["scene"].things) <= FEW]
    by_number = {}
    for case in cases:
        if case["task"] == "objects_and_counts":
            by_number.setdefault(len(case["scene"].things), []).append(score(case["task"], case["answer"], case["scene"])["counts_exact"])
    rounded = lambda scores: {key: round(value, 4) for key, value in scores.items()}
    return {"all": rounded(scores_of(cases)), f"up_to_{FEW}_objects": rounded(scores_of(few)),
            "counts_exact_by_objects": {n: [mean(found), len(found)] for n, found in sorted(by_number.items())}}


class Reader:
    """The Hugging Face folder, read by transformers, and the pictures that it is asked about."""

    def __init__(self, folder, pictures):
        self.model, self.words, self.pictures = tiny.load(folder).eval(), tiny.Words(), pictures

    @torch.no_grad()
    def ask(self, asked, prefix):
        """Greedy answers as ids, without the one that ends them, to pairs of a picture's number and a prompt."""
        prompts = [prefix + tiny.encode_parts(self.words, prompt).ids + self.words.ask for _, prompt in asked]
        by_length = {}
        for index, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(index)
        answers = [[]] * len(asked)
        for indices in by_length.values():
            for some in (indices[first:first + AT_ONCE] for first in range(0, len(indices), AT_ONCE)):
                ids = torch.tensor([prompts[index] for index in some])
                pictures = torch.tensor(self.pictures[[asked[index][0] for index in some]])
                pixels = tiny.pixels_of(pictures)[:, None].repeat(1, prefix.count(self.words.image) // tiny.IMAGE_TOKENS, 1, 1, 1)
                out = self.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels, do_sample=False,
                                          max_new_tokens=ANSWER_TOKENS_MAX, eos_token_id=self.words.end, pad_token_id=0)
                for index, row in zip(some, out[:, ids.shape[1]:].tolist()):
                    answers[index] = row[:row.index(self.words.end)] if self.words.end in row else row
        return answers

    def text(self, ids):
        return self.words.tokenizer.decode(ids).strip()


@torch.no_grad()
def lookups(reader, scenes, limit):
    """Share right of questions that no suite asks, in llama.cpp's layout, by the number of objects."""
    chance, found = random.Random(2), {"all": {}, f"up_to_{FEW}_objects": {}}
    for first in range(0, limit, AT_ONCE):
        indices = range(first, min(first + AT_ONCE, limit))
        asked = [questions.lookups(scenes[index], chance) for index in indices]
        batch = tiny.pack(reader.words, asked, LOOKUP_ROWS_EACH)
        features = tiny.see(reader.model, torch.tensor(reader.pictures[indices.start:indices.stop]))
        after = tiny.read(reader.model, reader.words, features, batch, is_two_views=True)
        whole = tiny.whole_answers(batch, tiny.answers(reader.model, after, batch)[1])
        for task, picture, right in zip(batch.tasks, batch.pictures, whole):
            for group in ["all"] + [f"up_to_{FEW}_objects"] * (len(scenes[first + picture].things) <= FEW):
                found[group].setdefault(task, []).append(right)
    return {group: {task: [mean(right), len(right)] for task, right in sorted(by_task.items())} for group, by_task in found.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
