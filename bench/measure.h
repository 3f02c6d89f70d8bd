#pragma once
// What the benchmark programs share: a clock, rates and percentiles, and the disk as a peer. They
// print one JSON object each; bench/run makes the tables.

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace gpupool::bench {

using Clock = std::chrono::steady_clock;

inline double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

inline double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto place = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<std::size_t>(place)];
}

// What one load was like: how many a second, and how long each took.
struct Rate {
  double per_s = 0;
  double p50_us = 0;
  double p99_us = 0;
};

inline Rate rate_of(std::vector<double> latencies_us, double seconds) {
  return {.per_s = static_cast<double>(latencies_us.size()) / seconds,
          .p50_us = percentile(latencies_us, 0.5),
          .p99_us = percentile(latencies_us, 0.99)};
}

// `what`_per_s, p50_us, p99_us.
nlohmann::json json_of(const Rate& rate, const std::string& what);

[[noreturn]] void give_up(const std::string& program, const std::string& why);

// Appends 4 KiB to a file in this folder and waits until it is durable, again and again: what a
// commit costs at least. The file is gone afterwards.
Rate measure_fdatasync(const std::string& folder, double seconds);

}  // namespace gpupool::bench
