#include "cli/simulate.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "actors/describe.h"
#include "cli/output_file.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "config/load.h"
#include "config/trace_columns.h"
#include "net/json_output.h"
#include "simulate/plot.h"

namespace gpupool {
namespace {

std::string fixed(double value, int decimals) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
  return text.data();
}

Error unusable(const std::string& what) { return {.code = Errc::bad_request, .detail = what}; }

Duration duration_of(double seconds) { return {std::llround(seconds * 1000)}; }

Result<std::vector<Policy>> policies_of(const std::vector<std::string>& names) {
  if (names.empty())
    return std::vector{Policy::fifo, Policy::shortest, Policy::floor, Policy::easy};
  std::vector<Policy> policies;
  for (const std::string& name : names) {
    const auto policy = policy_named(name);
    if (!policy)
      return unusable("--policy: \"" + name +
                      "\" is none of fifo, strict-short, floor and easy-backfill");
    policies.push_back(*policy);
  }
  return policies;
}

// The tier that everybody has, if quotas count.
Result<std::optional<TierConfig>> tier_of(const SimulateOptions& options) {
  if (options.tier.empty()) return std::optional<TierConfig>();
  Config config = default_config();
  if (!options.config.empty()) {
    auto loaded = load_config(options.config);
    if (!loaded) return loaded.error();
    config = *std::move(loaded);
  }
  const TierConfig* tier = config.tier(options.tier);
  if (tier == nullptr) return unusable("--tier: no tier is called \"" + options.tier + "\"");
  return std::optional(*tier);
}

Result<Trace> trace_in(const std::string& text, const SimulateOptions& options,
                       const TraceColumns& columns, std::uint64_t seed) {
  const TraceOptions trace{
      .seed = seed, .time_scale = options.time_scale, .keep_processors = options.keep_processors};
  return is_swf(options.trace) ? parse_swf_trace(text, trace)
                               : parse_csv_trace(text, columns, trace);
}

// How far it is, on a terminal.
class Progress {
 public:
  Progress(std::size_t all, const Connection& connection)
      : all_(all), shows_(style_of(2).is_terminal && !connection.json) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const std::string& what) {
    if (!shows_) return;
    std::fprintf(stderr, "\r%zu of %zu: %-50s", ++done_, all_, what.c_str());
    std::fflush(stderr);
  }
  void clear() const {
    if (shows_ && done_ > 0) std::fprintf(stderr, "\r%80s\r", "");
  }

 private:
  const std::size_t all_;
  const bool shows_;
  std::size_t done_ = 0;
};

struct Outcomes {
  Simulated simulated;
  std::vector<PlotLine> lines;  // of the first seed
};

PlotLine line_of(const Replayed& replayed, const PolicyReport& report, bool with_slots) {
  PlotLine line{.name = report.policy};
  if (with_slots) line.name += ", " + std::to_string(report.slots) + " slots";
  for (const ReplayedRequest& one : replayed.requests)
    if (one.refused == Errc{}) line.waits_s.push_back(static_cast<double>(one.wait.ms) / 1000);
  line.span_s = static_cast<double>(replayed.span.ms) / 1000;
  const double width = static_cast<double>(replayed.span.ms) /
                       static_cast<double>(replayed.occupied.size()) * report.slots;
  for (const double occupied : replayed.occupied) line.occupied.push_back(occupied / width);
  return line;
}

Result<Outcomes> run_all(const Connection& connection, const SimulateOptions& options) {
  const auto policies = policies_of(options.policies);
  if (!policies) return policies.error();
  const auto tier = tier_of(options);
  if (!tier) return tier.error();
  TraceColumns columns;
  if (!is_swf(options.trace)) {
    if (options.columns.empty())
      return unusable("a CSV trace needs --columns FILE, such as config/trace-text-to-image.toml");
    auto loaded = load_trace_columns(options.columns);
    if (!loaded) return loaded.error();
    columns = *std::move(loaded);
  }
  const auto text = read_trace_file(options.trace);
  if (!text) return text.error();
  Progress progress(options.slots.size() * options.seeds * policies->size(), connection);
  Outcomes outcomes{.simulated = {.trace = options.trace,
                                  .seeds = options.seeds,
                                  .short_most = duration_of(options.short_s)}};
  for (const std::uint32_t slots : options.slots) {
    std::vector<std::vector<PolicyReport>> by_policy(policies->size());
    for (std::uint32_t round = 0; round < options.seeds; ++round) {
      auto trace = trace_in(*text, options, columns, options.seed + round);
      if (!trace) return trace.error();
      if (options.load) set_load(*trace, slots, *options.load);
      outcomes.simulated.requests = trace->requests.size();
      outcomes.simulated.passed_over = trace->passed_over;
      outcomes.simulated.accounts = trace->accounts;
      for (std::size_t i = 0; i < policies->size(); ++i) {
        const ReplayOptions replaying{.rules = {.policy = (*policies)[i]},
                                      .slots = slots,
                                      .queue_cap = duration_of(options.queue_cap_s.value_or(0)),
                                      .start = duration_of(options.start_s),
                                      .kill_grace = duration_of(options.grace_s),
                                      .slot_check = duration_of(options.check_s),
                                      .tier = *tier,
                                      .foresee_every = options.foresee_every};
        progress.step(std::string(name_of((*policies)[i])) + ", " + std::to_string(slots) +
                      " slots, seed " + std::to_string(options.seed + round));
        auto replayed = replay(*trace, replaying);
        if (!replayed) return replayed.error();
        by_policy[i].push_back(
            report_of(*trace, *replayed, replaying, outcomes.simulated.short_most));
        if (round == 0 && !options.plot.empty())
          outcomes.lines.push_back(
              line_of(*replayed, by_policy[i].back(), options.slots.size() > 1));
      }
    }
    for (const auto& reports : by_policy) outcomes.simulated.reports.push_back(median_of(reports));
  }
  return outcomes;
}

Json json_of(const Waits& waits) {
  return {{"requests", waits.count}, {"mean_s", waits.mean}, {"p50_s", waits.p50},
          {"p95_s", waits.p95},      {"p99_s", waits.p99},   {"max_s", waits.max}};
}

Json json_of(const PolicyReport& report) {
  Json refused = Json::object();
  for (const auto& [code, count] : report.refused) refused[std::string(name_of(code))] = count;
  Json json{{"policy", report.policy},
            {"slots", report.slots},
            {"mean_wait_s", report.all.mean},
            {"p95_short_s", report.of_short.p95},
            {"worst_wait_s", report.all.max},
            {"utilisation", report.utilisation},
            {"refused", std::move(refused)},
            {"promise_violations", nullptr},
            {"worst_of_promise", nullptr},
            {"jain", report.jain},
            {"waits",
             {{"all", json_of(report.all)},
              {"short", json_of(report.of_short)},
              {"long", json_of(report.of_long)},
              {"xlarge", json_of(report.of_xlarge)}}}};
  if (report.violations) {
    json["promise_violations"] = *report.violations;
    json["worst_of_promise"] = *report.worst_of_bound;
  }
  if (report.foresight)
    json["likely_start"] = {{"requests", report.foresight->count},
                            {"by_later_end", report.foresight->by_latest},
                            {"median_error_s", report.foresight->median_error},
                            {"median_wait_s", report.foresight->median_wait}};
  return json;
}

std::string row_of(const std::vector<std::string>& cells) {
  std::string row = padded_right(cells[0], 15) + padded_right(cells[1], 8);
  for (std::size_t i = 2; i < cells.size(); ++i) row += padded_left(cells[i], 10);
  return row + "\n";
}

std::string waits_rows(const std::string& policy, const Waits& waits, const std::string& who) {
  if (waits.count == 0) return "";
  return row_of({policy, who, std::to_string(waits.count), fixed(waits.mean, 1),
                 fixed(waits.p50, 1), fixed(waits.p95, 1), fixed(waits.p99, 1),
                 fixed(waits.max, 1)});
}

}  // namespace

std::string view_of(const Simulated& simulated) {
  std::string text =
      std::to_string(simulated.requests) + " requests of " + std::to_string(simulated.accounts) +
      " accounts; " + std::to_string(simulated.passed_over) + " rows passed over; medians over " +
      std::to_string(simulated.seeds) + (simulated.seeds == 1 ? " seed\n" : " seeds\n");
  std::uint32_t slots = 0;
  for (const PolicyReport& one : simulated.reports) {
    if (one.slots != slots) {
      slots = one.slots;
      text += "\n" + std::to_string(slots) + " slots; waits in seconds\n" +
              row_of({"policy", "", "requests", "mean", "p50", "p95", "p99", "max"});
    }
    text += waits_rows(one.policy, one.all, "all") + waits_rows("", one.of_short, "short") +
            waits_rows("", one.of_long, "long") + waits_rows("", one.of_xlarge, "xlarge");
    text += "  slots busy " + fixed(100 * one.utilisation, 1) + " %, Jain's index " +
            fixed(one.jain, 3);
    for (const auto& [code, count] : one.refused)
      text += ", refused " + std::to_string(count) + " (" + std::string(name_of(code)) + ")";
    text += one.violations
                ? "; promises broken: " + std::to_string(*one.violations) + ", the closest at " +
                      fixed(*one.worst_of_bound, 2) + " of its promise\n"
                : "; promises nothing\n";
    if (one.foresight)
      text += "  likely starts of " + std::to_string(one.foresight->count) +
              " that waited: " + fixed(100 * one.foresight->by_latest, 1) +
              " % had started by the later end; half were within " +
              fixed(one.foresight->median_error, 1) + " s, where half waited " +
              fixed(one.foresight->median_wait, 1) + " s\n";
  }
  return text + "short: one slot, declared for at most " + seconds_text(simulated.short_most) +
         "; xlarge: several slots\n";
}

std::string json_text_of(const Simulated& simulated) {
  Json results = Json::array();
  for (const PolicyReport& one : simulated.reports) results.push_back(json_of(one));
  return text_of(Json{{"trace", simulated.trace},
                      {"requests", simulated.requests},
                      {"accounts", simulated.accounts},
                      {"rows_passed_over", simulated.passed_over},
                      {"seeds", simulated.seeds},
                      {"short_s", static_cast<double>(simulated.short_most.ms) / 1000},
                      {"results", std::move(results)}});
}

ExitCode simulate(const Connection& connection, const SimulateOptions& options) {
  if (!options.plot.empty())
    if (const Status writable = check_writable(options.plot); !writable) {
      say_error(connection, writable.error());
      return ExitCode::job_failed;
    }
  const auto outcomes = run_all(connection, options);
  if (!outcomes) return say_usage_error(connection, outcomes.error());
  const Simulated& simulated = outcomes->simulated;
  if (!options.plot.empty()) {
    const std::string title = std::to_string(simulated.requests) + " requests of " +
                              std::filesystem::path(options.trace).filename().string();
    if (const Status written = write_whole(options.plot, plot_of(title, outcomes->lines));
        !written) {
      say_error(connection, written.error());
      return ExitCode::job_failed;
    }
  }
  print(connection.json ? json_text_of(simulated) : view_of(simulated));
  if (!options.plot.empty() && !connection.json) print("plot: " + options.plot + "\n");
  for (const PolicyReport& one : simulated.reports)
    if (one.violations.value_or(0) > 0) return ExitCode::audit_differs;
  return ExitCode::done;
}

}  // namespace gpupool
