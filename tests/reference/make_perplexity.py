"""Prints what `sluice perplexity MODEL IDS --ids --ctx WINDOW` must print, by Transformers in fp32.

    make_perplexity.py MODEL.gguf TEXT IDS [WINDOW]

Tokenises TEXT into the file IDS, then scores it in windows of WINDOW (512) tokens: every token of a
window but the first is predicted from those before it.
"""

import math
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    model_path, text_path, ids_path = map(pathlib.Path, sys.argv[1:4])
    window = int(sys.argv[4]) if len(sys.argv) > 4 else 512
    where = {"pretrained_model_name_or_path": model_path.parent, "gguf_file": model_path.name}
    ids = AutoTokenizer.from_pretrained(**where)(text_path.read_text())["input_ids"]
    ids_path.write_text(" ".join(map(str, ids)))
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    nats, count = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(ids) - 1, window):
            part = torch.tensor([ids[begin : begin + window]])
            logs = torch.log_softmax(model(part).logits[0, :-1].double(), -1)
            nats -= logs.gather(1, part[0, 1:, None]).sum().item()
            count += part.shape[1] - 1
    print(f"{math.exp(nats / count):.4f} perplexity, {nats / count:.6f} nats, {count} tokens")


if __name__ == "__main__":
    main()
