#include "cli/record_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <utility>

#include "actors/ledger/blob.h"
#include "actors/ledger/record_names.h"
#include "base/pack.h"

namespace gpupool {
namespace {

constexpr std::uint64_t exact_most = std::uint64_t{1} << 53U;  // of a double

// ---- Words -------------------------------------------------------------------------------------

template <class Enum>
struct Word {
  Enum value{};
  std::string_view text;
};

constexpr std::array codes{
#define GPUPOOL_ERROR(number, name, unit) Word<Errc>{Errc::name, #name},
#include "base/errors.def"
#undef GPUPOOL_ERROR
};
constexpr std::array outcomes{
    Word<Outcome>{Outcome::succeeded, "succeeded"}, Word<Outcome>{Outcome::failed, "failed"},
    Word<Outcome>{Outcome::expired, "expired"}, Word<Outcome>{Outcome::cancelled, "cancelled"}};
constexpr std::array change_kinds{Word<ChangeKind>{ChangeKind::tier, "tier"},
                                  Word<ChangeKind>{ChangeKind::app, "app"},
                                  Word<ChangeKind>{ChangeKind::account, "account"},
                                  Word<ChangeKind>{ChangeKind::node, "node"},
                                  Word<ChangeKind>{ChangeKind::token, "token"},
                                  Word<ChangeKind>{ChangeKind::announcement, "announcement"},
                                  Word<ChangeKind>{ChangeKind::window, "window"},
                                  Word<ChangeKind>{ChangeKind::size, "size"},
                                  Word<ChangeKind>{ChangeKind::rate, "rate"},
                                  Word<ChangeKind>{ChangeKind::group, "group"},
                                  Word<ChangeKind>{ChangeKind::reservation, "reservation"},
                                  Word<ChangeKind>{ChangeKind::identity, "identity"}};
constexpr std::array window_kinds{Word<WindowKind>{WindowKind::rolling, "rolling"},
                                  Word<WindowKind>{WindowKind::fixed, "fixed"}};

constexpr const auto& words_of(Errc) { return codes; }
constexpr const auto& words_of(Outcome) { return outcomes; }
constexpr const auto& words_of(ChangeKind) { return change_kinds; }
constexpr const auto& words_of(WindowKind) { return window_kinds; }

// ---- Writing -----------------------------------------------------------------------------------

template <class T>
Json written(const T& value);

// Only text that is UTF-8 can be a JSON string; what nlohmann-json cannot write it throws at.
bool is_utf8(const std::string& text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

Json written_text(const std::string& text) {
  if (is_utf8(text)) return text;
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string hex;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    hex.push_back(digits[byte >> 4U]);
    hex.push_back(digits[byte & 15U]);
  }
  return {{"hex", hex}};
}

template <class Integer>
Json written_integer(Integer value) {
  const bool is_exact = std::cmp_less_equal(value, exact_most) &&
                        std::cmp_greater_equal(value, -static_cast<std::int64_t>(exact_most));
  return is_exact ? Json(value) : Json(std::to_string(value));
}

Json written_id(const RequestId& id) {
  std::array<char, 37> text{};
  const auto part = [](std::uint64_t of, unsigned shift, unsigned bits) {
    return static_cast<unsigned long long>((of >> shift) & ((std::uint64_t{1} << bits) - 1));
  };
  std::snprintf(text.data(), text.size(), "%08llx-%04llx-%04llx-%04llx-%012llx",
                part(id.high, 32, 32), part(id.high, 16, 16), part(id.high, 0, 16),
                part(id.low, 48, 16), part(id.low, 0, 48));
  return std::string(text.data());
}

template <class Enum>
Json written_word(Enum value) {
  for (const auto& word : words_of(value))
    if (word.value == value) return std::string(word.text);
  return written_integer(static_cast<std::underlying_type_t<Enum>>(value));
}

template <class Struct>
Json written_struct(const Struct& value) {
  Json object = Json::object();
  std::size_t place = 0;
  std::apply(
      [&](const auto&... field) {
        ((object[std::string(names_of_fields<Struct>()[place++])] = written(field)), ...);
      },
      const_cast<Struct&>(value).fields());  // as in base/pack.h: this only reads
  return object;
}

template <class T>
Json written(const T& value) {
  if constexpr (detail::is_shared<T>::value) {
    return written(*value);
  } else if constexpr (std::is_same_v<T, RequestId>) {
    return written_id(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return written_text(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return value;
  } else if constexpr (detail::HasFields<T> && !has_field_names<T>) {
    static_assert(field_count<T> == 1, "name the fields of this struct in record_names.h");
    return written(std::get<0>(const_cast<T&>(value).fields()));
  } else if constexpr (detail::HasFields<T>) {
    return written_struct(value);
  } else if constexpr (detail::Sequence<T>) {
    Json array = Json::array();
    for (const auto& item : value) array.push_back(written(item));
    return array;
  } else if constexpr (std::is_enum_v<T>) {
    return written_word(value);
  } else {
    static_assert(std::is_integral_v<T>, "say how this is written");
    return written_integer(value);
  }
}

// ---- Reading -----------------------------------------------------------------------------------

// What is wrong and where; empty: nothing. Names are put before it on the way out.
using Problem = std::string;

template <class T>
Problem read(const Json& json, T& value);

Problem under(std::string_view name, const Problem& problem) {
  if (problem.empty()) return problem;
  const bool is_deeper = problem.find(": ") != std::string::npos;
  return std::string(name) + (is_deeper ? "." : ": ") + problem;
}

template <class Integer>
Problem read_integer(const Json& json, Integer& value) {
  const Problem problem = "expected a whole number from " +
                          std::to_string(std::numeric_limits<Integer>::min()) + " to " +
                          std::to_string(std::numeric_limits<Integer>::max());
  if (json.is_string()) {
    const auto& text = json.get_ref<const std::string&>();
    const auto done = std::from_chars(text.data(), text.data() + text.size(), value);
    return done.ec == std::errc{} && done.ptr == text.data() + text.size() ? "" : problem;
  }
  if (json.is_number_unsigned() && std::in_range<Integer>(json.get<std::uint64_t>())) {
    value = static_cast<Integer>(json.get<std::uint64_t>());
    return "";
  }
  if (!json.is_number_integer() || json.is_number_unsigned() ||
      !std::in_range<Integer>(json.get<std::int64_t>()))
    return problem;
  value = static_cast<Integer>(json.get<std::int64_t>());
  return "";
}

// Two digits for each byte, of either case.
bool read_hex(std::string_view digits, std::string& bytes) {
  bytes.clear();
  if (digits.size() % 2 != 0) return false;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    unsigned byte = 0;
    const char* end = digits.data() + i + 2;
    const auto done = std::from_chars(digits.data() + i, end, byte, 16);
    if (done.ec != std::errc{} || done.ptr != end) return false;
    bytes.push_back(static_cast<char>(byte));
  }
  return true;
}

Problem read_text(const Json& json, std::string& value) {
  if (json.is_string()) {
    value = json.get<std::string>();
    return "";
  }
  const bool is_hex =
      json.is_object() && json.size() == 1 && json.contains("hex") && json["hex"].is_string();
  return is_hex && read_hex(json["hex"].get_ref<const std::string&>(), value)
             ? ""
             : "expected text, or an object with its bytes in \"hex\"";
}

Problem read_id(const Json& json, RequestId& id) {
  const Problem problem = "expected an id like 0190a6c1-2f3a-7b10-8c4d-5e6f70819293";
  if (!json.is_string()) return problem;
  std::string text = json.get<std::string>();
  if (text.size() != 36) return problem;
  for (const std::size_t dash : {23, 18, 13, 8})
    if (std::exchange(text[dash], ' ') != '-') return problem;
  std::erase(text, ' ');
  std::string bytes;
  if (text.size() != 32 || !read_hex(text, bytes)) return problem;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::uint64_t& half = i < 8 ? id.high : id.low;
    half = half << 8U | static_cast<unsigned char>(bytes[i]);
  }
  return "";
}

template <class Enum>
Problem read_word(const Json& json, Enum& value) {
  if (json.is_string())
    for (const auto& word : words_of(value))
      if (word.text == json.get_ref<const std::string&>()) {
        value = word.value;
        return "";
      }
  std::underlying_type_t<Enum> number{};
  if (!read_integer(json, number).empty()) return "is not one of its words";
  value = static_cast<Enum>(number);
  return "";
}

// All the fields that there are have to be the first ones.
template <class Struct>
Problem read_struct(const Json& json, Struct& value) {
  if (!json.is_object()) return "expected an object";
  constexpr auto& names = names_of_fields<Struct>();
  std::size_t found = 0;
  while (found < names.size() && json.contains(names[found])) ++found;
  if (found == 0) return std::string(names[0]) + ": is missing";
  for (const auto& [key, ignored] : json.items()) {
    const auto name = std::find(names.begin(), names.end(), key);
    if (name == names.end()) return key + ": is not known here";
    if (std::cmp_greater_equal(name - names.begin(), found))
      return std::string(names[found]) + ": is missing";
  }
  std::size_t place = 0;
  Problem problem;
  const auto take = [&](auto& field) {
    if (place < found && problem.empty())
      problem = under(names[place], read(json[std::string(names[place])], field));
    ++place;
  };
  std::apply([&](auto&... field) { (take(field), ...); }, value.fields());
  return problem;
}

template <class T>
Problem read_array(const Json& json, T& value) {
  if (!json.is_array()) return "expected an array";
  value.clear();
  for (const Json& item : json)
    if (const Problem problem = read(item, value.emplace_back()); !problem.empty())
      return under(std::to_string(value.size() - 1), problem);
  return "";
}

template <class T>
Problem read(const Json& json, T& value) {
  if constexpr (detail::is_shared<T>::value) {
    std::remove_cvref_t<decltype(*value)> inner{};
    const Problem problem = read(json, inner);
    value = std::move(inner);
    return problem;
  } else if constexpr (std::is_same_v<T, RequestId>) {
    return read_id(json, value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return read_text(json, value);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return "expected true or false";
    value = json.get<bool>();
    return "";
  } else if constexpr (detail::HasFields<T> && !has_field_names<T>) {
    return read(json, std::get<0>(value.fields()));
  } else if constexpr (detail::HasFields<T>) {
    return read_struct(json, value);
  } else if constexpr (detail::Sequence<T>) {
    return read_array(json, value);
  } else if constexpr (std::is_enum_v<T>) {
    return read_word(json, value);
  } else {
    return read_integer(json, value);
  }
}

template <std::size_t... Index>
Problem read_body(std::size_t which, const Json& json, RecordBody& body,
                  std::index_sequence<Index...>) {
  Problem problem;
  ((which == Index && (problem = read(json, body.emplace<Index>()), true)) || ...);
  return problem;
}

// The request that lies beside the record of its hold, which names it by its hash.
Problem read_blob(const Json& json, RecordBody& body) {
  auto* opened = std::get_if<HoldOpened>(&body);
  if (opened == nullptr) return "only a hold has one";
  JobRequest request;
  if (Problem problem = read(json, request); !problem.empty()) return problem;
  std::string bytes = pack(request);
  if (blob_ref(bytes).hash != opened->hold->blob->hash) return "is not the one that the hold names";
  opened->blob = std::move(bytes);
  return "";
}

Problem read_record(const Json& json, Record& record) {
  if (!json.is_object()) return "expected an object";
  for (const char* name : {"sequence", "at", "kind", "fields"})
    if (!json.contains(name)) return std::string(name) + ": is missing";
  const bool has_blob = json.contains("blob");
  if (json.size() != (has_blob ? 5 : 4))
    return "expected sequence, at, kind, fields and perhaps blob, and nothing else";
  if (Problem problem = under("sequence", read(json["sequence"], record.sequence));
      !problem.empty())
    return problem;
  if (Problem problem = under("at", read(json["at"], record.at)); !problem.empty()) return problem;
  if (!json["kind"].is_string()) return "kind: expected text";
  const auto& kind = json["kind"].get_ref<const std::string&>();
  const auto found = std::find(kind_names.begin(), kind_names.end(), kind);
  if (found == kind_names.end()) return "kind: this gpupool knows no record \"" + kind + "\"";
  const Problem problem = under(
      kind, read_body(static_cast<std::size_t>(found - kind_names.begin()), json["fields"],
                      record.body, std::make_index_sequence<std::variant_size_v<RecordBody>>{}));
  if (!problem.empty() || !has_blob) return problem;
  return under("blob", read_blob(json["blob"], record.body));
}

}  // namespace

Json json_of(const Record& record) {
  Json json = {{"sequence", written(record.sequence)},
               {"at", written(record.at)},
               {"kind", kind_names[record.body.index()]},
               {"fields", std::visit([](const auto& body) { return written(body); }, record.body)}};
  if (const auto* opened = std::get_if<HoldOpened>(&record.body); opened && !opened->blob->empty())
    if (const auto request = unpack<JobRequest>(*opened->blob)) json["blob"] = written(*request);
  return json;
}

Result<Record> record_of_json(const Json& json) {
  Record record;
  const Problem problem = read_record(json, record);
  if (problem.empty()) return record;
  return Error{.code = Errc::file_malformed, .detail = problem};
}

std::string line_of(const Record& record) { return json_of(record).dump(); }

Result<Record> record_of_line(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded()) return Error{.code = Errc::file_malformed, .detail = "is not JSON"};
  return record_of_json(json);
}

}  // namespace gpupool
