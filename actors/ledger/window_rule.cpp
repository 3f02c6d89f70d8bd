#include "actors/ledger/window_rule.h"

#include <algorithm>

#include "actors/describe.h"

namespace gpupool {
namespace {

// Midnight of a Monday, from which fixed windows are counted both ways: those of whole weeks begin
// on Mondays, and those that divide a day begin at the same times on every day.
constexpr Instant monday{345'600'000};  // 1970-01-05T00:00:00Z

std::int64_t floored(std::int64_t value, std::int64_t unit) {
  const std::int64_t rest = value % unit;
  return value - (rest < 0 ? rest + unit : rest);
}

}  // namespace

WindowSpan window_for(const WindowTerms& rule, Instant now, Instant earliest) {
  GPUPOOL_ENSURE(rule.length > Duration{}, rule.length);
  if (rule.kind == WindowKind::rolling) return {now, now + rule.length};
  const Instant first = monday + rule.starts;
  const Instant opened = first + Duration{floored((now - first).ms, rule.length.ms)};
  return {std::max(opened, earliest), opened + rule.length};
}

std::string text_of(const WindowTerms& rule) {
  const std::string length = countdown_text(rule.length) + " (h:mm:ss)";
  if (rule.kind == WindowKind::rolling) return length + " from an account's first job on";
  return "every " + length + " from " + utc_text(monday + rule.starts).substr(11, 5) + " UTC on";
}

WindowTerms terms_of(const WindowConfig& window) {
  return {.kind = window.kind, .length = window.length, .starts = window.starts};
}

}  // namespace gpupool
