"""Makes data/logits.json and data/logits.f32: what the real model answers to data/prompts.json.

    python make_logits.py ../../.cache/models/SmolLM2-135M-Instruct.Q4_1.gguf

The model is Transformers' fp32 one with the file's dequantised weights, which are checked against
gguf-py's. For each prompt: its ids by Transformers' tokenizer, the greedy continuation, the gap
between the two highest logits wherever a token was picked, and logits at three positions, of every
16th id, which is enough for a relative error.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

DATA = Path(__file__).parent / "data"
CONTINUATION_TOKENS = 48
STRIDE = 16

THEIR_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def their_name(name):
    *block, part, kind = name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{THEIR_NAMES[part]}.{kind}"


def check_weights(model, path):
    """Every tensor of the file, decoded by gguf-py, is what the model computes with."""
    config = model.config
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = model.state_dict()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    seen = set()
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:  # the file's pairs of neighbours are Transformers' two halves
            pairs = values.reshape(heads[part], -1, 2, values.shape[-1])
            values = pairs.swapaxes(1, 2).reshape(values.shape)
        name = their_name(tensor.name)
        assert np.array_equal(state[name].numpy(), values), f"{tensor.name} differs"
        seen.add(name)
    assert seen | tied == set(state), f"not in the file: {set(state) - seen - tied}"


def continue_greedily(model, ids):
    cache, step, continuation = None, torch.tensor([ids]), []
    while len(continuation) < CONTINUATION_TOKENS:
        out = model(step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        continuation.append(int(out.logits[0, -1].argmax()))
        step = torch.tensor([continuation[-1:]])
    return continuation


def reference_of(model, tokenizer, prompt):
    ids = tokenizer(prompt["text"])["input_ids"]
    continuation = continue_greedily(model, ids)
    # Once more in one pass, without a cache: it must agree wherever the choice was clear.
    logits = model(torch.tensor([ids + continuation[:-1]]), use_cache=False).logits[0]
    picked = logits[len(ids) - 1 :]
    top = picked.topk(2)
    gaps = top.values[:, 0] - top.values[:, 1]
    for at, (token, best, gap) in enumerate(zip(continuation, top.indices[:, 0], gaps)):
        assert token == best or gap < 1e-3, f"{prompt['name']}: unclear at {at}"
    probes = sorted({(len(ids) - 1) // 2, len(ids) - 1, len(logits) - 1})
    entry = prompt | {
        "ids": ids,
        "continuation": continuation,
        "gaps": [round(float(gap), 5) for gap in gaps],
        "probes": probes,
    }
    return entry, logits[probes, ::STRIDE].numpy().astype("<f4")


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    path = parser.parse_args().gguf
    torch.set_num_threads(1)
    load = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    model = AutoModelForCausalLM.from_pretrained(**load, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(**load)
    check_weights(model, path)

    entries, probes = [], []
    for prompt in json.loads((DATA / "prompts.json").read_text()):
        entry, values = reference_of(model, tokenizer, prompt)
        entries.append(entry)
        probes.append(values)
        shown = tokenizer.decode(entry["continuation"])
        print(f"{prompt['name']:22} smallest gap {min(entry['gaps']):.4f}  {shown!r}")
    (DATA / "logits.f32").write_bytes(np.concatenate(probes).tobytes())
    head = f'"vocab": {model.config.vocab_size}, "stride": {STRIDE}'
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    (DATA / "logits.json").write_text(f'{{{head}, "prompts": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
