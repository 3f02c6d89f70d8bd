#include "config/section.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <sstream>

namespace gpupool {
namespace {

constexpr std::size_t quoted_bytes_max = 60;

std::int64_t line_of(const toml::source_region& region) {
  return static_cast<std::int64_t>(region.begin.line);
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text.substr(0, quoted_bytes_max))
    out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return out + (text.size() > quoted_bytes_max ? "...\"" : "\"");
}

std::string found_in(const toml::node& node) {
  if (const auto* text = node.as_string()) return "the text " + in_quotes(text->get());
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  std::ostringstream out;
  if (const auto* number = node.as_floating_point())
    out << number->get();
  else if (const auto* flag = node.as_boolean())
    out << (flag->get() ? "true" : "false");
  else if (node.is_table())
    out << "a table";
  else if (node.is_array())
    out << "a list";
  else
    out << "a date or time";
  return out.str();
}

std::string seconds_text(std::int64_t ms) {
  std::string text = std::to_string(ms / 1000);
  if (ms % 1000 == 0) return text;
  char part[8];
  std::snprintf(part, sizeof part, ".%03d", static_cast<int>(ms % 1000));
  return text + part;
}

// Tells a key such as tiers[2].rank from its place in a list: tiers.rank.
std::string without_indices(std::string_view key) {
  std::string out;
  bool inside = false;
  for (const char c : key) {
    if (c == '[') inside = true;
    if (!inside) out += c;
    if (c == ']') inside = false;
  }
  return out;
}

}  // namespace

void Findings::add(const FilePlace& place, std::string_view expected, std::string found) {
  if (first_ && first_->want <= place.line) return;
  first_ = Error{.code = Errc::config_invalid,
                 .want = place.line,
                 .detail = file_.string() + ":" + std::to_string(place.line) + ": " +
                           (place.key.empty() ? "" : place.key + ": ") + "expected " +
                           std::string(expected) + ", found " + found};
}

std::string Section::name_of(std::string_view key) const {
  return place_.key.empty() ? std::string(key) : place_.key + "." + std::string(key);
}

FilePlace Section::place_of(std::string_view key) const {
  FilePlace place{.line = place_.line, .key = name_of(key)};
  if (table_ == nullptr) return place;
  if (const auto entry = table_->find(key); entry != table_->end())
    place.line = line_of(entry->first.source());
  return place;
}

void Section::reject(std::string_view key, std::string_view expected, std::string found) {
  findings_.add(place_of(key), expected, std::move(found));
}

const toml::node* Section::find(std::string_view key, Need need, std::string_view expected) {
  asked_.insert(std::string(key));
  findings_.note_key(without_indices(name_of(key)));
  const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
  if (node == nullptr && need == Need::required) reject(key, expected, "no such key");
  return node;
}

void Section::text(std::string_view key, std::string& target, TextRule rule, Need need) {
  const auto* node = find(key, need, rule.expected);
  if (node == nullptr) return;
  const auto* text = node->as_string();
  if (text != nullptr) target = text->get();
  if (text == nullptr || !rule.allows(text->get())) reject(key, rule.expected, found_in(*node));
}

void Section::texts(std::string_view key, std::vector<std::string>& target, TextRule rule,
                    Repeats repeats) {
  const auto* node = find(key, Need::optional, rule.expected);
  if (node == nullptr) return;
  const auto* list = node->as_array();
  if (list == nullptr)
    return reject(key, "a list, each " + std::string(rule.expected), found_in(*node));
  target.clear();
  for (const auto& item : *list) {
    const auto* text = item.as_string();
    const FilePlace place{.line = line_of(item.source()), .key = name_of(key)};
    if (text == nullptr || !rule.allows(text->get()))
      findings_.add(place, rule.expected, found_in(item));
    else if (repeats == Repeats::refused &&
             std::find(target.begin(), target.end(), text->get()) != target.end())
      findings_.add(place, "each entry once", found_in(item) + " again");
    else
      target.push_back(text->get());
  }
}

void Section::numbers(std::string_view key, std::vector<std::uint32_t>& target, Range allowed) {
  const std::string expected = "a list of different whole numbers from " +
                               std::to_string(allowed.low) + " to " + std::to_string(allowed.high);
  const auto* node = find(key, Need::optional, expected);
  if (node == nullptr) return;
  const auto* list = node->as_array();
  if (list == nullptr) return reject(key, expected, found_in(*node));
  target.clear();
  for (const auto& item : *list) {
    const auto* number = item.as_integer();
    const bool fits =
        number != nullptr && number->get() >= allowed.low && number->get() <= allowed.high;
    const auto value = fits ? static_cast<std::uint32_t>(number->get()) : 0;
    if (!fits || std::find(target.begin(), target.end(), value) != target.end())
      findings_.add({.line = line_of(item.source()), .key = name_of(key)}, expected,
                    found_in(item) + (fits ? " again" : ""));
    else
      target.push_back(value);
  }
}

void Section::flag(std::string_view key, bool& target) {
  const auto* node = find(key, Need::optional, "true or false");
  if (node == nullptr) return;
  if (const auto* flag = node->as_boolean())
    target = flag->get();
  else
    reject(key, "true or false", found_in(*node));
}

std::optional<std::int64_t> Section::integer(std::string_view key, Range allowed, Need need) {
  const std::string expected =
      "a whole number from " + std::to_string(allowed.low) + " to " + std::to_string(allowed.high);
  const auto* node = find(key, need, expected);
  if (node == nullptr) return std::nullopt;
  const auto* number = node->as_integer();
  if (number != nullptr && number->get() >= allowed.low && number->get() <= allowed.high)
    return number->get();
  reject(key, expected, found_in(*node));
  return std::nullopt;
}

void Section::count(std::string_view key, std::uint32_t& target, Range allowed, Need need) {
  if (const auto value = integer(key, allowed, need)) target = static_cast<std::uint32_t>(*value);
}

void Section::bytes(std::string_view key, std::int64_t& target, Range allowed) {
  if (const auto value = integer(key, allowed, Need::optional)) target = *value;
}

std::optional<std::int64_t> Section::milliseconds_of(std::string_view key, Range allowed,
                                                     Need need) {
  const std::string expected = "seconds from " + seconds_text(allowed.low) + " to " +
                               seconds_text(allowed.high) + ", at most to the millisecond";
  const auto* node = find(key, need, expected);
  if (node == nullptr) return std::nullopt;
  // A double holds any allowed number of seconds to far less than a microsecond, so what is further
  // than that from a whole millisecond was written so. Not-a-number fails every comparison.
  const auto written = node->is_number() ? node->value<double>() : std::nullopt;
  const double ms = written.value_or(-1.0) * 1000.0;
  if (written && ms >= static_cast<double>(allowed.low) &&
      ms <= static_cast<double>(allowed.high) && std::abs(ms - std::round(ms)) < 1e-3)
    return std::llround(ms);
  reject(key, expected, found_in(*node));
  return std::nullopt;
}

void Section::duration(std::string_view key, Duration& target, Range allowed, Need need) {
  if (const auto ms = milliseconds_of(key, allowed, need)) target = Duration{*ms};
}

void Section::amount(std::string_view key, GpuTime& target, Range allowed, Need need) {
  if (const auto ms = milliseconds_of(key, allowed, need)) target = GpuTime{*ms};
}

void Section::real(std::string_view key, double& target) {
  const auto* node = find(key, Need::optional, "a number");
  if (node == nullptr) return;
  const auto written = node->is_number() ? node->value<double>() : std::nullopt;
  if (written && std::isfinite(*written))
    target = *written;
  else
    reject(key, "a number", found_in(*node));
}

void Section::moment(std::string_view key, Instant& target) {
  constexpr std::string_view expected =
      "a moment with its time zone, such as 2026-12-01T08:00:00Z, without quotes";
  const auto* node = find(key, Need::optional, expected);
  if (node == nullptr) return;
  const auto* written = node->as_date_time();
  if (written == nullptr || !written->get().offset) return reject(key, expected, found_in(*node));
  const toml::date_time& at = written->get();
  namespace chrono = std::chrono;
  const chrono::sys_days date{chrono::year_month_day{
      chrono::year{at.date.year}, chrono::month{at.date.month}, chrono::day{at.date.day}}};
  const auto time =
      chrono::hours{at.time.hour} + chrono::minutes{at.time.minute - at.offset->minutes} +
      chrono::seconds{at.time.second} + chrono::milliseconds{at.time.nanosecond / 1'000'000};
  target = {chrono::duration_cast<chrono::milliseconds>(date.time_since_epoch() + time).count()};
  if (target <= Instant{}) reject(key, expected, found_in(*node));
}

void Section::path(std::string_view key, std::string& target, Need need) {
  const auto* node = find(key, need, "a path");
  if (node == nullptr) return;
  const auto* text = node->as_string();
  if (text == nullptr) return reject(key, "a path", found_in(*node));
  target = text->get();
  if (target.empty()) return;
  target = (findings_.file().parent_path() / target).lexically_normal().string();
}

Section Section::section(std::string_view key) {
  const auto* node = find(key, Need::optional, "a table");
  if (node != nullptr && !node->is_table()) reject(key, "a table", found_in(*node));
  return {node == nullptr ? nullptr : node->as_table(), place_of(key), findings_};
}

std::optional<std::vector<Section>> Section::tables_of(std::string_view key, std::int64_t most) {
  const std::string expected = "1 to " + std::to_string(most) + " tables [[" + name_of(key) + "]]";
  const auto* node = find(key, Need::optional, expected);
  if (node == nullptr) return std::nullopt;
  const auto* list = node->as_array();
  if (list == nullptr) {
    reject(key, expected, found_in(*node));
    return std::nullopt;
  }
  if (list->empty() || std::cmp_greater(list->size(), most))
    reject(key, expected, std::to_string(list->size()));
  std::vector<Section> sections;
  for (const auto& item : *list) {
    const FilePlace place{.line = line_of(item.source()),
                          .key = name_of(key) + "[" + std::to_string(sections.size()) + "]"};
    if (!item.is_table()) findings_.add(place, "a table", found_in(item));
    sections.emplace_back(item.as_table(), place, findings_);
  }
  return sections;
}

void Section::finish() {
  if (table_ == nullptr) return;
  std::string known;
  for (const auto& key : asked_) known += (known.empty() ? "" : ", ") + key;
  for (auto&& [key, value] : *table_)
    if (!asked_.contains(key.str()))
      reject(key.str(), "one of the keys " + known, "an unknown key");
}

}  // namespace gpupool
