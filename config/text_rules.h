#pragma once
// What a text in a configuration may be, rule by rule, each with the words that tell what was
// expected. For config/ and commands that take the same.

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

#include "config/config.h"
#include "config/limits.h"
#include "config/section.h"

namespace gpupool {

inline bool is_name(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !text.empty() && std::cmp_less_equal(text.size(), limits::name_bytes_max) &&
         plain(text.front()) && std::all_of(text.begin(), text.end(), [&](char c) {
           return plain(c) || c == '-' || c == '_' || c == '.';
         });
}

// 127.0.0.0/8 in numbers; not a name such as 127.example.org, which may lead anywhere.
inline bool is_loopback_number(std::string_view host) {
  return host.starts_with("127.") && std::count(host.begin(), host.end(), '.') == 3 &&
         std::all_of(host.begin(), host.end(),
                     [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

// Whether a broker and its workers may talk over this address: only inside this machine. Of names
// only that one which always means this machine (RFC 6761).
inline bool is_loopback(std::string_view text) {
  const auto address = parse_address(std::string(text));
  return address && (is_loopback_number(address->host) || address->host == "localhost" ||
                     address->host == "::1");
}

inline constexpr TextRule name_rule{
    .expected = "a name of 1 to 64 letters, digits, '-', '_' and '.', a letter or digit first",
    .allows = is_name};
inline constexpr TextRule user_rule{
    .expected = "the name of a user as tokens have it: letters, digits and ._@+-",
    .allows = [](std::string_view text) {
      return !text.empty() && text.size() <= 120 &&
             std::all_of(text.begin(), text.end(), [](char c) {
               return is_name(std::string_view(&c, 1)) ||
                      std::string_view("._@+-").find(c) != std::string_view::npos;
             });
    }};
// Of an account of this machine, as useradd takes it; root is none to run a stranger's program.
inline constexpr TextRule account_name_rule{
    .expected = "an account of this machine other than root", .allows = [](std::string_view text) {
      return !text.empty() && text.size() <= 32 && text != "root" && is_name(text);
    }};
// What fits into the address of a Unix socket, with its final zero.
inline constexpr std::size_t socket_path_bytes_max = 107;
inline constexpr TextRule client_rule{
    .expected =
        "an endpoint such as \"tcp://127.0.0.1:7400\", port \"*\" for a free one, or "
        "\"ipc:///run/gpupool.sock\", a whole path of at most 107 bytes",
    .allows = [](std::string_view text) {
      if (text.starts_with("ipc:///"))
        return text.size() > 7 && !text.ends_with('/') && text.size() - 6 <= socket_path_bytes_max;
      if (!text.starts_with("tcp://") || text.size() > 255) return false;
      const std::string address(text.substr(6));
      if (address.ends_with(":*")) return address.size() > 2;
      const auto parsed = parse_address(address);
      return parsed && parsed->port != 0;
    }};
inline constexpr TextRule worker_address_rule{
    .expected = "nothing, or an address such as \"127.0.0.1:7401\", port 0 for a free one",
    .allows = [](std::string_view text) {
      return text.empty() || bool{parse_address(std::string(text))};
    }};
inline constexpr TextRule broker_address_rule{
    .expected = "an address such as \"127.0.0.1:7401\", or several with commas between them",
    .allows = [](std::string_view text) {
      const auto address = parse_address(std::string(text));
      return address && address->port != 0;
    }};
// What a rank binds to: of this machine, as others reach it.
inline constexpr TextRule rank_address_rule{
    .expected = "nothing, or the name or address of this machine that other nodes reach it by",
    .allows = [](std::string_view text) {
      return text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
               return is_name(std::string_view(&c, 1)) ||
                      std::string_view(".:-").find(c) != std::string_view::npos;
             });
    }};
inline constexpr TextRule any_text{
    .expected = "a text of 1 to 255 bytes",
    .allows = [](std::string_view text) { return !text.empty() && text.size() <= 255; }};

template <const auto& choices>
bool is_one_of(std::string_view text) {
  return std::find(std::begin(choices), std::end(choices), text) != std::end(choices);
}
inline constexpr std::string_view roles[] = {"broker", "worker"};
inline constexpr std::string_view algorithms[] = {"HS256", "EdDSA"};
inline constexpr std::string_view device_kinds[] = {"cpu", "cuda"};
inline constexpr std::string_view precisions[] = {"f32", "bf16"};
inline constexpr std::string_view executors[] = {"diffusion", "noop", "command", "external"};
inline constexpr std::string_view parameter_types[] = {"text", "integer", "number", "boolean"};
inline constexpr std::string_view sandboxes[] = {"bubblewrap", "none"};
inline constexpr std::string_view spreads[] = {"devices", "device", "nodes"};
inline constexpr std::string_view journals[] = {"sqlite", "postgres"};
inline constexpr std::string_view levels[] = {"trace", "debug", "info", "warn", "error", "off"};
inline constexpr TextRule role_rule{"\"broker\" or \"worker\"", is_one_of<roles>};
inline constexpr TextRule algorithm_rule{"\"HS256\" or \"EdDSA\"", is_one_of<algorithms>};
inline constexpr TextRule device_rule{"\"cpu\" or \"cuda\"", is_one_of<device_kinds>};
inline constexpr TextRule precision_rule{"\"f32\" or \"bf16\"", is_one_of<precisions>};
inline constexpr Range memory_range{0, std::int64_t{1} << 50U};  // of a device, or of an app
inline constexpr TextRule executor_rule{"\"diffusion\", \"command\", \"external\" or \"noop\"",
                                        is_one_of<executors>};
inline constexpr TextRule parameter_type_rule{"\"text\", \"integer\", \"number\" or \"boolean\"",
                                              is_one_of<parameter_types>};
inline constexpr TextRule sandbox_rule{"\"bubblewrap\" or \"none\"", is_one_of<sandboxes>};
inline constexpr TextRule spread_rule{"\"devices\", \"device\" or \"nodes\"", is_one_of<spreads>};
inline constexpr std::string_view durations[] = {"declared", "auto"};
inline constexpr TextRule app_duration_rule{"\"declared\" or \"auto\"", is_one_of<durations>};
inline constexpr TextRule journal_rule{"\"sqlite\" or \"postgres\"", is_one_of<journals>};
// A name that PostgreSQL takes unquoted too, so that people can type it.
inline constexpr TextRule schema_rule{
    .expected = "1 to 63 small letters, digits and '_', no digit first, not \"pg_...\"",
    .allows = [](std::string_view text) {
      return !text.empty() && text.size() <= 63 && !text.starts_with("pg_") &&
             !(text.front() >= '0' && text.front() <= '9') &&
             std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
             });
    }};
inline constexpr TextRule conninfo_rule{
    .expected = "a connection string of libpq, such as \"host=db1 dbname=ledger user=gpupool\"",
    .allows = [](std::string_view text) { return text.size() <= 1024; }};
inline constexpr TextRule level_rule{
    "\"trace\", \"debug\", \"info\", \"warn\", \"error\" or \"off\"", is_one_of<levels>};

inline constexpr std::string_view window_kinds[] = {"rolling", "fixed"};
inline constexpr TextRule window_rule{"\"rolling\" or \"fixed\"", is_one_of<window_kinds>};

inline bool is_time_of_day(std::string_view text) {
  constexpr std::string_view form = "00:00";
  if (text.size() != form.size() || text[2] != ':') return false;
  for (const std::size_t place : {0U, 1U, 3U, 4U})
    if (text[place] < '0' || text[place] > '9') return false;
  return text.substr(0, 2) <= "23" && text.substr(3) <= "59";
}
inline constexpr TextRule time_of_day_rule{"a time of day in UTC from \"00:00\" to \"23:59\"",
                                           is_time_of_day};

}  // namespace gpupool
