"""Makes the token ids that Hugging Face's tokenizers and SentencePiece give.

    python make_tokens.py SmolLM2-135M-Instruct.Q4_1.gguf

Writes data/prompt_tokens.json (the real model, on prompts.json), data/tokens/smollm2.ids (on
lines.json), and under data/tokens/ small vocabularies of other kinds, each as NAME.gguf with
NAME.ids, on the first LINES lines. An .ids file is little-endian u16: for each line a count, then
the ids. RULE.pieces is alike, with the sizes in bytes of the pieces that a pre-tokenizer cuts.
"""

import json
import struct
import sys
from pathlib import Path

import gguf
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from make_lines import CODE, SENTENCES

DATA = Path(__file__).parent / "data"
OUT = DATA / "tokens"
LINES = 500
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


DIGITS_THEN_GPT2 = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
RULES = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": DIGITS_THEN_GPT2,
    "llama-bpe": pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"),
    "qwen2": pre_tokenizers.Split(Regex(QWEN2), behavior="isolated"),
}


def write_rows(name, rows):
    with open(OUT / name, "wb") as file:
        for row in rows:
            file.write(struct.pack(f"<{len(row) + 1}H", len(row), *row))
    print(f"{name}: {len(rows)} lines, {sum(map(len, rows))} numbers")


def write_ids(name, rows):
    write_rows(f"{name}.ids", rows)


def write_pieces(rule, lines):
    def sizes(line):
        return [len(line[begin:end].encode()) for _, (begin, end) in RULES[rule].pre_tokenize_str(line)]

    write_rows(f"{rule}.pieces", [sizes(line) for line in lines])


def write_vocabulary(name, model, tokens, types, bos, eos, **more):
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)
    if "pre" in more:
        writer.add_tokenizer_pre(more["pre"])
    if "merges" in more:
        writer.add_token_merges(more["merges"])
    if "scores" in more:
        writer.add_token_scores(more["scores"])
    if "add_space_prefix" in more:
        writer.add_add_space_prefix(more["add_space_prefix"])
    writer.add_add_bos_token(more.get("add_bos", False))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def real_model(path, prompts, lines):
    """What Transformers makes of the GGUF, with the digit rule of the model's own tokenizer.json:
    Transformers' GGUF reader knows no pre-tokenizer of the name "smollm" and takes GPT-2's."""
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)

    def ids(texts):
        return [tokenizer(text, add_special_tokens=False).input_ids for text in texts]

    texts = [prompt["text"] for prompt in prompts]
    without_digits = ids(texts), ids(lines)
    tokenizer.backend_tokenizer.pre_tokenizer = DIGITS_THEN_GPT2
    with_digits = ids(texts), ids(lines)
    assert without_digits[0] == with_digits[0], "a prompt on which the two rules differ"
    differing = sum(a != b for a, b in zip(without_digits[1], with_digits[1]))
    print(f"the digit rule changes {differing} of {len(lines)} lines")
    table = {prompt["name"]: row for prompt, row in zip(prompts, with_digits[0])}
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(row)}" for name, row in table.items())
    (DATA / "prompt_tokens.json").write_text("{\n" + rows + "\n}\n")
    write_ids("smollm2", with_digits[1])


def byte_level(name, pre, split, lines, whole_pieces_first=False):
    """A vocabulary trained on the lines; GPT-2's rule where `split` is None."""
    cut = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)]
    if split is not None:
        cut.insert(0, pre_tokenizers.Split(Regex(split), behavior="isolated"))
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(cut)
    trained.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=900,
            special_tokens=["<|begin|>", "<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    vocab = dict(model["vocab"])
    if whole_pieces_first:  # tokens that no merge makes
        for word in ("Ġwindow", "ĠFROM", "Ġworld!", "ä¸ĸçķĮ", "ĊĊĊ"):
            vocab.setdefault(word, len(vocab))
    user_defined = ["<think>", "  wide  ", "<think>er"]
    for word in user_defined:
        vocab[word] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=whole_pieces_first))
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<|begin|>", "<|end|>")])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in user_defined])
    types = [CONTROL, CONTROL] + [NORMAL] * (len(vocab) - 2 - len(user_defined)) + [USER_DEFINED] * len(user_defined)
    tokens = sorted(vocab, key=vocab.get)
    write_vocabulary(name, "gpt2", tokens, types, 0, 1, pre=pre, merges=[" ".join(m) for m in merges])
    write_ids(name, [tokenizer.encode(line, add_special_tokens=False).ids for line in lines])


def sentence_piece(name, lines, add_space_prefix, user_defined=()):
    """A BPE model that SentencePiece itself trains, saves and encodes with."""
    prefix = OUT / name
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.replace("\n", " ") for text in 20 * (SENTENCES + CODE)),
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=900,
        character_coverage=0.98,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=add_space_prefix,
        user_defined_symbols=list(user_defined),
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    (OUT / f"{name}.model").unlink()
    (OUT / f"{name}.vocab").unlink()
    count = range(model.get_piece_size())
    types = [
        UNKNOWN if model.is_unknown(i)
        else CONTROL if model.is_control(i)
        else BYTE if model.is_byte(i)
        else USER_DEFINED if model.id_to_piece(i) in user_defined
        else NORMAL
        for i in count
    ]  # fmt: skip
    tokens = [model.id_to_piece(i) for i in count]
    scores = [model.get_score(i) for i in count]
    write_vocabulary(name, "llama", tokens, types, model.bos_id(), model.eos_id(), scores=scores,
                     add_space_prefix=add_space_prefix, add_bos=True)  # fmt: skip
    write_ids(name, [model.encode(line) for line in lines])


def main():
    prompts = json.loads((DATA / "prompts.json").read_text(encoding="utf-8"))
    lines = json.loads((DATA / "lines.json").read_text(encoding="utf-8"))
    OUT.mkdir(exist_ok=True)
    real_model(Path(sys.argv[1]).resolve(), prompts, lines)
    some = lines[:LINES]
    for rule in RULES:
        write_pieces(rule, lines[:1000])
    byte_level("gpt2", "gpt-2", None, some)
    byte_level("llama3", "llama-bpe", LLAMA3, some, whole_pieces_first=True)
    byte_level("qwen2", "qwen2", QWEN2, some)
    sentence_piece("llama2", some, add_space_prefix=True)
    sentence_piece("gemma", some, add_space_prefix=False, user_defined=["\n\n", "<b>", "<br/>", "\t\t"])


if __name__ == "__main__":
    main()
