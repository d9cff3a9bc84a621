#!/usr/bin/env python3
"""One model, several engines, one table: the embedded engine, llama.cpp's server, transformers and vLLM answer the same scenes.

    servers.py [--engines embedded,llama.cpp,transformers,vllm] [--model DIR] [--peers DIR] [--limit 20] [--concurrency 1,2,4] [--out DIR]

All on the tiny reference model in F32: the GGUF of this repository for the first two; transformers and vLLM need it in transformers'
form, a folder, which --model names and `agent/embedded/train/folder.py` makes. llama.cpp's server comes in the wheel `xllamacpp`, installed into DIR (target/peers) where it is
missing; `install_vllm` installs the other two. Asked is the suite `edge-vision`, greedily.

What must hold: embedded and llama.cpp's server give the same answer to at least 98 % of the prompts, and count the same tokens; the
scores of transformers and vLLM are within 2 points of the embedded engine's, over all tasks.
"""
import argparse, contextlib, json, os, pathlib, shutil, socket, statistics, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
AGENT = ROOT / "target/release/tokwatt-agent"
GGUF = ROOT / "agent/embedded/model"
SAME_ANSWERS, SCORE_POINTS = 0.98, 2.0
# The leading score of each task.
SCORES = {"caption_brief": "caption_true_facts", "objects_and_counts": "counts_f1", "attributes": "attributes_f1",
          "spatial_relationships": "spatial_true", "scene_context": "scene_true_facts"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="embedded,llama.cpp,transformers,vllm")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "target/peers")
    parser.add_argument("--limit", default="20")
    parser.add_argument("--concurrency", default="1,2,4")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    out = arguments.out or pathlib.Path(tempfile.mkdtemp())
    engines = {"embedded": contextlib.nullcontext, "llama.cpp": llama_cpp, "transformers": transformers, "vllm": vllm}
    bundles = {}
    for name in arguments.engines.split(","):
        with engines[name](*[arguments, out] if name != "embedded" else []) as server:
            flags = ["--backend", "openai", "--url", server[0], "--model", server[1], "--precision", "f32"] if server else []
            bundles[name] = bench(flags, arguments, out / name)
    table(bundles)
    is_well = agreement(bundles)
    if not arguments.out:
        shutil.rmtree(out)
    return 0 if is_well else 1


def bench(flags, arguments, folder):
    """The bundle of one bench: its runs, and every answer by task, picture and concurrency."""
    command = [AGENT, "--data", folder.parent / f"{folder.name}-data", "bench", *flags, "--limit", arguments.limit, "--concurrency", arguments.concurrency,
               "--repeat", "1", "--quick", "--power", "none", "--out", folder, "--format", "json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode == 2:
        sys.exit(f"{folder.name}: {done.stderr[-3000:]}")
    runs = json.loads((folder / "bench.json").read_text())["runs"]
    answers = {}
    for path in (folder / "traces").glob("*.json"):
        trace = json.loads(path.read_text())
        identity = trace["header"]["cell"]
        for request in (request for segment in trace["segments"] for request in segment["requests"]):
            answers[identity["task"], identity["load"]["closed"], request["item"]] = (request["answer"], request["tokens"])
    return runs, answers


def table(bundles):
    print(f"{'engine':<13} {'task':<22} {'c':>2} {'ok':>7} {'ttft ms':>8} {'tpot ms':>8} {'latency ms':>10} {'output tok/s':>12} {'req/s':>7} {'tokens/answer':>13} {'score':>6}")
    for engine, (runs, _) in bundles.items():
        for run in runs:
            cell, metrics = run["cell"], run["metrics"]
            median = lambda name: metrics[name] and metrics[name]["p50"]
            show = lambda value, digits: "–" if not isinstance(value, (int, float)) else f"{value:.{digits}f}"
            milli = lambda name: show(median(name) and 1e3 * median(name) if not isinstance(median(name), str) else None, 2)
            tokens = run["totals"].get("completion_tokens")
            print(f"{engine:<13} {cell['task']:<22} {cell['load']['closed']:>2} {run['requests']['succeeded']:>3}/{run['requests']['issued']:<3} {milli('ttft'):>8} {milli('tpot'):>8} "
                  f"{milli('request_latency'):>10} {show(metrics['output_tps'], 1):>12} {show(metrics['requests_per_s'], 2):>7} "
                  f"{show(tokens and tokens / max(run['requests']['succeeded'], 1), 1):>13} {show(score(run), 3):>6}")


def score(run):
    return run["quality"].get(SCORES[run["cell"]["task"]])


def agreement(bundles):
    is_well = True
    if "embedded" not in bundles:
        return is_well
    own_runs, own = bundles["embedded"]
    overall = lambda runs: 100 * statistics.mean(score(run) for run in runs)
    for engine, (runs, answers) in bundles.items():
        if engine == "embedded":
            continue
        shared = [key for key in own if key in answers]
        same = statistics.mean(own[key][0].strip() == answers[key][0].strip() for key in shared)
        counted = [key for key in shared if own[key][0].strip() == answers[key][0].strip() and own[key][1] and answers[key][1]]
        counts = lambda key: [[tokens[kind] for kind in ("prompt", "completion")] for tokens in (own[key][1], answers[key][1])]
        equal = statistics.mean(left == right for left, right in map(counts, counted)) if counted else float("nan")
        points = overall(runs) - overall(own_runs)
        print(f"{engine} beside embedded: the same answer to {100 * same:.1f} % of {len(shared)}, of these the same token counts {100 * equal:.1f} %; "
              f"score {overall(runs):.2f} against {overall(own_runs):.2f} ({points:+.2f} points)")
        if engine == "llama.cpp":
            is_well &= same >= SAME_ANSWERS and equal == 1
        else:
            is_well &= abs(points) <= SCORE_POINTS
    print("as it must be" if is_well else f"not as it must be: {100 * SAME_ANSWERS:.0f} % the same answers and all token counts of llama.cpp's server, {SCORE_POINTS} points")
    return is_well


@contextlib.contextmanager
def llama_cpp(arguments, out):
    home = arguments.peers / "xllamacpp"
    if not home.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin/pip", "install", "--quiet", "xllamacpp==2026.10.11549"], check=True)
    slots = max(map(int, arguments.concurrency.split(",")))
    command = [home / "bin/python", HERE.parent / "harness/llama_server.py", GGUF / "tiny-vlm-f32.gguf", "--mmproj", GGUF / "tiny-vlm-mmproj-f32.gguf",
               "--alias", "tiny-vlm", "--context", "2048", "--parallel", str(slots), "--until-stdin-closes"]
    log = out / "llama.cpp.log"
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=file)
    try:
        url = wait(process, log, lambda: next(line.split()[-1] for line in log.read_text().splitlines() if line.startswith("listening on")))
        yield url, "tiny-vlm"
    finally:
        process.stdin.close()
        process.wait()


def transformers(arguments, out):
    return served(arguments, out, "transformers", ["serve", "./model", "--device", "cpu", "--dtype", "float32"], "./model")


def vllm(arguments, out):
    return served(arguments, out, "vllm", ["serve", "./model", "--served-model-name", "tiny-vlm", "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "4",
                                           "--enforce-eager", "--limit-mm-per-prompt", '{"image": 1}'], "tiny-vlm")


@contextlib.contextmanager
def served(arguments, out, program, flags, name):
    if not arguments.model:
        sys.exit(f"{program}: --model DIR names the tiny model in transformers' form; or leave it out of --engines")
    executable = arguments.peers.resolve() / "vllm/bin" / program
    if not executable.exists():
        sys.exit(f"no `{executable}`: `{HERE / 'install_vllm'} {arguments.peers / 'vllm'}` installs it (6 GB)")
    here = out / f"{program}-home"
    here.mkdir()
    (here / "model").symlink_to(arguments.model.resolve())
    environment = dict(os.environ, PATH=f"{executable.parent}:{os.environ['PATH']}", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", OMP_NUM_THREADS="1", VLLM_TARGET_DEVICE="cpu",
                       VLLM_CPU_KVCACHE_SPACE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = out / f"{program}.log"
    with open(log, "w") as file:
        process = subprocess.Popen([executable, *flags, "--host", "127.0.0.1", "--port", str(port)], cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        url = f"http://127.0.0.1:{port}"
        wait(process, log, lambda: urllib.request.urlopen(f"{url}/health", timeout=5).status)
        yield url, name
    finally:
        process.terminate()
        process.wait()


def wait(process, log, ready, minutes=5):
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and process.poll() is None:
        try:
            return ready()
        except (OSError, StopIteration):
            time.sleep(0.1)
    sys.exit(f"the server did not come up:\n{log.read_text()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
