#include "cli/model_fingerprint.h"

#include "cli/untrusted_json.h"
#include "memory/error.h"
#include "memory/printable.h"

namespace sluice {

using Json = nlohmann::ordered_json;

namespace {

// "layer 3 attention: Q4_K 4096x4096, Q4_K 1024x4096..."
std::string describe_unit(const UnitInfo& unit) {
  std::string line = unit.name() + ":";
  for (const MatrixInfo& m : unit.matrices) {
    line += text(line.ends_with(':') ? " " : ", ", dtype_info(m.type()).name, " ", m.rows(), "x",
                 m.columns());
  }
  return line;
}

// "llama, 80 layers of width 8192", of what may be anything.
std::string describe_model_json(const Json& model) {
  const auto value = [&](const char* key) {
    return model.contains(key) ? shown(model[key]) : std::string("unknown");
  };
  return text(value("architecture"), ", ", value("layers"), " layers of width ", value("width"));
}

}  // namespace

Json model_fingerprint(const ModelLayout& layout) {
  const ModelConfig& c = layout.config;
  Json json = {{"architecture", printable(c.architecture)},
               {"layers", c.layers},
               {"width", c.width},
               {"feed_forward", c.feed_forward},
               {"heads", c.heads},
               {"kv_heads", c.kv_heads},
               {"head_dim", c.head_dim},
               {"rope_dims", c.rope_dims},
               {"vocab", c.vocab},
               {"vector_floats", layout.vector_floats},
               {"units", Json::array()}};
  for (const UnitInfo& unit : layout.units) json["units"].push_back(describe_unit(unit));
  return json;
}

void check_fingerprint(const std::string& file, const Json& of_file, const ModelLayout& layout) {
  const Json here = model_fingerprint(layout);
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorKind::kBadFile, text(file, " was made for another model: ", why,
                                          "; make a plan for this one with sluice plan --save"));
  };
  if (!of_file.is_object()) refuse("it says nothing of it");
  const std::string described = describe_model_json(of_file);
  if (described != describe_model_json(here)) {
    refuse(text(described, "; this one is ", describe_model_json(here)));
  }
  for (const auto& [key, value] : here.items()) {
    const Json other = of_file.contains(key) ? of_file[key] : Json();
    if (other == value) continue;
    if (key != "units" || !other.is_array() || other.size() != value.size()) {
      refuse(text("its ", key, " are ", shown(other), ", this one's ", shown(value)));
    }
    for (std::size_t unit = 0; unit < value.size(); ++unit) {
      if (other[unit] == value[unit]) continue;
      refuse(text(shown(other[unit]), " there, ", value[unit].get<std::string>(), " here"));
    }
  }
}

}  // namespace sluice
