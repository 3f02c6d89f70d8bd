// What Prometheus reads.
#include "net/web_metrics.h"

#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "actors/histogram.h"

using namespace gpupool;

namespace {

std::string value_of(const std::string& text, const std::string& series) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(series + " ")) return line.substr(series.size() + 1);
  return "absent";
}

}  // namespace

TEST_CASE("Counters, gauges and what is measured have their names and values") {
  Overview overview;
  overview.pulse.admitted = 12;
  overview.pulse.expired = 2;
  overview.pulse.charged = {1'500};
  overview.pulse.slots_down = 3;
  overview.refused = {{Errc::quota_exceeded, 4}};
  note(overview.pulse.waits, wait_bounds_us, 700'000);
  note(overview.pulse.waits, wait_bounds_us, 9'999'000'000);
  const std::string text = metrics_text(overview, "0.1.0+abc", {.sessions = 5});
  CHECK(value_of(text, "gpupool_build_info{version=\"0.1.0+abc\"}") == "1");
  CHECK(value_of(text, "gpupool_jobs_admitted_total") == "12");
  CHECK(value_of(text, "gpupool_jobs_ended_total{outcome=\"expired\"}") == "2");
  CHECK(value_of(text, "gpupool_charged_seconds_total") == "1.5");
  CHECK(value_of(text, "gpupool_slots{state=\"down\"}") == "3");
  CHECK(value_of(text, "gpupool_requests_refused_total{code=\"quota_exceeded\"}") == "4");
  CHECK(value_of(text, "gpupool_job_wait_seconds_bucket{le=\"0.5\"}") == "0");
  CHECK(value_of(text, "gpupool_job_wait_seconds_bucket{le=\"1\"}") == "1");
  CHECK(value_of(text, "gpupool_job_wait_seconds_bucket{le=\"+Inf\"}") == "2");
  CHECK(value_of(text, "gpupool_job_wait_seconds_count") == "2");
  CHECK(value_of(text, "gpupool_job_wait_seconds_sum") == "9999.7");
  CHECK(value_of(text, "gpupool_sessions") == "5");
  CHECK(value_of(text, "gpupool_audit_findings") == "absent");
}

TEST_CASE("A histogram without a measure has all its buckets, so that rates begin at nothing") {
  const std::string text = metrics_text({}, "b", {});
  CHECK(value_of(text, "gpupool_ledger_commit_seconds_bucket{le=\"0.0005\"}") == "0");
  CHECK(value_of(text, "gpupool_ledger_commit_seconds_count") == "0");
}

TEST_CASE("Every family is told once, with its help and type before its values") {
  Overview overview;
  overview.audit = {.at = Instant{1'000}, .findings = {"one"}};
  std::istringstream lines(metrics_text(overview, "b", {}));
  std::set<std::string> families;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("# TYPE ")) continue;
    CHECK(families.insert(line.substr(7, line.find(' ', 7) - 7)).second);
  }
  CHECK(families.contains("gpupool_audit_findings"));
  CHECK(families.size() == 26);
}

TEST_CASE("Nothing in a label can end its line or its quotes") {
  const std::string text = metrics_text({}, "a\"} 7\nevil 1\\", {});
  CHECK(text.find("version=\"a\\\"} 7\\nevil 1\\\\\"") != std::string::npos);
}
