"""Trains the tiny model on our own scenes; goes on where it was stopped.

    train.py RUN --scenes FOLDER --start FOLDER [--steps N]

RUN is a folder that comes to hold `latest.pt` (everything needed to go on, every few minutes and when told to stop),
`step-N.pt` (averaged weights to look back at) and `log.jsonl` (`curves.py` draws it). Called again, it goes on; with a larger
`--steps` it goes on for longer. What a step sees depends on the seed and the step's number only.

The learning rate rises, stays, and falls over the last part: where it stays, the run may be made longer or be ended early.
"""
import argparse, json, math, os, random, signal, time
from pathlib import Path

import numpy as np
import torch

import model as tiny
import questions
from scenes import Scenes

WARM_STEPS = 60
COOL_SHARE = 0.3
LEARNING_RATE = 1.2e-3
WEIGHT_DECAY = 0.02
PICTURES = 16
ROWS_EACH = 4
"""Rows of questions for each picture: three listing tasks and a dozen direct questions."""
TWO_VIEWS_SHARE = 0.5
TILES_WEIGHT, POINTERS_WEIGHT = 0.3, 0.2
AVERAGE_OVER = 500
"""Steps; the averaged weights are what is validated and exported."""

LOG_STEPS, VALIDATE_STEPS, KEEP_STEPS = 20, 250, 1000
SAVE_SECONDS = 240
VALIDATION_PICTURES = 512
VALIDATION_ROWS_EACH = 6


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--scenes", type=Path, required=True, help="folder that scenes.py wrote")
    arguments.add_argument("--start", type=Path, required=True, help="Hugging Face folder to start from")
    arguments.add_argument("--steps", type=int, default=8_000)
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--rate", type=float, default=LEARNING_RATE)
    train(arguments.parse_args())


def train(options):
    options.run.mkdir(parents=True, exist_ok=True)
    words, scenes = tiny.Words(), Scenes(options.scenes, "train")
    validation = Validation(words, Scenes(options.scenes, "validation"))
    state = State(options)
    log = Log(options.run / "log.jsonl", state)
    stop = StopAsked()
    saved = time.monotonic()
    while state.step < options.steps:
        rate = state.set_rate(rate_at(state.step, options.steps, options.rate))
        figures = state.learn(*batch_of(words, scenes, options.seed, state.step), words)
        log.add(rate=rate, **figures)
        is_last = state.step == options.steps
        if state.step % VALIDATE_STEPS == 0 or is_last:
            log.write(validation=validation.of(state.averaged))
        if state.step % KEEP_STEPS == 0 or is_last:
            save(state.averaged.state_dict(), options.run / f"step-{state.step}.pt")
        if time.monotonic() - saved > SAVE_SECONDS or is_last or stop.is_asked:
            save(state.pack(), options.run / "latest.pt")
            saved = time.monotonic()
        if stop.is_asked:
            break


def rate_at(step, steps, peak):
    cool = max(1, int(steps * COOL_SHARE))
    return peak * min(1, (step + 1) / WARM_STEPS, max(0.02, (steps - step) / cool))


def batch_of(words, scenes, seed, step):
    chance = random.Random(f"{seed} {step}")
    epoch, first = divmod(step * PICTURES, len(scenes) - PICTURES)
    order = np.random.default_rng([seed, epoch]).permutation(len(scenes))[first:first + PICTURES]
    shown = [scenes[index] for index in order]
    pictures = torch.from_numpy(scenes.pictures[np.sort(order)][np.argsort(np.argsort(order))])
    asked = [questions.for_training(scene, chance) for scene in shown]
    return pictures, shown, tiny.pack(words, asked, ROWS_EACH), chance.random() < TWO_VIEWS_SHARE


class State:
    """Everything that changes while training."""

    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.model = tiny.load(options.start).train()
        self.averaged = tiny.load(options.start).eval()
        self.helpers = tiny.Helpers(self.model.config.text_config.hidden_size)
        whole = self.model.model
        matrices = [p for part in (whole.vision_model.encoder, whole.text_model.layers, whole.connector) for p in part.parameters() if p.ndim == 2]
        known = {id(p) for p in matrices}
        others = [p for p in [*self.model.parameters(), *self.helpers.parameters()] if id(p) not in known]
        self.parameters = matrices + others
        self.optimizers = [
            torch.optim.Muon(matrices, lr=options.rate, weight_decay=WEIGHT_DECAY, momentum=0.95, ns_steps=4, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=options.rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY),
        ]
        self.step, self.cpu_seconds = 0, 0.0
        latest = options.run / "latest.pt"
        if latest.exists():
            self.unpack(torch.load(latest, weights_only=True))
        self.cpu_before = self.cpu_seconds - time.process_time()

    def set_rate(self, rate):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        return rate

    def learn(self, pictures, shown, batch, is_two_views, words):
        with torch.autocast("cpu", torch.bfloat16):
            features = tiny.see(self.model, pictures)
            after = tiny.read(self.model, words, features, batch, is_two_views)
            answers, is_right = tiny.answers(self.model, after, batch)
            tiles, kind_right, color_right = self.helpers.tiles(features, shown)
            pointers, named_right, coming_right = self.helpers.pointers(after, batch)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        (answers + TILES_WEIGHT * tiles + POINTERS_WEIGHT * pointers).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.average()
        self.cpu_seconds = self.cpu_before + time.process_time()
        exact = tiny.exact_by_task(batch, is_right)
        by_task = {f"exact_{task}": sum(right) / len(right) for task, right in exact.items()}
        return dict(answers=answers.item(), tiles=tiles.item(), pointers=pointers.item(), kind_right=kind_right,
                    color_right=color_right, named_right=named_right, coming_right=coming_right, **by_task)

    @torch.no_grad()
    def average(self):
        share = max(1 / AVERAGE_OVER, 1 / (1 + self.step / 4))
        for kept, new in zip(self.averaged.parameters(), self.model.parameters()):
            kept.lerp_(new, share)

    def parts(self):
        return {"model": self.model, "averaged": self.averaged, "helpers": self.helpers, "muon": self.optimizers[0], "adam": self.optimizers[1]}

    def pack(self):
        return {name: part.state_dict() for name, part in self.parts().items()} | {"step": self.step, "cpu_seconds": self.cpu_seconds}

    def unpack(self, packed):
        for name, part in self.parts().items():
            part.load_state_dict(packed[name])
        self.step, self.cpu_seconds = packed["step"], packed["cpu_seconds"]


class Validation:
    """Whole answers right, greedy, on the first validation scenes, in llama.cpp's layout."""

    def __init__(self, words, scenes, n=VALIDATION_PICTURES):
        chance = random.Random(1)
        self.words, self.pictures = words, torch.from_numpy(scenes.pictures[:n].copy())
        self.asked = [questions.for_validation(scenes[index], chance) for index in range(n)]

    @torch.no_grad()
    def of(self, model):
        right = {}
        for first in range(0, len(self.asked), PICTURES):
            batch = tiny.pack(self.words, self.asked[first:first + PICTURES], VALIDATION_ROWS_EACH)
            features = tiny.see(model, self.pictures[first:first + PICTURES])
            after = tiny.read(model, self.words, features, batch, is_two_views=True)
            for task, found in tiny.exact_by_task(batch, tiny.answers(model, after, batch)[1]).items():
                right.setdefault(task, []).extend(found)
        return {task: round(sum(found) / len(found), 4) for task, found in sorted(right.items())}


class Log:
    """One JSON object a line; figures of training are means over LOG_STEPS steps. Lines of steps that are done again are cut."""

    def __init__(self, path, state):
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.write_text("".join(json.dumps(line) + "\n" for line in lines if line["step"] <= state.step))
        self.path, self.state, self.sums, self.started = path, state, {}, time.monotonic()

    def add(self, **figures):
        for key, value in figures.items():
            self.sums.setdefault(key, []).append(value)
        if self.state.step % LOG_STEPS == 0:
            self.write(**{key: float(f"{sum(values) / len(values):.5g}") for key, values in self.sums.items()})
            self.sums = {}

    def write(self, **figures):
        line = dict(step=self.state.step, cpu_s=round(self.state.cpu_seconds), wall_s=round(time.monotonic() - self.started), **figures)
        with self.path.open("a") as log:
            log.write(json.dumps(line) + "\n")


class StopAsked:
    """SIGTERM and SIGINT: finish the step, save, end."""

    def __init__(self):
        self.is_asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, *_):
        self.is_asked = True


def save(what, path):
    growing = path.with_suffix(".growing")
    torch.save(what, growing)
    os.replace(growing, path)


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    main()
