"""Makes a Hugging Face folder of the GGUF files that are shipped: what `export.py` does, backwards and to the last bit.

    folder.py OUT [--files FOLDER]

FOLDER holds `tiny-vlm-f32.gguf` and `tiny-vlm-mmproj-f32.gguf`: `../model` if it is not given.
"""
import argparse
from pathlib import Path

import torch
from gguf import GGUFReader

import model as tiny
from export import save_folder

SHIPPED = Path(__file__).parent.parent / "model"

NAMES = {
    "token_embd": "text_model.embed_tokens", "output_norm": "text_model.norm", "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
VISION_NAMES = NAMES | {
    "v.patch_embd": "vision_model.embeddings.patch_embedding", "v.position_embd": "vision_model.embeddings.position_embedding",
    "v.post_ln": "vision_model.post_layernorm", "mm.model.fc": "connector.modality_projection.proj", "ln1": "layer_norm1",
    "ln2": "layer_norm2", "attn_out": "self_attn.out_proj", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2",
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--files", type=Path, default=SHIPPED)
    options = arguments.parse_args()
    model = tiny.shape()
    weights = read(options.files / "tiny-vlm-mmproj-f32.gguf", VISION_NAMES)
    text = model.config.text_config
    heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads}
    for name, weight in read(options.files / "tiny-vlm-f32.gguf", NAMES).items():
        n_heads = heads.get(name.split(".")[-2])
        weights[name] = in_halves(weight, n_heads) if n_heads else weight
    weights["lm_head.weight"] = weights["model.text_model.embed_tokens.weight"]
    model.load_state_dict(weights)
    save_folder(model, options.out)


def read(path, names):
    return {name_of(tensor.name, names): torch.tensor(tensor.data) for tensor in GGUFReader(path).tensors}


def name_of(name, names):
    part, kind = name.rsplit(".", 1)
    if "blk." not in part:
        return f"model.{names[part]}.{kind}"
    owner, block = part.split("blk.")
    number, part = block.split(".", 1)
    return f"model.{'vision_model.encoder' if owner else 'text_model'}.layers.{number}.{names[part]}.{kind}"


def in_halves(weight, n_heads):
    """llama.cpp rotates neighbours, transformers a head's first half with its second; the converter interleaves the halves."""
    return weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


if __name__ == "__main__":
    main()
