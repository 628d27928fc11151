// The form in which a probe is kept.
#include <nlohmann/json.hpp>

#include "cli/probe_cache.h"
#include "memory/error.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 4;
constexpr std::size_t kMostSamples = 64;
constexpr std::size_t kMostSize = std::size_t{1} << 50;

// A rate of any machine, in bytes or operations a second, lies between these.
constexpr double kLeastRate = 1e3;
constexpr double kMostRate = 1e17;

[[noreturn]] void refuse(std::string_view field, const std::string& what) {
  throw Error(ErrorKind::kBadFile, text("field ", field, " ", what));
}

const Json& at(const Json& json, const char* field) {
  if (!json.is_object() || !json.contains(field)) refuse(field, "is missing");
  return json[field];
}

double number(const Json& json, const char* field, double least, double most) {
  const Json& value = at(json, field);
  if (!value.is_number()) refuse(field, "isn't a number");
  const double n = value.get<double>();
  if (!(n >= least && n <= most)) refuse(field, text("is ", n, ", not in ", least, "..", most));
  return n;
}

double rate(const Json& json, const char* field) {
  return number(json, field, kLeastRate, kMostRate);
}

double seconds(const Json& json, const char* field) {
  return number(json, field, 0.0, 1.0);
}

std::size_t size(const Json& json, const char* field) {
  return static_cast<std::size_t>(number(json, field, 0.0, static_cast<double>(kMostSize)));
}

std::string name(const Json& json, const char* field) {
  const Json& value = at(json, field);
  if (!value.is_string()) refuse(field, "isn't a text");
  return value.get<std::string>();
}

const Json& list(const Json& json, const char* field) {
  const Json& value = at(json, field);
  if (!value.is_array() || value.size() > kMostSamples) refuse(field, "isn't a short list");
  return value;
}

ProductRate::Table seconds_table(const Json& json, const char* field) {
  ProductRate::Table table;
  const Json& row = list(json, field);
  if (row.size() != table.size()) refuse(field, "isn't a figure for each number of tokens");
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = row[i].is_number() ? row[i].get<double>() : -1.0;
    if (!(table[i] >= 0.0 && table[i] <= 1.0)) refuse(field, "has an absurd figure");
  }
  return table;
}

// Of ComputeRates. What isn't known of a place is 0.
struct Field {
  const char* name;
  double ComputeRates::*value;
  bool required = true;
};
constexpr Field kRateFields[] = {
    {"attention_one_token_operations_per_second",
     &ComputeRates::attention_one_token_operations_per_second},
    {"attention_operations_per_second", &ComputeRates::attention_operations_per_second},
    {"attention_alone_operations_per_second", &ComputeRates::attention_alone_operations_per_second,
     false},
    {"cache_bytes_per_second", &ComputeRates::cache_bytes_per_second, false}};

// For each of ProductRate::kTokens.
struct TableField {
  const char* name;
  ProductRate::Table ComputeRates::*table;
};
constexpr TableField kSecondsTables[] = {{"element_seconds", &ComputeRates::element_seconds},
                                         {"rotate_seconds", &ComputeRates::rotate_seconds},
                                         {"cut_seconds", &ComputeRates::cut_seconds}};

Json compute_json(const ComputeRates& rates) {
  Json json;
  for (const Field& f : kRateFields) json[f.name] = rates.*f.value;
  for (const TableField& f : kSecondsTables) json[f.name] = rates.*f.table;
  json["step_seconds"] = rates.step_seconds;
  json["graph_step_seconds"] = rates.graph_step_seconds;
  json["sequence_seconds"] = rates.sequence_seconds;
  json["share_beside_copies"] = rates.share_beside_copies;
  for (const KvType kv : kAllKvTypes) {
    const AttentionShares& s = rates.attention_shares[static_cast<std::size_t>(kv)];
    json["attention_shares"][std::string(kv_type_name(kv))] = {{"one_token", s.one_token},
                                                               {"many", s.many}};
  }
  Json products;
  for (const DType type : kAllDTypes) {
    const ProductRate& r = rates.products[static_cast<std::size_t>(type)];
    if (!r.known()) continue;
    Json row = Json::array();
    for (const double s : r.seconds_per_byte) row.push_back(1.0 / s);
    products[std::string(dtype_info(type).name)] = row;
  }
  json["product_bytes_per_second"] = products;
  return json;
}

ComputeRates parse_compute(const Json& json) {
  ComputeRates rates;
  for (const Field& f : kRateFields) {
    const bool unknown = !f.required && at(json, f.name) == 0.0;
    rates.*f.value = unknown ? 0.0 : rate(json, f.name);
  }
  rates.step_seconds = seconds(json, "step_seconds");
  rates.graph_step_seconds = seconds(json, "graph_step_seconds");
  rates.sequence_seconds = seconds(json, "sequence_seconds");
  for (const TableField& f : kSecondsTables) rates.*f.table = seconds_table(json, f.name);
  rates.share_beside_copies = number(json, "share_beside_copies", 0.01, 1.0);
  for (const KvType kv : kAllKvTypes) {
    const Json& shares = at(at(json, "attention_shares"), kv_type_name(kv).data());
    rates.attention_shares[static_cast<std::size_t>(kv)] = {
        .one_token = number(shares, "one_token", 0.01, 100.0),
        .many = number(shares, "many", 0.01, 100.0)};
  }
  const Json& products = at(json, "product_bytes_per_second");
  for (const DType type : kAllDTypes) {
    const std::string type_name(dtype_info(type).name);
    if (!products.is_object() || !products.contains(type_name)) continue;
    const Json& row = products[type_name];
    ProductRate& r = rates.products[static_cast<std::size_t>(type)];
    if (!row.is_array() || row.size() != r.seconds_per_byte.size()) {
      refuse(type_name, "isn't a rate for each number of tokens");
    }
    for (std::size_t i = 0; i < row.size(); ++i) {
      const double bytes = row[i].is_number() ? row[i].get<double>() : 0.0;
      if (!(bytes >= kLeastRate && bytes <= kMostRate)) refuse(type_name, "has an absurd rate");
      r.seconds_per_byte[i] = 1.0 / bytes;
    }
  }
  return rates;
}

using Precisions = std::array<ComputeRates, 2>;

Json precisions_json(const Precisions& rates) {
  Json json;
  for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
    json[std::string(precision_name(precision))] = compute_json(rates[index_of(precision)]);
  }
  return json;
}

Precisions parse_precisions(const Json& json) {
  Precisions rates;
  for (const Precision precision : {Precision::kNormal, Precision::kHigh}) {
    rates[index_of(precision)] = parse_compute(at(json, precision_name(precision).data()));
  }
  return rates;
}

Json samples_json(const std::vector<ThreadSample>& samples) {
  Json json = Json::array();
  for (const ThreadSample& s : samples) {
    json.push_back({{"threads", s.threads}, {"bytes_per_second", s.bytes_per_second}});
  }
  return json;
}

std::vector<ThreadSample> parse_samples(const Json& json) {
  std::vector<ThreadSample> samples;
  for (const Json& s : json) samples.push_back({size(s, "threads"), rate(s, "bytes_per_second")});
  return samples;
}

MachineProbe parse(const Json& json) {
  if (number(json, "format", 0, 1e9) != kFormat) refuse("format", "is of another version");
  MachineProbe p;
  const Json& machine = at(json, "machine");
  p.machine = {name(machine, "processor"), size(machine, "cores"), size(machine, "memory_bytes"),
               name(machine, "gpu"), name(machine, "version")};
  p.taken_at = static_cast<std::int64_t>(number(json, "taken_at", 0, 1e12));
  p.seconds = number(json, "seconds", 0.0, 1e6);
  p.others_share = number(json, "others_share", 0.0, 1.0);
  p.drift = number(json, "drift", 0.0, 1e6);
  p.free_device_bytes = size(json, "free_device_bytes");
  p.free_host_bytes = size(json, "free_host_bytes");
  p.free_disk_bytes = size(json, "free_disk_bytes");
  for (const Json& s : list(json, "link")) {
    const Json& pinned = at(s, "pinned");
    if (!pinned.is_boolean()) refuse("pinned", "isn't true or false");
    p.rates.link.push_back({size(s, "bytes"), pinned.get<bool>(),
                            rate(s, "to_device_bytes_per_second"),
                            rate(s, "to_host_bytes_per_second")});
  }
  p.rates.link_latency_seconds = seconds(json, "link_latency_seconds");
  p.rates.host_read = parse_samples(list(json, "host_read"));
  p.rates.disk = parse_samples(list(json, "disk"));
  const Json& direct = at(json, "disk_direct");
  if (!direct.is_boolean()) refuse("disk_direct", "isn't true or false");
  p.rates.disk_direct = direct.get<bool>();
  p.rates.copy_bytes_per_second = rate(json, "copy_bytes_per_second");
  p.rates.pass_seconds = seconds(json, "pass_seconds");
  p.rates.wait_seconds = seconds(json, "wait_seconds");
  p.rates.logit_seconds = seconds(json, "logit_seconds");
  p.rates.host = parse_precisions(at(json, "host"));
  const Json& gpu = at(json, "gpu");
  if (!gpu.is_null()) {
    p.rates.gpu = {parse_precisions(gpu), seconds(gpu, "turn_seconds")};
  }
  return p;
}

}  // namespace

std::string probe_json(const MachineProbe& p) {
  Json json;
  json["format"] = kFormat;
  json["machine"] = {{"processor", p.machine.processor},
                     {"cores", p.machine.cores},
                     {"memory_bytes", p.machine.memory_bytes},
                     {"gpu", p.machine.gpu},
                     {"version", p.machine.version}};
  json["taken_at"] = p.taken_at;
  json["seconds"] = p.seconds;
  json["others_share"] = p.others_share;
  json["drift"] = p.drift;
  json["under_load"] = p.under_load();
  json["free_device_bytes"] = p.free_device_bytes;
  json["free_host_bytes"] = p.free_host_bytes;
  json["free_disk_bytes"] = p.free_disk_bytes;
  json["link"] = Json::array();
  for (const LinkSample& s : p.rates.link) {
    json["link"].push_back({{"bytes", s.bytes},
                            {"pinned", s.pinned},
                            {"to_device_bytes_per_second", s.to_device_bytes_per_second},
                            {"to_host_bytes_per_second", s.to_host_bytes_per_second}});
  }
  json["link_latency_seconds"] = p.rates.link_latency_seconds;
  json["host_read"] = samples_json(p.rates.host_read);
  json["disk"] = samples_json(p.rates.disk);
  json["disk_direct"] = p.rates.disk_direct;
  json["copy_bytes_per_second"] = p.rates.copy_bytes_per_second;
  json["pass_seconds"] = p.rates.pass_seconds;
  json["wait_seconds"] = p.rates.wait_seconds;
  json["logit_seconds"] = p.rates.logit_seconds;
  json["product_tokens"] = ProductRate::kTokens;
  json["host"] = precisions_json(p.rates.host);
  json["gpu"] = nullptr;
  if (p.rates.gpu) {
    json["gpu"] = precisions_json(p.rates.gpu->compute);
    json["gpu"]["turn_seconds"] = p.rates.gpu->turn_seconds;
  }
  return json.dump(2) + "\n";
}

MachineProbe parse_probe(std::string_view content) {
  const Json json = Json::parse(content, nullptr, false);
  if (json.is_discarded()) throw Error(ErrorKind::kBadFile, "it isn't JSON");
  return parse(json);
}

}  // namespace sluice
