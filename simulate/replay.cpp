#include "simulate/replay.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "actors/broker/forecast.h"
#include "actors/broker/foresight.h"
#include "actors/learned.h"
#include "actors/ledger/account.h"

namespace gpupool {
namespace {

constexpr Instant first_arrival{1'000};  // 0 means "never yet"
constexpr Duration window_length = hours(24);
constexpr std::size_t spans = 100;
constexpr std::size_t foreseen_starts = 1'000;  // as in the broker

// The quota of every account of a trace, by the ledger's rules of holds and windows.
class Quotas {
 public:
  explicit Quotas(const std::optional<TierConfig>& tier, std::uint32_t accounts)
      : tier_(tier), accounts_(tier ? accounts : 0) {}

  // What a pool looks at before its queue: 0, or why not.
  Errc refuses(const TraceRequest& request) const {
    if (!tier_) return {};
    if (cost_of(request.declared, request.slots) > tier_->longest) return Errc::illegal_duration;
    const bool is_full = accounts_[request.account].open.size() >= tier_->jobs_max;
    return is_full ? Errc::too_many_jobs : Errc{};
  }

  // And what it looks at last: 0, or there is not enough left.
  Errc hold(Instant now, JobId job, const TraceRequest& request) {
    if (!tier_) return {};
    const GpuTime cost = cost_of(request.declared, request.slots);
    Account& account = accounts_[request.account];
    const Window* window = account.window_at(now);
    if (cost > left_of(tier_->allowance, window)) return Errc::quota_exceeded;
    Hold hold;
    hold.job = job;
    hold.factor = request.slots;
    hold.quota_part = cost;
    hold.window_opened = window == nullptr ? now : window->opened;
    account.open_hold(hold, window == nullptr ? now + window_length : window->ends);
    open_[job] = hold;
    return {};
  }

  void settle(JobId job, const TraceRequest& request) {
    if (!tier_) return;
    const auto hold = open_.extract(job);
    const Parts held{.quota = hold.mapped().quota_part, .credits = {}};
    accounts_[request.account].close_hold(
        hold.mapped(), {.held = held, .charged = charge_of(held, request.slots, request.ran)});
  }

 private:
  const std::optional<TierConfig>& tier_;
  std::vector<Account> accounts_;
  std::unordered_map<JobId, Hold, IdHash> open_;
};

struct End {
  Instant at{};
  JobId job;
  Place place;
  friend bool operator<(const End& one, const End& other) {  // the earliest on top of a heap
    return std::tie(other.at, other.job) < std::tie(one.at, one.job);
  }
};

class Pool {
 public:
  Pool(const Trace& trace, const ReplayOptions& options)
      : trace_(trace),
        options_(options),
        quotas_(options.tier, trace.accounts),
        dispatcher_(options.rules) {
    done_.requests.resize(trace.requests.size());
    Join join{.node = {1}, .name = "simulated", .incarnation = {1}};
    for (std::uint32_t i = 0; i < options.slots; ++i)
      join.slots.push_back({.slot = {i}, .device = i, .state = SlotState::free});
    slots_.join(first_arrival, join);
    Capacity capacity{.slots = options.slots};
    for (const TraceRequest& one : trace.requests) {
      capacity.largest = std::max(capacity.largest, one.slots);
      capacity.longest = std::max(capacity.longest, occupancy_of(one));
    }
    dispatcher_.use(capacity);
  }

  Replayed run() {
    std::size_t next = 0;
    while (next < trace_.requests.size() || !ends_.empty()) {
      const bool arrives =
          next < trace_.requests.size() &&
          (ends_.empty() || first_arrival + trace_.requests[next].arrival < ends_.top().at);
      if (arrives) {
        now_ = first_arrival + trace_.requests[next].arrival;
        arrive(next++);
        dispatch();
        if (options_.foresee_every > 0 && next % options_.foresee_every == 0) foresee(JobId{next});
      } else {
        now_ = ends_.top().at;
        end(ends_.top());
        ends_.pop();
        dispatch();
      }
    }
    done_.span = now_ - first_arrival;
    spread_occupancy();
    return std::move(done_);
  }

 private:
  const TraceRequest& request_of(JobId job) const { return trace_.requests[job.value - 1]; }

  Duration occupancy_of(const TraceRequest& request) const {
    return request.declared + options_.start + options_.kill_grace + options_.slot_check;
  }

  void arrive(std::size_t index) {
    const TraceRequest& request = trace_.requests[index];
    ReplayedRequest& done = done_.requests[index];
    const JobId job{index + 1};
    const Ahead waiting = dispatcher_.all();
    done.refused = quotas_.refuses(request);
    if (done.refused == Errc{} && options_.queue_cap > Duration{} &&
        waiting.work > options_.queue_cap.ms * std::int64_t{options_.slots})
      done.refused = Errc::overloaded;
    if (done.refused == Errc{}) done.refused = quotas_.hold(now_, job, request);
    if (done.refused != Errc{}) return;
    done.bound = longest_wait(dispatcher_.capacity(), waiting, request.slots);
    dispatcher_.push({.job = job,
                      .shape = shape_for(request.slots, Spread::devices),
                      .declared = request.declared,
                      .occupancy = occupancy_of(request)});
  }

  void dispatch() {
    const auto no_app = [](JobId) { return std::string(); };
    while (auto start = dispatcher_.next(now_, slots_, no_app)) {
      const JobId job = start->waiting.job;
      const TraceRequest& request = request_of(job);
      ReplayedRequest& done = done_.requests[job.value - 1];
      done.wait = now_ - (first_arrival + request.arrival);
      done.at_once = done.wait == Duration{};
      if (const auto told = foreseen_.extract(job)) foresight_.note(told.mapped(), done.wait);
      slots_.lend(start->place, job, {.from = now_, .until = now_ + start->waiting.occupancy});
      const bool was_up = request.ran >= request.declared;
      const Duration busy = options_.start + request.ran + options_.slot_check +
                            (was_up ? options_.kill_grace : Duration{});
      occupied_.push_back({now_, now_ + busy, request.slots});
      done_.work += request.ran.ms * std::int64_t{request.slots};
      if (options_.foresee_every > 0) began_[job] = now_ + options_.start;
      ends_.push({now_ + busy, job, std::move(start->place)});
    }
  }

  // What the broker would tell of a job that waits, by what was learned so far.
  void foresee(JobId job) {
    ReplayedRequest& done = done_.requests[job.value - 1];
    if (done.refused != Errc{} || done.at_once) return;
    const auto start = [&](LearnedDurations::Runs runs) {
      const auto duration = [&](JobId id) {
        const TraceRequest& request = request_of(id);
        const Instant began = began_.contains(id) ? began_.at(id) : now_;
        return options_.start + learned_.foreseen(account_of(request), app,
                                                  {.declared = request.declared,
                                                   .unknown = request.declared,
                                                   .elapsed = now_ - began},
                                                  runs);
      };
      return Forecast(now_, dispatcher_, slots_, duration, foreseen_starts).start_of(job);
    };
    const Instant likely = start(LearnedDurations::Runs::likely);
    const Instant latest = start(LearnedDurations::Runs::long_ones);
    if (likely == Instant::never() || latest == Instant::never()) return;
    const Duration bound = std::max(done.bound, latest - now_);
    done.likely = std::max(likely - now_, Duration{1});
    done.likely_latest =
        std::max(done.likely, std::min(foresight_.later_end(latest - now_), bound));
    foreseen_[job] = latest - now_;
  }

  static AccountId account_of(const TraceRequest& request) {
    return {"user:" + std::to_string(request.account)};
  }

  void end(const End& ended) {
    if (options_.foresee_every > 0) {
      learned_.note(account_of(request_of(ended.job)), app, request_of(ended.job).ran);
      began_.erase(ended.job);
    }
    slots_.take_back(ended.place, ended.job);
    for (const PlacedSlot& placed : ended.place.slots) {
      Node& node = *slots_.find(placed.node);
      node.slot(placed.slot)->report.state = SlotState::free;
      slots_.update(node);
    }
    quotas_.settle(ended.job, request_of(ended.job));
  }

  // Each stay on a slot, shared out over the hundredths that it touches.
  void spread_occupancy() {
    done_.occupied.assign(spans, 0);
    const double width = std::max(static_cast<double>(done_.span.ms) / spans, 1.0);
    for (const Stay& stay : occupied_) {
      const auto from = static_cast<double>((stay.from - first_arrival).ms);
      const auto until = static_cast<double>((stay.until - first_arrival).ms);
      for (auto i = static_cast<std::size_t>(from / width);
           i < spans && static_cast<double>(i) * width < until; ++i) {
        const double begin = std::max(from, static_cast<double>(i) * width);
        const double finish = std::min(until, static_cast<double>(i + 1) * width);
        done_.occupied[i] += (finish - begin) * stay.slots;
      }
    }
  }

  struct Stay {
    Instant from{};
    Instant until{};
    std::uint32_t slots = 1;
  };

  inline static const std::string app = "trace";

  const Trace& trace_;
  const ReplayOptions& options_;
  LearnedDurations learned_;
  Foresight foresight_;
  std::map<JobId, Duration> foreseen_;
  std::map<JobId, Instant> began_;  // of those that are on their slots
  Quotas quotas_;
  Dispatcher dispatcher_;
  Placement slots_;
  std::priority_queue<End> ends_;
  Instant now_ = first_arrival;
  std::vector<Stay> occupied_;
  Replayed done_;
};

}  // namespace

Result<Replayed> replay(const Trace& trace, const ReplayOptions& options) {
  for (const TraceRequest& one : trace.requests)
    if (one.slots > options.slots)
      return Error{.code = Errc::size_unavailable,
                   .want = one.slots,
                   .have = options.slots,
                   .detail = "a request of the trace needs " + std::to_string(one.slots) +
                             " slots, and the pool has " + std::to_string(options.slots)};
  return Pool(trace, options).run();
}

}  // namespace gpupool
