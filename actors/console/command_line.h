#pragma once
// An operator's words against the grammar of their command: names in their places, options with a
// value, flags. Every mistake is a bad_request that names the word and shows the usage. Pure.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "actors/messages.h"
#include "base/result.h"

namespace gpupool {

struct Grammar {
  std::string_view usage;  // "drain NODE"
  std::size_t names_min = 0;
  std::size_t names_max = 0;
  std::vector<std::string_view> options;  // each takes a value: "--limit"
  std::vector<std::string_view> flags;    // "--clear"
};

struct CommandLine {
  std::vector<std::string> names;
  std::map<std::string, std::string, std::less<>> options;  // a flag's value is empty

  bool has(std::string_view option) const { return options.contains(option); }
  std::string value(std::string_view option) const;  // empty: not given
};

// `words` without the command's own name.
Result<CommandLine> parse_command(const Grammar& grammar, const std::vector<std::string>& words);

// "ada" is the account "user:ada"; "user:ada" and "address:192.0.2.7/32" are themselves.
Result<AccountId> parse_account(const Grammar& grammar, const std::string& name);
// Also "group:NAME", whose credits its users share; no other command is about groups.
Result<AccountId> parse_account_or_group(const Grammar& grammar, const std::string& name);
Result<JobId> parse_job_number(const Grammar& grammar, const std::string& text);
// "600" and "7.5" are seconds, "90s", "10m" and "2h" say so; more than nothing.
Result<GpuTime> parse_amount(const Grammar& grammar, const std::string& text);
// Of --id: a UUID of version 7.
Result<RequestId> parse_order_id(const Grammar& grammar, const CommandLine& line);
// Of --limit; `otherwise` if it is not given.
Result<std::uint32_t> parse_limit(const Grammar& grammar, const CommandLine& line,
                                  std::uint32_t otherwise);

// What is wrong, and the right usage.
Error misused(const Grammar& grammar, const std::string& mistake);

// "free, pro" or "none".
std::string list_of(const std::vector<std::string>& names);

}  // namespace gpupool
