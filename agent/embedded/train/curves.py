"""Draws a run's `log.jsonl` as `curves.png` beside it: what it learns, over steps. Needs matplotlib.

    curves.py RUN
"""
import json, sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

SMOOTH = 15
PANELS = {
    "losses in training": ["answers", "tiles", "pointers"],
    "helpers in training: share right": ["kind_right", "color_right", "named_right", "coming_right"],
    "listing tasks, validation: whole answers right": [
        "caption_brief", "objects_and_counts", "attributes", "spatial_relationships", "scene_context",
    ],
    "asked directly, validation: right": [
        "left_right", "above_below", "color_of", "size_of", "kind_of", "position_of", "count_of", "count_all", "is_there",
    ],
}


def main():
    run = Path(sys.argv[1])
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    training = [line for line in lines if "answers" in line]
    validation = [line["validation"] | {"step": line["step"]} for line in lines if "validation" in line]
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 9), constrained_layout=True)
    for axis, (title, keys) in zip(axes.flat, PANELS.items()):
        is_validation = "validation" in title
        for key in keys:
            points = [(line["step"], line[key]) for line in (validation if is_validation else training) if key in line]
            if points:
                steps, values = zip(*points)
                axis.plot(steps, values if is_validation else smooth(values), label=key, marker="." if is_validation else None)
        axis.set(title=title, xlabel="step")
        axis.set_yscale("log") if "losses" in title else axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize="small")
    figure.suptitle(f"{run.name}: {lines[-1]['step']:,} steps, {lines[-1]['cpu_s'] / 3600:.1f} CPU hours")
    figure.savefig(run / "curves.png", dpi=110)


def smooth(values):
    return [sum(values[max(0, i - SMOOTH + 1):i + 1]) / len(values[max(0, i - SMOOTH + 1):i + 1]) for i in range(len(values))]


if __name__ == "__main__":
    main()
