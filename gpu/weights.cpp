#include "gpu/weights.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace gpupool {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

constexpr std::uint64_t length_bytes = 8;
constexpr std::int64_t elements_max = std::int64_t{1} << 33;  // of one tensor
constexpr std::size_t name_bytes_max = 256;

// As the file has them; here all become f32.
enum class FileDtype { f32, bf16, f16 };

struct Entry {
  std::string name;
  FileDtype dtype = FileDtype::f32;
  Shape shape;
  std::uint64_t begin = 0;  // in bytes, from the end of the header
  std::uint64_t end = 0;
};

// In bytes: what the file says, and what there is or what is allowed.
struct Bytes {
  std::uint64_t want = 0;
  std::uint64_t have = 0;
};

Error malformed(std::string detail, Bytes bytes = {}) {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  return {.code = Errc::file_malformed,
          .want = static_cast<std::int64_t>(std::min(bytes.want, most)),
          .have = static_cast<std::int64_t>(std::min(bytes.have, most)),
          .detail = std::move(detail)};
}

Result<std::string_view> header_of(std::span<const std::byte> file) {
  if (file.size() < length_bytes) {
    return malformed("no room for a header length", {length_bytes, file.size()});
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), length_bytes);
  if (length > weights_header_bytes_max) {
    return malformed("header too long", {length, weights_header_bytes_max});
  }
  if (length > file.size() - length_bytes) {
    return malformed("header cut off", {length, file.size() - length_bytes});
  }
  return std::string_view(reinterpret_cast<const char*>(file.data()) + length_bytes, length);
}

// JSON that names a key twice has no single meaning, and readers that differ on it could be told
// different things by one file. The library keeps the last; here it is an error.
Result<Json> parse_header(std::string_view text) {
  // Depth 1 holds the tensors' names, 2 the keys of one tensor, 3 the numbers of its lists.
  std::array<std::set<std::string>, 4> keys_at_depth;
  std::optional<std::string> doubled;
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    const auto level = static_cast<std::size_t>(depth);
    too_deep = too_deep || level >= keys_at_depth.size();
    if (too_deep) return false;
    if (event == Json::parse_event_t::object_start && level + 1 < keys_at_depth.size()) {
      keys_at_depth[level + 1].clear();
    }
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_at_depth[level].insert(key).second && !doubled) doubled = key;
    }
    return true;
  };
  Json header = Json::parse(text, watch, false);
  if (too_deep) return malformed("header nested too deeply");
  if (doubled) return malformed("header names \"" + *doubled + "\" twice");
  if (!header.is_object()) return malformed("header is not a JSON object");
  return header;
}

Result<Shape> shape_of(const std::string& name, const Json& sizes) {
  if (!sizes.is_array() || sizes.size() > Shape::rank_max) {
    return malformed(name + ": shape is not a list of at most four sizes");
  }
  Shape shape;
  std::int64_t elements = 1;
  for (const Json& size : sizes) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() == 0) {
      return malformed(name + ": a size is not a positive whole number");
    }
    const auto count = size.get<std::uint64_t>();
    if (count > static_cast<std::uint64_t>(elements_max / elements)) {
      return malformed(name + ": too many elements");
    }
    elements *= static_cast<std::int64_t>(count);
    shape.append(static_cast<std::int64_t>(count));
  }
  return shape;
}

Result<Entry> entry_of(const std::string& name, const Json& json) {
  if (name.empty() || name.size() > name_bytes_max) {
    return malformed("a tensor's name is empty or too long", {name.size(), name_bytes_max});
  }
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    return malformed(name + ": expected exactly dtype, shape and data_offsets");
  }
  Entry entry{.name = name};
  if (json["dtype"] == "F32") {
    entry.dtype = FileDtype::f32;
  } else if (json["dtype"] == "BF16") {
    entry.dtype = FileDtype::bf16;
  } else if (json["dtype"] == "F16") {
    entry.dtype = FileDtype::f16;
  } else {
    return malformed(name + ": dtype is none of F32, BF16 and F16");
  }
  Result<Shape> shape = shape_of(name, json["shape"]);
  if (!shape) return shape.error();
  entry.shape = *shape;
  const Json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return malformed(name + ": data_offsets are not two whole numbers");
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  const std::int64_t bytes_each = entry.dtype == FileDtype::f32 ? 4 : 2;
  const auto bytes = static_cast<std::uint64_t>(entry.shape.elements() * bytes_each);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return malformed(name + ": offsets disagree with shape and dtype",
                     {entry.end < entry.begin ? 0 : entry.end - entry.begin, bytes});
  }
  return entry;
}

// The tensors, end to end, are exactly the data: no overlap, no hole, nothing behind them.
Status check_layout(std::vector<Entry>& entries, std::uint64_t data_bytes) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  std::uint64_t reached = 0;
  for (const Entry& entry : entries) {
    if (entry.end > data_bytes) {
      return malformed(entry.name + ": ends outside the file", {entry.end, data_bytes});
    }
    if (entry.begin < reached) {
      return malformed(entry.name + ": overlaps the tensor before it", {entry.begin, reached});
    }
    if (entry.begin > reached) {
      return malformed(entry.name + ": a hole before it", {entry.begin, reached});
    }
    reached = entry.end;
  }
  if (reached != data_bytes) {
    return malformed("bytes behind the last tensor", {data_bytes, reached});
  }
  return ok();
}

// IEEE 754 binary16: a sign, five bits of exponent (bias 15), ten of fraction.
float of_half(std::uint16_t bits) {
  const int exponent = bits >> 10U & 31U;
  const float fraction = static_cast<float>(bits & 1023U) / 1024.0F;
  const float size = exponent == 31  ? std::numeric_limits<float>::infinity()
                     : exponent == 0 ? std::ldexp(fraction, -14)
                                     : std::ldexp(1 + fraction, exponent - 15);
  return (bits & 0x8000U) != 0 ? -size : size;
}

Result<std::vector<float>> values_of(const Entry& entry, const std::byte* data) {
  std::vector<float> values(static_cast<std::size_t>(entry.shape.elements()));
  const std::byte* from = data + entry.begin;
  if (entry.dtype == FileDtype::f32) {
    std::memcpy(values.data(), from, entry.end - entry.begin);
  } else {
    for (float& value : values) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, from, sizeof bits);
      // BF16 is the upper half of an F32.
      value = entry.dtype == FileDtype::bf16 ? std::bit_cast<float>(std::uint32_t{bits} << 16U)
                                             : of_half(bits);
      from += sizeof bits;
    }
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(values.begin(), values.end(), finite)) {
    return malformed(entry.name + ": holds a value that is not finite");
  }
  return values;
}

}  // namespace

Result<Weights> Weights::read(const std::filesystem::path& file) {
  const auto unreadable = [&](std::string why) {
    return Error{.code = Errc::file_unreadable, .detail = file.string() + ": " + std::move(why)};
  };
  std::error_code status;
  const std::uintmax_t size = std::filesystem::file_size(file, status);
  if (status) return unreadable(status.message());
  if (size > weights_file_bytes_max) {
    return malformed(file.string() + ": file too large", {size, weights_file_bytes_max});
  }
  std::vector<std::byte> bytes(size);
  std::ifstream stream(file, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  if (!stream) return unreadable("could not be read to its end");
  Result<Weights> weights = parse(bytes);
  if (weights) return weights;
  Error error = weights.error();
  error.detail = file.string() + ": " + error.detail;
  return error;
}

Result<Weights> Weights::parse(std::span<const std::byte> file) {
  Result<std::string_view> text = header_of(file);
  if (!text) return text.error();
  Result<Json> header = parse_header(*text);
  if (!header) return header.error();
  if (header->size() > weights_tensors_max) return malformed("too many tensors");

  Weights weights;
  std::vector<Entry> entries;
  for (const auto& [name, json] : header->items()) {
    if (name == "__metadata__") {
      if (!json.is_object()) return malformed("__metadata__ is not an object");
      for (const auto& [key, value] : json.items()) {
        if (!value.is_string()) return malformed("__metadata__ holds more than text");
        weights.metadata_.emplace(key, value.get<std::string>());
      }
      continue;
    }
    Result<Entry> entry = entry_of(name, json);
    if (!entry) return entry.error();
    entries.push_back(*std::move(entry));
  }
  const std::size_t data_begin = length_bytes + text->size();
  const Status layout = check_layout(entries, file.size() - data_begin);
  if (!layout) return layout.error();
  for (const Entry& entry : entries) {
    Result<std::vector<float>> values = values_of(entry, file.data() + data_begin);
    if (!values) return values.error();
    weights.put(entry.name, entry.shape, *std::move(values));
  }
  return weights;
}

void Weights::put(const std::string& name, const Shape& shape, std::vector<float> values) {
  GPUPOOL_ENSURE(static_cast<std::int64_t>(values.size()) == shape.elements(), values.size());
  const bool is_new = tensors_.emplace(name, Tensor{shape, std::move(values)}).second;
  GPUPOOL_ENSURE(is_new, name);
}

Result<std::vector<float>> Weights::take(const std::string& name, const Shape& shape) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return malformed("no tensor \"" + name + "\"");
  if (found->second.shape != shape) {
    return malformed("tensor \"" + name + "\" is " + to_string(found->second.shape) +
                     ", expected " + to_string(shape));
  }
  std::vector<float> values = std::move(found->second.values);
  tensors_.erase(found);
  return values;
}

void Weights::drop(const std::string& prefix) {
  std::erase_if(tensors_, [&](const auto& tensor) { return tensor.first.starts_with(prefix); });
}

void Weights::rename(const std::string& name, const std::string& to) {
  if (contains(to)) return;
  auto node = tensors_.extract(name);
  if (node.empty()) return;
  node.key() = to;
  tensors_.insert(std::move(node));
}

std::optional<std::string> Weights::any_left() const {
  if (tensors_.empty()) return std::nullopt;
  return tensors_.begin()->first;
}

std::int64_t Weights::elements() const {
  std::int64_t total = 0;
  for (const auto& [name, tensor] : tensors_) total += tensor.shape.elements();
  return total;
}

}  // namespace gpupool
