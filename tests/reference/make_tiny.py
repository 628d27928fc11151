"""Makes data/tiny/: small Llama models as GGUF files, and the logits that Transformers gives them.

    python make_tiny.py

Weights are random, from fixed seeds, and made in the file's own layout; Transformers' fp32 model
gets what gguf-py decodes from the file. One model a property that an engine can get wrong.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).parent / "data" / "tiny"
TOKENS = 40
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "Ġt he", "i n", "Ġ a"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass
class Model:
    name: str
    about: str
    layers: int = 2
    width: int = 48
    ffn: int = 64
    heads: int = 3
    kv_heads: int = 1
    head_dim: int = 16
    tied: bool = True
    theta: float = 10000.0
    rope: dict = field(default_factory=dict)  # Transformers' rope_parameters, beyond theta
    attention_bias: bool = False
    mlp_bias: bool = False
    # Types of the matrices, by the GGUF name's last part; "" is the rest.
    types: dict = field(default_factory=lambda: {"": Type.F32})


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# fmt: off
MODELS = [
    Model("f32", "grouped queries, tied head", width=64, heads=4, kv_heads=2),
    Model("f32_linear_rope", "linear rope scaling, untied head", layers=1, tied=False,
          rope={"rope_type": "linear", "factor": 4.0}),
    Model("f32_llama3_rope", "llama3 rope scaling as a rope_freqs tensor, no grouping", kv_heads=3,
          theta=1000.0, rope=LLAMA3_ROPE),
    Model("f32_attention_bias", "biases on q, k, v and the attention's output", layers=1,
          attention_bias=True),
    Model("f32_all_bias", "biases there and on the feed-forward matrices", layers=1,
          attention_bias=True, mlp_bias=True),
    Model("f32_head24", "heads of 24 that don't add up to the width", layers=1, head_dim=24),
    Model("f16", "F16 matrices, three layers", layers=3, types={"": Type.F16}),
    Model("bf16", "BF16 matrices", types={"": Type.BF16}),
    Model("quants", "a mix of the 32-value groups", width=96, ffn=96, head_dim=32, tied=False,
          types={"attn_q": Type.Q4_0, "attn_k": Type.Q4_1, "attn_v": Type.Q5_0,
                 "attn_output": Type.Q5_1, "ffn_gate": Type.Q4_0, "ffn_up": Type.Q8_0,
                 "ffn_down": Type.Q4_1, "token_embd": Type.Q8_0, "output": Type.Q5_1}),
    Model("k_quants", "a mix of the 256-value groups", layers=1, width=256, ffn=256,
          heads=4, kv_heads=1, head_dim=64,
          types={"attn_q": Type.Q2_K, "attn_k": Type.Q3_K, "attn_v": Type.Q6_K,
                 "attn_output": Type.Q4_K, "ffn_gate": Type.Q5_K, "ffn_up": Type.Q3_K,
                 "ffn_down": Type.Q4_K, "token_embd": Type.Q6_K}),
]
# fmt: on


def byte_letters() -> list[str]:
    """The printable letter of each byte, as byte-level BPE writes it."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    letters = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    return [letters[b] for b in range(256)]


VOCAB = SPECIAL + byte_letters() + [m.replace(" ", "") for m in MERGES]

# K-quants have no encoder in gguf-py; random bytes under chosen scales are random weights too.
# Type: (where in a group its f16 scales lie, their ratio that centres the weights, the largest
# product of what else multiplies the first).
K_SCALES = {
    Type.Q2_K: ([80, 82], [1.0, 1.5], 15 * 3),
    Type.Q3_K: ([108], [1.0], 32 * 4),
    Type.Q4_K: ([0, 2], [1.0, 7.5], 63 * 15),
    Type.Q5_K: ([0, 2], [1.0, 15.5], 63 * 31),
    Type.Q6_K: ([208], [1.0], 128 * 32),
}


def random_k_quant(rng, shape, spread, kind):
    values, size = gguf.GGML_QUANT_SIZES[kind]
    offsets, multiples, largest = K_SCALES[kind]
    rows = rng.integers(0, 256, (shape[0], shape[1] // values, size), dtype=np.uint8)
    for offset, multiple in zip(offsets, multiples):
        scale = rng.uniform(2.0, 4.0, rows.shape[:2]) * spread * multiple / largest
        rows[..., offset : offset + 2] = scale.astype("<f2")[..., None].view(np.uint8)
    return rows.reshape(shape[0], -1)


def random_matrix(rng, shape, spread, kind):
    """What goes into the file, and the f32 values that it decodes to."""
    if kind in K_SCALES:
        data = random_k_quant(rng, shape, spread, kind)
    else:
        data = gguf.quantize(rng.normal(0, spread, shape).astype(np.float32), kind)
    return data, gguf.dequantize(data, kind).astype(np.float32).reshape(shape)


def rotate_half_order(values, heads):
    """Rows of q and k: from the file's pairs of neighbours to Transformers' two halves."""
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def tensors(model: Model):
    """GGUF name, shape, Transformers' name of every tensor of the model."""
    query, key = model.heads * model.head_dim, model.kv_heads * model.head_dim
    yield "token_embd.weight", (len(VOCAB), model.width), "model.embed_tokens.weight"
    yield "output_norm.weight", (model.width,), "model.norm.weight"
    if not model.tied:
        yield "output.weight", (len(VOCAB), model.width), "lm_head.weight"
    for layer in range(model.layers):
        here, there = f"blk.{layer}.", f"model.layers.{layer}."
        yield here + "attn_norm.weight", (model.width,), there + "input_layernorm.weight"
        yield here + "ffn_norm.weight", (model.width,), there + "post_attention_layernorm.weight"
        for name, rows, columns, their in [
            ("attn_q", query, model.width, "self_attn.q_proj"),
            ("attn_k", key, model.width, "self_attn.k_proj"),
            ("attn_v", key, model.width, "self_attn.v_proj"),
            ("attn_output", model.width, query, "self_attn.o_proj"),
            ("ffn_gate", model.ffn, model.width, "mlp.gate_proj"),
            ("ffn_up", model.ffn, model.width, "mlp.up_proj"),
            ("ffn_down", model.width, model.ffn, "mlp.down_proj"),
        ]:
            yield f"{here}{name}.weight", (rows, columns), f"{there}{their}.weight"
            if model.attention_bias if "attn" in name else model.mlp_bias:
                yield f"{here}{name}.bias", (rows,), f"{there}{their}.bias"


def spread_of(name, shape):
    if "bias" in name:
        return 0.5
    # Twice the usual for q and k, so that attention has favourites and positions matter.
    return (2.0 if "attn_q" in name or "attn_k" in name else 1.0) / math.sqrt(shape[-1])


def llama3_factors(model: Model):
    """What the rope_freqs tensor holds: by how much each frequency is divided."""
    rope = model.rope
    context = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    factors = []
    for i in range(0, model.head_dim, 2):
        turns = context / (2 * math.pi * model.theta ** (i / model.head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def add_metadata(writer: gguf.GGUFWriter, model: Model):
    writer.add_name(f"tiny {model.name}")
    writer.add_description(model.about)
    writer.add_block_count(model.layers)
    writer.add_context_length(512)
    writer.add_embedding_length(model.width)
    writer.add_feed_forward_length(model.ffn)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(VOCAB))
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(model.theta)
    if model.heads * model.head_dim != model.width:
        writer.add_key_length(model.head_dim)
        writer.add_value_length(model.head_dim)
    if model.rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(model.rope["factor"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(VOCAB)
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL)
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * (len(VOCAB) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_gguf(model: Model, path: Path, rng):
    """Writes the file; returns Transformers' state dict."""
    writer = gguf.GGUFWriter(path, "llama")
    add_metadata(writer, model)
    state = {}
    if model.rope.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(model))
    for name, shape, their_name in tensors(model):
        if "norm" in name:
            data = values = rng.uniform(0.5, 1.5, shape).astype(np.float32)
            kind = Type.F32
        elif name.endswith("bias"):
            data = values = rng.normal(0, spread_of(name, shape), shape).astype(np.float32)
            kind = Type.F32
        else:
            kind = model.types.get(name.split(".")[-2], model.types.get("", None))
            data, values = random_matrix(rng, shape, spread_of(name, shape), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        if "attn_q." in name:
            values = rotate_half_order(values, model.heads)
        if "attn_k." in name:
            values = rotate_half_order(values, model.kv_heads)
        state[their_name] = torch.from_numpy(values.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


def make_reference(model: Model, state) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(VOCAB), hidden_size=model.width, intermediate_size=model.ffn,
        num_hidden_layers=model.layers, num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads, head_dim=model.head_dim, rms_norm_eps=1e-5,
        max_position_embeddings=512, tie_word_embeddings=model.tied,
        attention_bias=model.attention_bias, mlp_bias=model.mlp_bias,
        rope_parameters={"rope_type": "default", "rope_theta": model.theta} | model.rope,
    )
    reference = LlamaForCausalLM(config).float().eval()
    missing, unexpected = reference.load_state_dict(state, strict=False)
    tied = ["lm_head.weight"] if model.tied else []
    assert missing == tied and not unexpected, (missing, unexpected)
    reference.tie_weights()
    return reference


def check_with_their_loader(model: Model, path: Path, ids, logits):
    """Where Transformers' own GGUF loader knows all of the model, it must agree to the bit."""
    if model.rope or model.attention_bias or model.heads * model.head_dim != model.width:
        return
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name,
                                                  dtype=torch.float32)
    same = torch.equal(theirs.eval()(ids[None]).logits[0], logits)
    assert same, f"{model.name}: Transformers' loader gives other logits"


@torch.inference_mode()
def main():
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    index = []
    for number, model in enumerate(MODELS):
        rng = np.random.default_rng(20260 + number)
        path = OUT / f"{model.name}.gguf"
        reference = make_reference(model, write_gguf(model, path, rng))
        ids = torch.from_numpy(rng.integers(0, len(VOCAB), TOKENS))
        logits = reference(ids[None]).logits[0]
        check_with_their_loader(model, path, ids, logits)
        (OUT / f"{model.name}.f32").write_bytes(logits.numpy().astype("<f4").tobytes())
        index.append({"name": model.name, "about": model.about, "vocab": len(VOCAB),
                      "ids": ids.tolist()})
        top = logits.topk(2).values
        print(f"{model.name:20} {path.stat().st_size:7} bytes, logits of spread "
              f"{logits.std():.2f}, top-two gap {(top[:, 0] - top[:, 1]).median():.3f}")
    lines = ",\n".join(json.dumps(entry) for entry in index)
    (OUT / "index.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
