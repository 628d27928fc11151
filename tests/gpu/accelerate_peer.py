"""Speed of Transformers + Accelerate on a shape that is larger than the GPU memory allowed.

Random weights in bf16, in host memory but for what max_memory lets onto the GPU. Prints and writes
tokens per second of a prompt's prefill and of greedy decoding.
"""
import argparse
import json
import time

import torch
from accelerate import dispatch_model, infer_auto_device_map, init_empty_weights
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "llama-3-8b": dict(num_hidden_layers=32, hidden_size=4096, intermediate_size=14336,
                       num_attention_heads=32, num_key_value_heads=8, vocab_size=128256),
    "tiny": dict(num_hidden_layers=2, hidden_size=256, intermediate_size=512,
                 num_attention_heads=4, num_key_value_heads=2, vocab_size=512),
}


def fill(model):
    """Gives every parameter memory of its own. Those of one shape have the same random values,
    since drawing takes longer than all that is measured."""
    drawn = {}
    for name, parameter in list(model.named_parameters()):
        owner = model.get_submodule(name.rpartition(".")[0])
        if parameter.shape not in drawn:
            drawn[parameter.shape] = torch.randn(parameter.shape, dtype=torch.bfloat16) * 0.02
        setattr(owner, name.rpartition(".")[2],
                torch.nn.Parameter(drawn[parameter.shape].clone(), requires_grad=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="llama-3-8b")
    parser.add_argument("--max-memory-gib", type=float, default=8.0)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--output")
    options = parser.parse_args()

    config = LlamaConfig(**SHAPES[options.shape], max_position_embeddings=8192,
                         tie_word_embeddings=False)
    # Only parameters are left out: the rotary frequencies have to be worked out.
    with init_empty_weights(include_buffers=False):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    fill(model)
    model.eval()
    max_memory = {0: int(options.max_memory_gib * 2**30), "cpu": "200GiB"}
    device_map = infer_auto_device_map(model, max_memory, dtype=torch.bfloat16,
                                       no_split_module_classes=["LlamaDecoderLayer"])
    model = dispatch_model(model, device_map)

    tokens = torch.randint(config.vocab_size, (1, options.prompt_tokens), device="cuda:0")
    result = {"peer": "accelerate", "shape": options.shape, "weights": "bf16",
              "max_memory_gib": options.max_memory_gib,
              "modules_on_gpu": sum(place == 0 for place in device_map.values())}
    with torch.inference_mode():
        model(tokens[:, :32])  # warms up
        torch.cuda.synchronize()
        begin = time.perf_counter()
        out = model(tokens, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
        token.item()
        result["prefill_tokens_per_second"] = options.prompt_tokens / (time.perf_counter() - begin)
        begin = time.perf_counter()
        for _ in range(options.tokens):
            out = model(token.to("cuda:0"), past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
        token.item()
        result["decode_tokens_per_second"] = options.tokens / (time.perf_counter() - begin)
    result["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        with open(options.output, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
