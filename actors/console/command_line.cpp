#include "actors/console/command_line.h"

#include <algorithm>
#include <charconv>

#include "actors/request_id.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::size_t word_shown_max = 60;  // of a wrong word, in an error

bool holds(const std::vector<std::string_view>& all, std::string_view one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

// Cut between characters, never inside one.
std::string quoted(std::string_view word) {
  std::size_t end = std::min(word.size(), word_shown_max);
  while (end < word.size() && end > 0 && (static_cast<unsigned char>(word[end]) & 0xc0U) == 0x80U)
    --end;
  return "\"" + std::string(word.substr(0, end)) + (end < word.size() ? "..." : "") + "\"";
}

// What a token may name as its user (net/PROTOCOL.md section 8): an order about any other name
// would never meet anybody.
bool is_user(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view{"._@+-"}.find(c) != std::string_view::npos;
  });
}

// 192.0.2.7/32 or 2001:db8::/64, as the gateway writes them.
bool is_network(std::string_view text) {
  const bool four = text.ends_with("/32");
  if (!four && !text.ends_with("/64")) return false;
  const std::string_view digits = four ? "0123456789." : "0123456789abcdef:.";
  text.remove_suffix(3);
  return text.find(four ? '.' : ':') != std::string_view::npos &&
         text.find_first_not_of(digits) == std::string_view::npos;
}

// All digits, not 0 and few enough to fit.
bool read_number(std::string_view text, std::uint64_t& number) {
  if (text.empty() || text.size() > 18 ||
      !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return false;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number > 0;
}

}  // namespace

std::string CommandLine::value(std::string_view option) const {
  const auto it = options.find(option);
  return it == options.end() ? "" : it->second;
}

Error misused(const Grammar& grammar, const std::string& mistake) {
  return {.code = Errc::bad_request, .detail = mistake + "; usage: " + std::string(grammar.usage)};
}

std::string list_of(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

Result<CommandLine> parse_command(const Grammar& grammar, const std::vector<std::string>& words) {
  CommandLine line;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with("--")) {
      line.names.push_back(word);
      continue;
    }
    const bool takes_value = holds(grammar.options, word);
    if (!takes_value && !holds(grammar.flags, word))
      return misused(grammar, "there is no option " + quoted(word));
    if (line.has(word)) return misused(grammar, word + " is given twice");
    if (takes_value && i + 1 == words.size()) return misused(grammar, word + " has no value");
    line.options[word] = takes_value ? words[++i] : "";
  }
  if (line.names.size() < grammar.names_min) return misused(grammar, "something is missing");
  if (line.names.size() > grammar.names_max)
    return misused(grammar, quoted(line.names[grammar.names_max]) + " is one word too many");
  return line;
}

Result<AccountId> parse_account(const Grammar& grammar, const std::string& name) {
  const bool whole = name.starts_with("user:") || name.starts_with("address:");
  const std::string account = whole ? name : "user:" + name;
  if (account.size() > static_cast<std::size_t>(limits::account_bytes_max))
    return misused(grammar, "the account " + quoted(account) + " has " +
                                std::to_string(account.size()) + " bytes, at most " +
                                std::to_string(limits::account_bytes_max) + " are allowed");
  if (account.back() == ':') return misused(grammar, quoted(account) + " names nobody");
  const std::size_t colon = account.find(':');
  const std::string rest = account.substr(colon + 1);
  if (account.starts_with("user:") ? !is_user(rest) : !is_network(rest))
    return misused(grammar, quoted(account) +
                                " is no account: a user has letters, digits and ._@+-, and a "
                                "network address is such as address:192.0.2.7/32");
  return AccountId{account};
}

Result<AccountId> parse_account_or_group(const Grammar& grammar, const std::string& name) {
  constexpr std::string_view prefix = "group:";
  if (!name.starts_with(prefix)) return parse_account(grammar, name);
  const std::string group = name.substr(prefix.size());
  if (!is_user(group) || name.size() > static_cast<std::size_t>(limits::account_bytes_max))
    return misused(grammar, quoted(name) + " is no group: group:NAME, as in [[groups]]");
  return AccountId{name};
}

Result<JobId> parse_job_number(const Grammar& grammar, const std::string& text) {
  std::uint64_t number = 0;
  if (!read_number(text, number))
    return misused(grammar, "a job is a number such as 17, not " + quoted(text));
  return JobId{number};
}

Result<GpuTime> parse_amount(const Grammar& grammar, const std::string& text) {
  const Error wrong =
      misused(grammar, "an amount is seconds above 0, such as 600, 7.5, 90s, 10m or 2h, at most " +
                           std::to_string(limits::credits_ms_max / 1000) + ", not " + quoted(text));
  std::string_view number = text;
  std::int64_t unit_s = 1;
  if (!number.empty() && (number.back() < '0' || number.back() > '9')) {
    unit_s = number.back() == 's'   ? 1
             : number.back() == 'm' ? 60
             : number.back() == 'h' ? 3'600
                                    : 0;
    number.remove_suffix(1);
  }
  const std::size_t point = number.find('.');
  std::string digits(number.substr(0, point));
  std::string decimals(point == std::string_view::npos ? "0" : number.substr(point + 1));
  if (unit_s == 0 || digits.empty() || decimals.empty() || decimals.size() > 3) return wrong;
  decimals.resize(3, '0');
  std::uint64_t thousandths = 0;
  if (!read_number(digits + decimals, thousandths)) return wrong;
  if (std::cmp_greater(thousandths, limits::credits_ms_max / unit_s)) return wrong;
  return GpuTime{static_cast<std::int64_t>(thousandths) * unit_s};
}

Result<RequestId> parse_order_id(const Grammar& grammar, const CommandLine& line) {
  const Result<RequestId> id = parse_request_id(line.value("--id"));
  if (!id)
    return misused(grammar,
                   "--id is a UUID of version 7, new for each order, so that one which is sent "
                   "twice happens once");
  return *id;
}

Result<std::uint32_t> parse_limit(const Grammar& grammar, const CommandLine& line,
                                  std::uint32_t otherwise) {
  if (!line.has("--limit")) return otherwise;
  std::uint64_t number = 0;
  if (!read_number(line.value("--limit"), number) ||
      std::cmp_greater(number, limits::table_rows_max))
    return misused(grammar, "--limit is a number from 1 to " +
                                std::to_string(limits::table_rows_max) + ", not " +
                                quoted(line.value("--limit")));
  return static_cast<std::uint32_t>(number);
}

}  // namespace gpupool
