#include "cli/arguments.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>

#include "actors/request_id.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::size_t seconds_digits_max = 9;
constexpr std::size_t stem_bytes_max = 48;
constexpr std::int64_t day_s = 24 * 3'600;
constexpr std::int64_t lifetime_s_max = 10 * 366 * day_s;

Error usage(std::string expected, std::string_view found) {
  return {.code = Errc::bad_request,
          .detail = std::move(expected) + ", not \"" + std::string(found.substr(0, 40)) + "\""};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// All digits and few enough to fit.
bool read_whole(std::string_view text, std::int64_t& number) {
  if (text.empty() || text.size() > 18 || !std::all_of(text.begin(), text.end(), is_digit))
    return false;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return true;
}

// "90s" or "7d" in seconds; nothing where the form is another. What is beyond the longest lifetime
// is only a little more than that, so that nothing overflows.
std::optional<std::int64_t> span_s(std::string_view text) {
  if (text.size() < 2) return {};
  const std::string_view digits = text.substr(0, text.size() - 1);
  if (!std::all_of(digits.begin(), digits.end(), is_digit)) return {};
  const char unit = text.back();
  const std::int64_t unit_s = unit == 's'   ? 1
                              : unit == 'm' ? 60
                              : unit == 'h' ? 3'600
                              : unit == 'd' ? day_s
                                            : 0;
  if (unit_s == 0) return {};
  std::int64_t count = 0;
  if (!read_whole(digits, count) || count > lifetime_s_max / unit_s) return lifetime_s_max + 1;
  return count * unit_s;
}

bool is_lifetime(std::int64_t span) { return span >= 1 && span <= lifetime_s_max; }

std::string lifetime_text_max() { return std::to_string(lifetime_s_max / day_s) + "d"; }

}  // namespace

Result<Duration> parse_seconds(std::string_view text) {
  const Error wrong = usage("a duration is seconds above 0, such as 15 or 7.5", text);
  const std::size_t point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  std::string decimals(point == std::string_view::npos ? "0" : text.substr(point + 1));
  if (whole.size() > seconds_digits_max || decimals.size() > 3) return wrong;
  decimals.resize(3, '0');
  std::int64_t s = 0;
  std::int64_t ms = 0;
  if (!read_whole(whole, s) || !read_whole(decimals, ms)) return wrong;
  if (text.back() == '.' || s * 1000 + ms == 0) return wrong;
  return Duration{s * 1000 + ms};
}

Result<Duration> parse_lifetime(std::string_view text) {
  const std::optional<std::int64_t> span = span_s(text);
  if (!span) return usage("a lifetime is a number with s, m, h or d, such as 90s or 24h", text);
  if (!is_lifetime(*span)) return usage("a lifetime is from 1s to " + lifetime_text_max(), text);
  return seconds(*span);
}

Result<Instant> parse_since(std::string_view text, Instant now) {
  if (const std::optional<std::int64_t> span = span_s(text)) {
    if (is_lifetime(*span)) return now - seconds(*span);
    return usage("a moment is from 1s to " + lifetime_text_max() + " ago", text);
  }
  const Error wrong =
      usage("a moment is 7d, 24h or the like, 2026-11-01, or 2026-11-01T18:30:00Z", text);
  constexpr std::string_view form = "0000-00-00T00:00:00.000Z";
  constexpr std::size_t date_only = 10;
  constexpr std::size_t without_ms = 20;
  if (text.size() == without_ms && text.back() == 'Z')
    text.remove_suffix(1);
  else if (text.size() != date_only && text.size() != form.size())
    return wrong;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (form[i] == '0' ? !is_digit(text[i]) : text[i] != form[i]) return wrong;
  const auto number = [&](std::size_t place, std::size_t digits) {
    int value = 0;
    if (place < text.size()) std::from_chars(&text[place], &text[place] + digits, value);
    return value;
  };
  using namespace std::chrono;
  const year_month_day date{year{number(0, 4)}, month{static_cast<unsigned>(number(5, 2))},
                            day{static_cast<unsigned>(number(8, 2))}};
  if (!date.ok() || number(0, 4) < 1970 || number(11, 2) > 23 || number(14, 2) > 59 ||
      number(17, 2) > 59)
    return wrong;
  const auto moment = sys_days{date} + std::chrono::hours{number(11, 2)} +
                      std::chrono::minutes{number(14, 2)} + std::chrono::seconds{number(17, 2)} +
                      std::chrono::milliseconds{number(20, 3)};
  return Instant{duration_cast<std::chrono::milliseconds>(moment.time_since_epoch()).count()};
}

Result<JobId> parse_job(std::string_view text) {
  std::int64_t number = 0;
  if (!read_whole(text, number) || number == 0) return usage("a job is a number, such as 17", text);
  return JobId{static_cast<std::uint64_t>(number)};
}

Result<JobOrRequest> parse_job_or_request(std::string_view text) {
  if (const auto job = parse_job(text)) return JobOrRequest{.job = *job};
  if (const auto request = parse_request_id(text)) return JobOrRequest{.request = *request};
  return usage("expected a job's number, such as 17, or a refused request's id, a UUID", text);
}

std::string file_stem_for(std::string_view prompt) {
  std::string stem;
  for (const char c : prompt) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (is_digit(lower) || (lower >= 'a' && lower <= 'z')) {
      stem += lower;
    } else if (!stem.empty() && stem.back() != '-') {
      stem += '-';
    }
    if (stem.size() >= stem_bytes_max) break;
  }
  while (!stem.empty() && stem.back() == '-') stem.pop_back();
  return stem.empty() ? "picture" : stem;
}

}  // namespace gpupool
