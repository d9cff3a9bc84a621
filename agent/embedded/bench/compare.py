#!/usr/bin/env python3
"""Compares the engine with upstream llama.cpp: same files, questions, threads and instruction set, interleaved.

    compare.py --upstream 'COMMAND' [--llama-bench 'COMMAND'] [--transformers 'PYTHON FOLDER'] [--threads 1,2]
               [--precision f32,q8_0] [--rounds 5]

--upstream starts llama-server, --llama-bench llama-bench (decoding alone at the same depth, without sampling and text), --transformers names a
Python with torch and transformers and the model as a Hugging Face folder (F32 only; it shows the picture once where
llama.cpp shows it twice, so compare its times, not its prompt tokens); ours is `cargo build --release -p tokwatt-embedded --example speed`. Choose upstream's
x86-64-v3 backend (GGML_BACKEND_PATH=…/libggml-cpu-haswell.so), because ours is compiled for that; a second run
without it shows upstream's own dispatch. Needs nothing but Python's standard library.
"""
import argparse, base64, json, pathlib, shlex, socket, statistics, subprocess, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PICTURES = sorted((HERE / "../tests/pictures").resolve().glob("*.png"))
QUESTIONS = [
    "Describe this image in one sentence.",
    "List the objects and their counts.",
    "List each object with its size and color.",
    "Describe the spatial relationships between the objects.",
    "Describe the scene context: place, time and weather.",
]


def ours(speed, model, mmproj, threads):
    return answers_of([speed, model, mmproj, str(threads), "1", *PICTURES, "--", *QUESTIONS])


def by_transformers(command, threads):
    python, folder = shlex.split(command)
    return answers_of([python, HERE / "transformers_speed.py", folder, str(threads), *PICTURES, "--", *QUESTIONS])


def decode_by_llama_bench(command, model, threads, answers):
    """With as many tokens before and in the answer as ours have: attention costs more the more there is to look back at."""
    mean = lambda key: str(round(statistics.mean(answer[key] for answer in answers)))
    command = [*shlex.split(command), "-m", model, "-t", str(threads), "-p", "0", "-d", mean("prompt_tokens"),
               "-n", mean("tokens"), "-r", "40", "-o", "json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return found[0]["avg_ts"]


def answers_of(command):
    lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    return answers[0]["engine"], [
        dict(text=a["text"], prompt_tokens=a["prompt_tokens"], tokens=a["tokens"], prefill_ms=a["prefill_us"] / 1e3,
             encode_ms=a["encode_us"] / 1e3, decode_ms=a["decode_us"] / 1e3) for a in answers[1:]]


class Upstream:
    def __init__(self, command, model, mmproj, threads):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = "http://127.0.0.1:%d" % free.getsockname()[1]
        port = self.url.rsplit(":", 1)[1]
        self.process = subprocess.Popen(
            [*shlex.split(command), "-m", model, "--mmproj", mmproj, "-t", str(threads), "-c", "2048", "-np", "1",
             "--host", "127.0.0.1", "--port", port, "--no-webui"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                urllib.request.urlopen(self.url + "/health").read()
                break
            except OSError:
                time.sleep(0.1)
        self.engine = json.load(urllib.request.urlopen(self.url + "/props"))["build_info"]

    def ask(self, picture, question):
        image = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
        content = [dict(type="image_url", image_url=dict(url=image)), dict(type="text", text=question)]
        body = dict(temperature=0, max_tokens=96, cache_prompt=False, messages=[dict(role="user", content=content)])
        request = urllib.request.Request(self.url + "/v1/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        reply = json.load(urllib.request.urlopen(request))
        timings = reply["timings"]
        # As ours: the count includes the token that ends the answer, the time does not include computing the first one.
        return dict(text=reply["choices"][0]["message"]["content"], prompt_tokens=timings["prompt_n"],
                    tokens=timings["predicted_n"], prefill_ms=timings["prompt_ms"],
                    decode_ms=timings["predicted_ms"])

    def all(self):
        return [self.ask(picture, question) for picture in PICTURES for question in QUESTIONS]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def rates(answers):
    total = lambda key: sum(answer.get(key, 0) for answer in answers)
    return dict(decode=1e3 * total("tokens") / total("decode_ms"),
                prompt=1e3 * total("prompt_tokens") / total("prefill_ms"),
                prefill_ms=total("prefill_ms") / len(answers), encode_ms=total("encode_ms") / len(answers))


def compare(arguments, precision, threads):
    model = str(HERE / f"../model/tiny-vlm-{precision}.gguf")
    mmproj = str(HERE / "../model/tiny-vlm-mmproj-f32.gguf")
    upstream = Upstream(arguments.upstream, model, mmproj, threads)
    upstream.all()
    rounds, alone, torch, same = [], [], [], 0
    try:
        for _ in range(arguments.rounds):
            engine, own = ours(arguments.speed, model, mmproj, threads)
            other = upstream.all()
            same = sum(a["text"] == b["text"] and a["prompt_tokens"] == b["prompt_tokens"] for a, b in zip(own, other))
            rounds.append((rates(own), rates(other)))
            if arguments.llama_bench:
                alone.append(decode_by_llama_bench(arguments.llama_bench, model, threads, own))
            if arguments.transformers and precision == "f32":
                python, answers = by_transformers(arguments.transformers, threads)
                torch.append(rates(answers[len(QUESTIONS):]))  # the first picture warms it up
    finally:
        upstream.stop()
    middle = lambda side, key: statistics.median(pair[side][key] for pair in rounds)
    ratio = lambda key: statistics.median(pair[0][key] / pair[1][key] for pair in rounds)
    print(f"{precision:5} {threads} thread(s): decode {middle(0, 'decode'):7.0f} / {middle(1, 'decode'):7.0f} tok/s"
          f" = {ratio('decode'):.2f};  prompt with picture {middle(0, 'prompt'):6.0f} / {middle(1, 'prompt'):6.0f} tok/s"
          f" = {ratio('prompt'):.2f};  {middle(0, 'prefill_ms'):.1f} ms, of these encoder {middle(0, 'encode_ms'):.1f} ms;"
          f"  same answer {same}/{len(PICTURES) * len(QUESTIONS)}   [{engine} | upstream {upstream.engine}]", flush=True)
    if alone:
        ratios = [pair[0]["decode"] / bench for pair, bench in zip(rounds, alone)]
        print(f"      llama-bench decodes {statistics.median(alone):7.0f} tok/s: ours / it = {statistics.median(ratios):.2f}"
              f" ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)
    if torch:
        their = lambda key: statistics.median(rate[key] for rate in torch)
        print(f"      {python}: decode {their('decode'):5.0f} tok/s, ours / it = {middle(0, 'decode') / their('decode'):.1f};"
              f" picture and prompt {their('prefill_ms'):.1f} ms, it / ours = {their('prefill_ms') / middle(0, 'prefill_ms'):.1f}",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--llama-bench")
    parser.add_argument("--transformers")
    parser.add_argument("--speed", default=str(HERE / "../../../target/release/examples/speed"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--precision", default="f32,q8_0")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("ours / upstream = ratio, median of", arguments.rounds, "interleaved rounds")
    for precision in arguments.precision.split(","):
        for threads in arguments.threads.split(","):
            compare(arguments, precision, int(threads))


main()
