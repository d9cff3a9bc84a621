"""Writes a checkpoint as a Hugging Face folder and as the GGUF files that the agent ships.

    export.py CHECKPOINT OUT --llama-cpp FOLDER

OUT comes to hold `hf/` and `tiny-vlm-{f32,f16,bf16,q8_0}.gguf` with one projector in F32, as `../model/README.md` lists them.
FOLDER holds llama.cpp's `convert_hf_to_gguf.py`, `conversion/` and `gguf-py/`: the sdist of `llama-cpp-python` has them under
`vendor/llama.cpp`.

What the converter needs to be told: it knows tokenizers by a table in which ours is not, so its look-up is replaced; the
configuration in `form/` states the language model's architecture, which transformers leaves out.
"""
import argparse, shutil, subprocess, sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import model as tiny

PRECISIONS = ["f32", "f16", "bf16", "q8_0"]

CONVERT = """
import runpy, sys
home = sys.argv.pop(1)
sys.path[:0] = [home, home + "/gguf-py"]
import conversion.base
for one in vars(conversion.base).values():
    if isinstance(one, type) and "get_vocab_base_pre" in vars(one):
        one.get_vocab_base_pre = lambda self, tokenizer: "smollm"
sys.argv[0] = home + "/convert_hf_to_gguf.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoint", type=Path, help="step-N.pt, or latest.pt, of which the averaged weights are taken")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--llama-cpp", type=Path, required=True)
    options = arguments.parse_args()
    write_folder(options.checkpoint, options.out / "hf")
    for precision in PRECISIONS:
        convert(options, precision, options.out / f"tiny-vlm-{precision}.gguf")
    convert(options, "f32", options.out / "tiny-vlm-mmproj-f32.gguf", "--mmproj")


def write_folder(checkpoint, folder):
    packed = torch.load(checkpoint, weights_only=True)
    model = tiny.shape()
    model.load_state_dict(packed.get("averaged", packed))
    save_folder(model, folder)


def save_folder(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file in tiny.FORM.iterdir():
        shutil.copy(file, folder / file.name)
    stored = {name: weight.contiguous() for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})


def convert(options, precision, out, *more):
    command = [sys.executable, "-c", CONVERT, options.llama_cpp, options.out / "hf", "--outtype", precision, "--model-name", "tiny-vlm"]
    done = subprocess.run([str(word) for word in [*command, "--outfile", out, *more]], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cannot convert to {out.name}:\n{done.stderr}")


if __name__ == "__main__":
    main()
