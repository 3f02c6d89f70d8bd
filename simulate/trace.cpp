#include "simulate/trace.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <unordered_map>

#include "base/prng.h"
#include "config/limits.h"
#include "config/small_file.h"

namespace gpupool {
namespace {

constexpr std::int64_t file_bytes_max = std::int64_t{1} << 30U;
constexpr std::size_t requests_max = 20'000'000;

Error malformed(std::size_t line, const std::string& what) {
  return {.code = Errc::file_malformed,
          .want = static_cast<std::int64_t>(line),
          .detail = "line " + std::to_string(line) + ": " + what};
}

std::optional<double> number_in(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

// Days since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
std::int64_t days_from_civil(std::int64_t year, std::int64_t month, std::int64_t day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t of_era = year - era * 400;
  const std::int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146'097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719'468;
}

// "2024-11-15 16:57:50", with T for the blank and with fractions of a second, or seconds.
std::optional<double> seconds_in(const std::string& text) {
  if (const auto number = number_in(text)) return number;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0;
  double second = 0;
  char between = 0;
  if (std::sscanf(text.c_str(), "%d-%d-%d%c%d:%d:%lf", &year, &month, &day, &between, &hour,
                  &minute, &second) != 7 ||
      (between != ' ' && between != 'T') || month < 1 || month > 12 || day < 1 || day > 31)
    return std::nullopt;
  return static_cast<double>(days_from_civil(year, month, day)) * 86'400 + hour * 3'600 +
         minute * 60 + second;
}

// One line's fields; quotes as in RFC 4180, but no line ends inside them.
std::vector<std::string> fields_of(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += '"';
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  return fields;
}

// Calls `visit` with each line and its number from 1; ends early with its error.
template <class Visit>
Status each_line(const std::string& text, const Visit& visit) {
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (const Status done = visit(++number, std::string_view(text).substr(begin, end - begin));
        !done)
      return done;
    begin = end + 1;
  }
  return ok();
}

// Gathers requests as they are read, in any order and at any time.
class Gatherer {
 public:
  explicit Gatherer(const TraceOptions& options) : scale_(1000 / options.time_scale) {}

  std::uint32_t account(const std::string& name) {
    const auto next = static_cast<std::uint32_t>(numbers_.size());
    return numbers_.try_emplace(name, next).first->second;
  }
  void pass_over() { ++trace_.passed_over; }

  // Seconds as in the file. Without anything that ran or was declared it is no request.
  Status add(std::size_t line, double arrival, TraceRequest request, double ran, double declared) {
    const auto longest = static_cast<double>(limits::duration_ms_max);
    if (ran < 0 || declared <= 0 || declared * scale_ > longest) {
      pass_over();
      return ok();
    }
    if (trace_.requests.size() == requests_max)
      return malformed(line, "more than " + std::to_string(requests_max) + " requests");
    request.arrival.ms = std::llround(arrival * scale_);
    request.declared.ms = std::max<std::int64_t>(std::llround(declared * scale_), 1);
    request.ran.ms =
        std::min(std::llround(ran * scale_), static_cast<long long>(request.declared.ms));
    trace_.requests.push_back(request);
    return ok();
  }

  Result<Trace> finish() {
    auto& requests = trace_.requests;
    if (requests.empty())
      return Error{.code = Errc::file_malformed, .detail = "there is no request in it"};
    std::stable_sort(requests.begin(), requests.end(), [](const auto& one, const auto& other) {
      return one.arrival < other.arrival;
    });
    const Duration first = requests.front().arrival;
    for (TraceRequest& request : requests) request.arrival = request.arrival - first;
    trace_.accounts = std::max<std::uint32_t>(static_cast<std::uint32_t>(numbers_.size()), 1);
    return std::move(trace_);
  }

 private:
  const double scale_;  // to milliseconds
  Trace trace_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
};

// Where the columns stand; none where the trace does not have what it names.
struct Places {
  std::optional<std::size_t> arrival, ran, declared, account, only, xlarge;
};

Result<Places> places_of(const std::vector<std::string>& header, const TraceColumns& columns) {
  Places places;
  const std::pair<const std::string*, std::optional<std::size_t>*> wanted[] = {
      {&columns.arrival, &places.arrival},     {&columns.ran_s, &places.ran},
      {&columns.declared_s, &places.declared}, {&columns.account, &places.account},
      {&columns.only_column, &places.only},    {&columns.xlarge_column, &places.xlarge}};
  for (const auto& [name, place] : wanted) {
    if (name->empty()) continue;
    const auto found = std::find(header.begin(), header.end(), *name);
    if (found == header.end()) return malformed(1, "no column is called \"" + *name + "\"");
    *place = static_cast<std::size_t>(found - header.begin());
  }
  return places;
}

}  // namespace

bool is_swf(const std::string& path) { return path.ends_with(".swf"); }

Result<Trace> parse_csv_trace(const std::string& text, const TraceColumns& columns,
                              const TraceOptions& options) {
  Gatherer gatherer(options);
  Prng random = Prng(options.seed).fork("declared");
  Places places;
  std::size_t width = 0;
  const auto read_row = [&](std::size_t line, std::string_view row) -> Status {
    if (row.empty()) return ok();
    const auto fields = fields_of(row);
    if (width == 0) {
      auto found = places_of(fields, columns);
      if (!found) return found.error();
      places = *found;
      width = fields.size();
      return ok();
    }
    if (fields.size() != width)
      return malformed(line, std::to_string(fields.size()) + " fields, and the header has " +
                                 std::to_string(width));
    if (places.only && fields[*places.only] != columns.only_value) {
      gatherer.pass_over();
      return ok();
    }
    const auto arrival = seconds_in(fields[*places.arrival]);
    const auto ran = number_in(fields[*places.ran]);
    if (!arrival) return malformed(line, "\"" + fields[*places.arrival] + "\" is no time");
    // As users do who know about what their requests take: up to three times that, in whole
    // seconds.
    const double factor = 1 + 2 * static_cast<double>(random.below(1'000'001)) / 1e6;
    std::optional<double> declared =
        places.declared ? number_in(fields[*places.declared])
                        : std::optional{std::max(std::ceil(ran.value_or(0) * factor), 1.0)};
    if (!ran || !declared) {
      gatherer.pass_over();
      return ok();
    }
    TraceRequest request;
    if (places.account) request.account = gatherer.account(fields[*places.account]);
    if (places.xlarge && number_in(fields[*places.xlarge]).value_or(0) >= columns.xlarge_from)
      request.slots = 2;
    return gatherer.add(line, *arrival, request, *ran, *declared);
  };
  if (const Status read = each_line(text, read_row); !read) return read.error();
  return gatherer.finish();
}

Result<Trace> parse_swf_trace(const std::string& text, const TraceOptions& options) {
  constexpr std::size_t submit = 1, run = 3, used = 4, wanted = 7, requested_s = 8, user = 11;
  Gatherer gatherer(options);
  const auto read_row = [&](std::size_t line, std::string_view row) -> Status {
    std::vector<double> fields;
    for (std::size_t at = 0; at < row.size();) {
      const std::size_t begin = row.find_first_not_of(" \t\r", at);
      if (begin == std::string_view::npos || row[begin] == ';') break;
      const std::size_t end = std::min(row.find_first_of(" \t\r", begin), row.size());
      const auto value = number_in(row.substr(begin, end - begin));
      if (!value) return malformed(line, "a field is no number");
      fields.push_back(*value);
      at = end;
    }
    if (fields.empty()) return ok();
    if (fields.size() < 18)
      return malformed(line, std::to_string(fields.size()) + " fields; SWF has 18");
    // -1: not known.
    const double processors = std::max({fields[wanted], fields[used], 1.0});
    if (processors > static_cast<double>(limits::slots_per_node_max))
      return malformed(line,
                       "more than " + std::to_string(limits::slots_per_node_max) + " processors");
    TraceRequest request;
    request.slots = static_cast<std::uint32_t>(options.keep_processors ? processors
                                                                       : std::min(processors, 2.0));
    request.account = gatherer.account(std::to_string(static_cast<std::int64_t>(fields[user])));
    const double declared = fields[requested_s] > 0 ? fields[requested_s] : fields[run];
    return gatherer.add(line, fields[submit], request, fields[run], declared);
  };
  if (const Status read = each_line(text, read_row); !read) return read.error();
  return gatherer.finish();
}

Result<std::string> read_trace_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return unreadable(path, std::generic_category().message(errno));
  const std::streamoff size = file.tellg();
  if (size < 0 || size > file_bytes_max)
    return unreadable(path, "more than " + std::to_string(file_bytes_max) + " bytes");
  std::string text(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(text.data(), size)) return unreadable(path, "it cannot be read to its end");
  return text;
}

void set_load(Trace& trace, std::uint32_t slots, double load) {
  double work = 0;
  for (const TraceRequest& one : trace.requests)
    work += static_cast<double>(one.ran.ms) * one.slots;
  const auto span = static_cast<double>(trace.requests.back().arrival.ms);
  if (span <= 0 || work <= 0) return;
  const double factor = work / slots / load / span;
  for (TraceRequest& one : trace.requests)
    one.arrival.ms = std::llround(static_cast<double>(one.arrival.ms) * factor);
}

}  // namespace gpupool
