#include "simulate/report.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/ensure.h"

namespace gpupool {
namespace {

constexpr std::pair<Policy, const char*> names[] = {{Policy::fifo, "fifo"},
                                                    {Policy::shortest, "strict-short"},
                                                    {Policy::floor, "floor"},
                                                    {Policy::easy, "easy-backfill"}};

// `waits` in any order; nearest rank.
Waits waits_of(std::vector<double> waits) {
  if (waits.empty()) return {};
  std::sort(waits.begin(), waits.end());
  const auto at = [&waits](double share) {
    const auto rank =
        static_cast<std::size_t>(std::ceil(share * static_cast<double>(waits.size())));
    return waits[std::max<std::size_t>(rank, 1) - 1];
  };
  double sum = 0;
  for (const double wait : waits) sum += wait;
  return {.count = waits.size(),
          .mean = sum / static_cast<double>(waits.size()),
          .p50 = at(0.5),
          .p95 = at(0.95),
          .p99 = at(0.99),
          .max = waits.back()};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

std::optional<ForesightErrors> foresight_of(const Replayed& replayed) {
  std::vector<double> errors, waits;
  double by_latest = 0;
  for (const ReplayedRequest& one : replayed.requests) {
    if (one.likely == Duration{}) continue;
    const double wait = static_cast<double>(one.wait.ms) / 1000;
    waits.push_back(wait);
    errors.push_back(std::abs(wait - static_cast<double>(one.likely.ms) / 1000));
    by_latest += one.wait <= one.likely_latest ? 1 : 0;
  }
  if (waits.empty()) return std::nullopt;
  const auto count = static_cast<double>(waits.size());
  return ForesightErrors{.count = waits.size(),
                         .by_latest = by_latest / count,
                         .median_error = median(std::move(errors)),
                         .median_wait = median(std::move(waits))};
}

// Of what `figure` takes from each report.
template <class Figure>
double median_of(const std::vector<PolicyReport>& reports, const Figure& figure) {
  std::vector<double> values;
  for (const PolicyReport& one : reports) values.push_back(figure(one));
  return median(std::move(values));
}

Waits median_of(const std::vector<PolicyReport>& reports, Waits PolicyReport::*group) {
  const auto of = [&](double Waits::*figure) {
    return median_of(reports, [&](const PolicyReport& one) { return one.*group.*figure; });
  };
  std::uint64_t count = 0;
  for (const PolicyReport& one : reports) count += (one.*group).count;
  return {.count = count,
          .mean = of(&Waits::mean),
          .p50 = of(&Waits::p50),
          .p95 = of(&Waits::p95),
          .p99 = of(&Waits::p99),
          .max = of(&Waits::max)};
}

}  // namespace

double jain_index(const std::vector<double>& shares) {
  double sum = 0;
  double squares = 0;
  for (const double share : shares) {
    sum += share;
    squares += share * share;
  }
  return squares == 0 ? 1 : sum * sum / (static_cast<double>(shares.size()) * squares);
}

PolicyReport report_of(const Trace& trace, const Replayed& replayed, const ReplayOptions& options,
                       Duration short_most) {
  PolicyReport report{.policy = name_of(options.rules.policy), .slots = options.slots};
  std::vector<double> all, of_short, of_long, of_xlarge;
  std::vector<double> ran(trace.accounts), took(trace.accounts);
  std::uint64_t violations = 0;
  double worst = 0;
  for (std::size_t i = 0; i < trace.requests.size(); ++i) {
    const TraceRequest& request = trace.requests[i];
    const ReplayedRequest& done = replayed.requests[i];
    if (done.refused != Errc{}) {
      ++report.refused[done.refused];
      continue;
    }
    const double wait = static_cast<double>(done.wait.ms) / 1000;
    all.push_back(wait);
    auto& group = request.slots > 1                ? of_xlarge
                  : request.declared <= short_most ? of_short
                                                   : of_long;
    group.push_back(wait);
    ran[request.account] += static_cast<double>(request.ran.ms);
    took[request.account] += static_cast<double>(request.ran.ms + done.wait.ms);
    if (done.at_once) continue;  // promised now
    violations += done.wait > done.bound ? 1 : 0;
    worst = std::max(worst, static_cast<double>(done.wait.ms) / static_cast<double>(done.bound.ms));
  }
  report.all = waits_of(std::move(all));
  report.of_short = waits_of(std::move(of_short));
  report.of_long = waits_of(std::move(of_long));
  report.of_xlarge = waits_of(std::move(of_xlarge));
  const double slot_time = static_cast<double>(replayed.span.ms) * options.slots;
  report.utilisation = slot_time > 0 ? static_cast<double>(replayed.work) / slot_time : 0;
  std::vector<double> shares;
  for (std::size_t i = 0; i < ran.size(); ++i)
    if (took[i] > 0) shares.push_back(ran[i] / took[i]);
  report.jain = jain_index(shares);
  report.foresight = foresight_of(replayed);
  if (options.rules.policy == Policy::floor) {
    report.violations = violations;
    report.worst_of_bound = worst;
  }
  return report;
}

PolicyReport median_of(const std::vector<PolicyReport>& reports) {
  GPUPOOL_ENSURE(!reports.empty());
  PolicyReport median{.policy = reports.front().policy,
                      .slots = reports.front().slots,
                      .all = median_of(reports, &PolicyReport::all),
                      .of_short = median_of(reports, &PolicyReport::of_short),
                      .of_long = median_of(reports, &PolicyReport::of_long),
                      .of_xlarge = median_of(reports, &PolicyReport::of_xlarge)};
  median.utilisation = median_of(reports, [](const PolicyReport& one) { return one.utilisation; });
  median.jain = median_of(reports, [](const PolicyReport& one) { return one.jain; });
  if (std::all_of(reports.begin(), reports.end(),
                  [](const PolicyReport& one) { return one.foresight.has_value(); })) {
    const auto of = [&](double ForesightErrors::*figure) {
      return median_of(reports, [&](const PolicyReport& one) { return *one.foresight.*figure; });
    };
    median.foresight = ForesightErrors{.count = reports.front().foresight->count,
                                       .by_latest = of(&ForesightErrors::by_latest),
                                       .median_error = of(&ForesightErrors::median_error),
                                       .median_wait = of(&ForesightErrors::median_wait)};
  }
  for (const PolicyReport& one : reports) {
    for (const auto& [code, count] : one.refused) median.refused[code] += count;
    if (!one.violations) continue;
    median.violations = median.violations.value_or(0) + *one.violations;
    median.worst_of_bound = std::max(median.worst_of_bound.value_or(0), *one.worst_of_bound);
  }
  return median;
}

const char* name_of(Policy policy) {
  const auto found = std::find_if(std::begin(names), std::end(names),
                                  [policy](const auto& one) { return one.first == policy; });
  return found->second;
}

std::optional<Policy> policy_named(const std::string& name) {
  const auto found = std::find_if(std::begin(names), std::end(names),
                                  [&name](const auto& one) { return one.second == name; });
  return found == std::end(names) ? std::nullopt : std::optional(found->first);
}

}  // namespace gpupool
