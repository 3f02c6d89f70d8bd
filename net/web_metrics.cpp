#include "net/web_metrics.h"

#include <array>
#include <charconv>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace gpupool {
namespace {

constexpr Errc all_errors[] = {
#define GPUPOOL_ERROR(number, name, unit) Errc::name,
#include "base/errors.def"
#undef GPUPOOL_ERROR
};

// The shortest text that reads as the same number, without an exponent.
std::string text_of(double value) {
  std::array<char, 400> digits{};
  char* const end = digits.data() + digits.size();
  return {digits.data(), std::to_chars(digits.data(), end, value, std::chars_format::fixed).ptr};
}

// A text in quotes: backslashes, quotes and line ends are the only ones that have to be told apart.
std::string quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '\n') {
      quoted += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

class Writer {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += "# HELP " + name_ + " " + std::string(help) + "\n# TYPE " + name_ + " " +
             std::string(type) + "\n";
  }
  template <class Number>
  void sample(Number value, std::string_view label = {}, std::string_view word = {},
              std::string_view suffix = {}) {
    text_ += name_ + std::string(suffix);
    if (!label.empty()) text_ += "{" + std::string(label) + "=" + quoted(word) + "}";
    text_ += " ";
    if constexpr (std::is_floating_point_v<Number>)
      text_ += text_of(value);
    else
      text_ += std::to_string(value);
    text_ += "\n";
  }
  template <class Number>
  void counter(std::string_view name, std::string_view help, Number value) {
    family(name, "counter", help);
    sample(value);
  }
  template <class Number>
  void gauge(std::string_view name, std::string_view help, Number value) {
    family(name, "gauge", help);
    sample(value);
  }
  // Buckets count all below their bound; the last, "+Inf", counts all.
  void histogram(std::string_view name, std::string_view help, const Histogram& of,
                 std::span<const std::int64_t> bounds_us) {
    family(name, "histogram", help);
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < bounds_us.size(); ++i) {
      below += i < of.counts.size() ? of.counts[i] : 0;
      sample(below, "le", text_of(static_cast<double>(bounds_us[i]) / 1e6), "_bucket");
    }
    below += bounds_us.size() < of.counts.size() ? of.counts[bounds_us.size()] : 0;
    sample(below, "le", "+Inf", "_bucket");
    sample(static_cast<double>(of.sum_us) / 1e6, {}, {}, "_sum");
    sample(below, {}, {}, "_count");
  }
  std::string take() { return std::move(text_); }

 private:
  std::string name_;
  std::string text_;
};

using Words = std::vector<std::pair<std::string_view, std::uint64_t>>;

void write(Writer& out, std::string_view label, const Words& words) {
  for (const auto& [word, count] : words) out.sample(count, label, word);
}

void write_jobs(Writer& out, const Overview& overview) {
  const PoolPulse& pulse = overview.pulse;
  out.counter("gpupool_jobs_admitted_total", "Requests that were admitted.", pulse.admitted);
  out.counter("gpupool_jobs_started_total", "Leases: jobs that got their slots.", pulse.started);
  out.family("gpupool_jobs_ended_total", "counter", "Jobs that have their receipt.");
  write(out, "outcome",
        {{"succeeded", pulse.succeeded},
         {"failed", pulse.failed},
         {"expired", pulse.expired},
         {"cancelled", pulse.cancelled}});
  out.counter("gpupool_jobs_requeued_total",
              "Runs lost by the pool's fault; they run again, uncharged.", pulse.requeued);
  out.family("gpupool_requests_refused_total", "counter", "Requests that were refused, by code.");
  // Those of an admission are there from the start, so that their rates begin at nothing.
  std::map<Errc, std::uint64_t> refused{{Errc::rate_limited, 0}};
  for (const Errc code : all_errors)
    if (code <= Errc::ledger_unavailable) refused[code] = 0;
  for (const CodeCount& one : overview.refused) refused[one.code] = one.count;
  for (const auto& [code, count] : refused) out.sample(count, "code", name_of(code));
  out.counter("gpupool_promises_missed_total",
              "Jobs that got their slots after the latest start that was promised.", pulse.missed);
  out.histogram("gpupool_job_wait_seconds", "From admission to the lease.", pulse.waits,
                wait_bounds_us);
  out.histogram("gpupool_job_run_seconds", "What was charged, before the size's factor.",
                pulse.runs, run_bounds_us);
  out.counter("gpupool_charged_seconds_total", "Quota and credits that were charged.",
              static_cast<double>(pulse.charged.ms) / 1000);
  out.family("gpupool_jobs", "gauge", "Jobs that are not over.");
  write(out, "state",
        {{"queued", pulse.queued}, {"starting", pulse.starting}, {"running", pulse.running}});
}

void write_nodes(Writer& out, const PoolPulse& pulse) {
  out.family("gpupool_slots", "gauge", "Slots of all nodes that joined.");
  write(out, "state",
        {{"free", pulse.slots_free}, {"busy", pulse.slots_busy}, {"down", pulse.slots_down}});
  out.family("gpupool_nodes", "gauge", "Nodes that joined.");
  write(out, "state",
        {{"healthy", pulse.healthy},
         {"draining", pulse.draining},
         {"suspected", pulse.suspected},
         {"lost", pulse.lost}});
}

void write_ledger(Writer& out, const Overview& overview) {
  const LedgerPulse& ledger = overview.ledger;
  out.counter("gpupool_ledger_commits_total", "Commits that wrote something.", ledger.commits);
  out.counter("gpupool_ledger_records_total", "Records that they wrote.", ledger.records);
  out.histogram("gpupool_ledger_commit_seconds", "How long a commit took.", ledger.commit_times,
                commit_bounds_us);
  if (!overview.audit.at) return;
  out.gauge("gpupool_audit_findings", "What the last audit found; 0: the books add up.",
            overview.audit.findings.size());
  out.gauge("gpupool_audit_timestamp_seconds", "When that was.",
            static_cast<double>(overview.audit.at.ms) / 1000);
}

void write_process(Writer& out, const ProcessFacts& process) {
  out.gauge("gpupool_sessions", "Clients that are connected.", process.sessions);
  out.gauge("gpupool_web_connections", "HTTP connections that are open.", process.web_connections);
  out.counter("process_cpu_seconds_total", "Processor time of this process.", process.cpu_seconds);
  out.gauge("process_resident_memory_bytes", "Its memory.", process.resident_bytes);
  out.gauge("process_start_time_seconds", "When it started, since 1970.", process.started_at);
  out.gauge("process_open_fds", "Its open descriptors.", process.open_files);
  out.gauge("process_max_fds", "How many it may have.", process.files_max);
}

}  // namespace

std::string metrics_text(const Overview& overview, const std::string& build,
                         const ProcessFacts& process) {
  Writer out;
  out.family("gpupool_build_info", "gauge", "Which build this is; always 1.");
  out.sample(1, "version", build);
  out.gauge("gpupool_leading", "1 while this process leads the pool.", 1);
  write_jobs(out, overview);
  write_nodes(out, overview.pulse);
  write_ledger(out, overview);
  write_process(out, process);
  return out.take();
}

}  // namespace gpupool
