#include "config/trace_columns.h"

#include "config/section.h"
#include "config/small_file.h"

namespace gpupool {
namespace {

constexpr std::int64_t file_bytes_max = 64 * 1024;
constexpr Range xlarge_range{1, 1'000'000};
constexpr TextRule any_text{.expected = "a text", .allows = [](std::string_view) { return true; }};
constexpr TextRule column_rule{.expected = "the name of a column",
                               .allows = [](std::string_view text) { return !text.empty(); }};

TraceColumns read_columns(const toml::table& table, Findings& findings) {
  TraceColumns columns;
  Section section(&table, {.line = 1, .key = ""}, findings);
  section.text("arrival", columns.arrival, column_rule, Need::required);
  section.text("ran_s", columns.ran_s, column_rule, Need::required);
  section.text("declared_s", columns.declared_s, any_text);
  section.text("account", columns.account, any_text);
  section.text("only_column", columns.only_column, any_text);
  section.text("only_value", columns.only_value, any_text);
  section.text("xlarge_column", columns.xlarge_column, any_text);
  section.count("xlarge_from", columns.xlarge_from, xlarge_range);
  section.finish();
  return columns;
}

}  // namespace

Result<TraceColumns> load_trace_columns(const std::filesystem::path& file) {
  const auto text = read_small_file(file, file_bytes_max);
  if (!text) return text.error();
  Findings findings{file};
  try {
    const toml::table table = toml::parse(*text, file.string());
    TraceColumns columns = read_columns(table, findings);
    if (findings.first()) return *findings.first();
    return columns;
  } catch (const toml::parse_error& error) {
    findings.add({.line = error.source().begin.line, .key = ""}, "valid TOML",
                 std::string(error.description()));
    return *findings.first();
  }
}

}  // namespace gpupool
