#!/usr/bin/env python3
"""Prints real lines of AGX Orins, one after the other, every `--interval` milliseconds on the beat: what both readers read."""
import json, pathlib, sys, time

CORPUS = pathlib.Path(__file__).resolve().parent.parent / "fixtures/power.jsonl"

entries = map(json.loads, CORPUS.read_text().splitlines())
lines = [entry["raw"].rstrip() + "\n" for entry in entries
         if entry["kind"] == "tegrastats" and {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"} <= entry["expect"].get("rails_mw", {}).keys()]
assert lines, "the corpus has lines of AGX Orins"
interval = int(sys.argv[sys.argv.index("--interval") + 1]) / 1e3
due = time.monotonic()
try:
    for number in range(1 << 62):
        sys.stdout.write(lines[number % len(lines)])
        sys.stdout.flush()
        due = max(due + interval, time.monotonic())
        time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
except (BrokenPipeError, KeyboardInterrupt):
    sys.stderr.close()
