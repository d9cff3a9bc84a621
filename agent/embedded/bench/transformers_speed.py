#!/usr/bin/env python3
"""Times transformers on the CPU in F32, one JSON line an answer, in the form of the example `speed`.

    transformers_speed.py FOLDER THREADS PICTURE… -- QUESTION…

FOLDER is the model as a Hugging Face folder. Needs torch, transformers, torchvision and pillow.
"""
import json, sys, time

import torch, transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.generation.streamers import BaseStreamer


class Stamps(BaseStreamer):
    """When each token was chosen; the first call hands over the prompt."""

    def __init__(self):
        self.at = []

    def put(self, value):
        self.at.append(time.perf_counter())

    def end(self):
        pass


def main():
    folder, threads, *rest = sys.argv[1:]
    cut = rest.index("--")
    torch.set_num_threads(int(threads))
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    print(json.dumps(dict(engine=f"transformers {transformers.__version__}, torch {torch.__version__}")))
    for path in rest[:cut]:
        picture = Image.open(path).convert("RGB")
        for question in rest[cut + 1:]:
            print(json.dumps(ask(processor, model, picture, question)), flush=True)


@torch.inference_mode()
def ask(processor, model, picture, question):
    started = time.perf_counter()
    content = [dict(type="image"), dict(type="text", text=question)]
    prompt = processor.apply_chat_template([dict(role="user", content=content)], add_generation_prompt=True)
    inputs = processor(text=prompt, images=[picture], return_tensors="pt")
    stamps = Stamps()
    end = processor.tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    out = model.generate(**inputs, max_new_tokens=96, do_sample=False, eos_token_id=end, pad_token_id=0, streamer=stamps)
    n_prompt = inputs["input_ids"].shape[1]
    ids = out[0, n_prompt:].tolist()
    chosen = stamps.at[1:]
    return dict(text=processor.tokenizer.decode(ids, skip_special_tokens=True), prompt_tokens=n_prompt,
                tokens=len(ids) - 1, encode_us=0, prefill_us=1e6 * (chosen[0] - started),
                decode_us=1e6 * (chosen[-1] - chosen[0]))


main()
