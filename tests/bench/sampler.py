#!/usr/bin/env python3
"""What reading power costs: CPU share of one core and resident memory of our sampler beside two peers, interleaved, in one run.

    sampler.py [--jetson-stats PYTHON] [--seconds 10] [--rounds 3]

Instruments: the drivers' files of an AGX Orin (a copy of the fixture in a tmpfs; real ones add the bus's time, to everybody alike) and
`tegrastats` (real lines every 100 or 10 ms, whose own cost is nobody's). Peers: jetson-stats' own reader and parser of tegrastats
(--jetson-stats names a Python that has it: `python3 -m venv V && V/bin/pip install jetson-stats`), and what telegraf's `exec` and many
scripts do: a shell that starts programs for every reading. For ours: `cargo build --release --workspace --bins --examples`.

CPU is the reader's user and system time, without start-up; for the shell that of the programs it starts as well. So other work on
the machine matters little. Targets: at most 1 % at 10 Hz, 3 % at 100 Hz, 20 MB.
"""
import argparse, json, os, pathlib, resource, shutil, statistics, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FAKE = HERE / "fake_tegrastats.py"
TARGETS = {10: 1.0, 100: 3.0}
RSS_TARGET_MB = 20


def ours(power, root, interval_ms, seconds):
    release = ROOT / "target/release"
    command = [release / "examples/sampler", power, root, FAKE, str(interval_ms), str(seconds), release / "tokwatt-agent"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def jetson_stats(python, interval_ms, seconds):
    done = subprocess.run([python, __file__, "--as-jetson-stats", str(interval_ms), str(seconds)], capture_output=True, check=True, text=True)
    return json.loads(done.stdout)


def as_jetson_stats(interval_ms, seconds):
    """Runs inside the Python that has it: its class starts the tool, reads and parses in a thread, as its service does."""
    from jtop.core.tegrastats import Tegrastats
    seen = []
    reader = Tegrastats(lambda stats: seen.append(len(stats["WATT"])), [str(FAKE)])
    begin, cpu = time.monotonic(), time.process_time()
    reader.open(interval_ms / 1e3)
    time.sleep(seconds)
    wall, cpu = time.monotonic() - begin, time.process_time() - cpu
    rss = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(dict(wall_s=wall, cpu_s=cpu, rss_bytes=rss, samples=len(seen))), flush=True)
    reader.close(timeout=5)


def shell(reading, interval_ms, seconds):
    """A reading, a pause, again: the loop is paced by the pause, so it is slower than asked."""
    script = f"""end=$(($(date +%s) + {seconds})); n=0
while [ $(date +%s) -lt $end ]; do {reading} > /dev/null; n=$((n + 1)); sleep {interval_ms / 1e3}; done; echo $n"""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True)
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return dict(wall_s=wall, cpu_s=cpu, rss_bytes=None, samples=int(done.stdout))


def shell_files(root, interval_ms, seconds):
    files = " ".join(f"{root}/sys/class/hwmon/hwmon3/{name}{n}_input" for n in (1, 2, 3) for name in ("in", "curr"))
    return shell(f"cat {files}", interval_ms, seconds)


def shell_lines(interval_ms, seconds):
    """The tool's line is there already; taking the rails out of it is what is started each time."""
    line = next(iter(subprocess.Popen([FAKE, "--interval", "1000"], stdout=subprocess.PIPE, text=True).stdout))
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm") as file:
        file.write(line)
        file.flush()
        return shell(f"sed -n 's/.*VDD_GPU_SOC \\([0-9]*\\).*/\\1/p' {file.name}", interval_ms, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jetson-stats", metavar="PYTHON")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as-jetson-stats", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_jetson_stats:
        return as_jetson_stats(*arguments.as_jetson_stats)
    root = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        shutil.copytree(ROOT / "tests/fixtures/host/agx-orin", root / "host")
        return compare(arguments, root / "host")
    finally:
        shutil.rmtree(root)


def compare(arguments, root):
    seconds, python = arguments.seconds, arguments.jetson_stats
    readers = {}
    for hertz in (10, 100):
        ms = 1000 // hertz
        readers["files", hertz, "tokwatt"] = lambda ms=ms: ours("ina", root, ms, seconds)
        readers["files", hertz, "shell loop"] = lambda ms=ms: shell_files(root, ms, seconds)
        readers["tegrastats", hertz, "tokwatt"] = lambda ms=ms: ours("tegrastats", "/", ms, seconds)
        if python:
            readers["tegrastats", hertz, "jetson-stats"] = lambda ms=ms: jetson_stats(python, ms, seconds)
        readers["tegrastats", hertz, "shell loop"] = lambda ms=ms: shell_lines(ms, seconds)
    figures = {reader: [] for reader in readers}
    for _ in range(arguments.rounds):
        for reader, read in readers.items():
            figures[reader].append(read())
    print(f"median of {arguments.rounds} rounds of {seconds} s; CPU in % of one core")
    print(f"{'instrument':<11} {'Hz':>4}  {'reader':<13} {'readings/s':>10} {'CPU %':>8} {'µs/reading':>11} {'of ours':>8} {'MB':>6}")
    is_well = True
    for (instrument, hertz, reader), rounds in figures.items():
        median = lambda of: statistics.median(of(figure) for figure in rounds)
        share = lambda figure: 100 * figure["cpu_s"] / figure["wall_s"]
        each = lambda figure: 1e6 * figure["cpu_s"] / max(figure["samples"], 1)
        own = statistics.median(each(figure) for figure in figures[instrument, hertz, "tokwatt"])
        rss = median(lambda figure: (figure["rss_bytes"] or 0) / 1e6)
        print(f"{instrument:<11} {hertz:>4}  {reader:<13} {median(lambda f: f['samples'] / f['wall_s']):>10.1f} {median(share):>8.3f} "
              f"{median(each):>11.1f} {median(each) / own:>7.1f}x {f'{rss:.1f}' if rss else '–':>6}")
        if reader == "tokwatt":
            is_well &= median(share) <= TARGETS[hertz] and rss <= RSS_TARGET_MB
    print("within the targets" if is_well else "beyond the targets: 1 % at 10 Hz, 3 % at 100 Hz, 20 MB")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
