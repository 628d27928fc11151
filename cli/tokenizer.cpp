#include "cli/tokenizer.h"

#include <algorithm>

#include "cli/byte_bpe.h"
#include "cli/sentence_piece.h"
#include "cli/vocabulary.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

Vocabulary read_vocabulary(const ModelFile& file) {
  Vocabulary vocabulary;
  vocabulary.where = printable_path(file.path());
  vocabulary.model = file.get_string("tokenizer.ggml.model");
  vocabulary.pre = file.find_string("tokenizer.ggml.pre").value_or("default");
  if (const auto* tokens = file.find_strings("tokenizer.ggml.tokens")) vocabulary.tokens = *tokens;
  if (const auto* merges = file.find_strings("tokenizer.ggml.merges")) vocabulary.merges = *merges;
  vocabulary.scores = file.find_floats("tokenizer.ggml.scores");
  vocabulary.types = file.find_ints("tokenizer.ggml.token_type");
  vocabulary.bos = file.find_uint("tokenizer.ggml.bos_token_id");
  vocabulary.eos = file.find_uint("tokenizer.ggml.eos_token_id");
  vocabulary.eot = file.find_uint("tokenizer.ggml.eot_token_id");
  vocabulary.eom = file.find_uint("tokenizer.ggml.eom_token_id");
  vocabulary.unknown = file.find_uint("tokenizer.ggml.unknown_token_id");
  vocabulary.add_bos = file.find_bool("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = file.find_bool("tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = file.find_bool("tokenizer.ggml.add_space_prefix");
  return vocabulary;
}

std::unique_ptr<Tokenizer> make_tokenizer(const Vocabulary& vocabulary) {
  if (vocabulary.model == "gpt2") return std::make_unique<ByteBpe>(vocabulary);
  if (vocabulary.model == "llama") return std::make_unique<SentencePiece>(vocabulary);
  throw Error(ErrorKind::kBadFile,
              text(vocabulary.where, ": tokenizer.ggml.model is \"", printable(vocabulary.model),
                   "\"; known are gpt2 (byte-level BPE) and llama (SentencePiece-style BPE)"));
}

std::unique_ptr<Tokenizer> Tokenizer::make(const ModelFile& file) {
  return make_tokenizer(read_vocabulary(file));
}

bool Tokenizer::ends_reply(Token token) const {
  return std::ranges::count(end_tokens_, token) > 0;
}

}  // namespace sluice
