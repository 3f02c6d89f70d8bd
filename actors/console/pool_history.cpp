#include "actors/console/pool_history.h"

#include <algorithm>

#include "actors/histogram.h"

namespace gpupool {
namespace {

constexpr std::size_t seconds_kept = 60;
constexpr std::size_t span_bytes_max = 100 * 1024;  // of one view, about

Instant floor_to(Instant now, Duration length) { return Instant{now.ms - now.ms % length.ms}; }

}  // namespace

PoolHistory::Period& PoolHistory::present(Ring& ring, Instant now) {
  const Instant at = floor_to(now, ring.length);
  if (ring.periods.empty() || ring.periods.back().at < at) ring.periods.push_back({.at = at});
  while (ring.periods.size() > ring.most) ring.periods.pop_front();
  return ring.periods.back();
}

PoolHistory::Second& PoolHistory::present(Instant now) {
  const Instant at = floor_to(now, seconds(1));
  if (minute_.empty() || minute_.back().at < at) minute_.push_back({.at = at});
  while (minute_.size() > seconds_kept) minute_.pop_front();
  return minute_.back();
}

void PoolHistory::hear(const PoolPulse& pulse) {
  const Histogram waits = since(last_.waits, pulse.waits);
  for (Ring* ring : {&hour_, &day_}) {
    Period& period = present(*ring, pulse.at);
    period.busy += pulse.slots_busy;
    period.up += pulse.slots_busy + pulse.slots_free;
    period.started += pulse.started - last_.started;
    add(period.waits, waits);
  }
  for (const SlotSpan& span : pulse.spans) spans_.push_back(span);
  const Instant oldest = pulse.at - spans_kept;
  while (!spans_.empty() && (spans_.size() > spans_max || spans_.front().to < oldest)) {
    if (spans_.front().to >= oldest) {
      ++left_out_;
      left_out_at_ = spans_.front().to;
    }
    spans_.pop_front();
  }
  left_out_ += pulse.left_out;
  if (pulse.left_out > 0) left_out_at_ = pulse.at;
  if (left_out_at_ < oldest) left_out_ = 0;
  last_ = pulse;
  last_.spans.clear();
}

void PoolHistory::hear(Instant now, const LedgerPulse& pulse) {
  Second& second = present(now);
  second.commits += pulse.commits - ledger_.commits;
  second.records += pulse.records - ledger_.records;
  ledger_ = pulse;
}

void PoolHistory::refused(Instant now, Errc code) {
  ++refused_[code];
  ++present(now).refused[code];
  ++present(hour_, now).refused[code];
  ++present(day_, now).refused[code];
}

PoolPeriod PoolHistory::view_of(const Period& period) {
  PoolPeriod view{.at = period.at, .started = period.started};
  if (period.up > 0)
    view.busy_permille = static_cast<std::uint32_t>(period.busy * 1000 / period.up);
  if (const std::uint64_t waits = count_of(period.waits); waits > 0) {
    view.wait_mean = Duration{period.waits.sum_us / static_cast<std::int64_t>(waits) / 1000};
    view.wait_p95 = Duration{quantile_us(period.waits, wait_bounds_us, 950) / 1000};
    view.wait_max = Duration{quantile_us(period.waits, wait_bounds_us, 1000) / 1000};
  }
  for (const auto& [code, count] : period.refused) view.refused += count;
  return view;
}

std::vector<PoolPeriod> PoolHistory::view_of(const Ring& ring, Instant now) {
  const Instant oldest = now - Duration{ring.length.ms * static_cast<std::int64_t>(ring.most)};
  std::vector<PoolPeriod> views;
  for (const Period& period : ring.periods)
    if (period.at >= oldest) views.push_back(view_of(period));
  return views;
}

std::vector<CodeCount> PoolHistory::list_of(const Refusals& refusals) {
  std::vector<CodeCount> list;
  for (const auto& [code, count] : refusals) list.push_back({code, count});
  return list;
}

void PoolHistory::fill(Instant now, Overview& overview) const {
  overview.pulse = last_;
  overview.ledger = ledger_;
  Refusals in_minute;
  for (const Second& second : minute_) {
    if (second.at < now - minutes(1)) continue;
    overview.commits_per_minute += static_cast<std::uint32_t>(second.commits);
    overview.records_per_minute += static_cast<std::uint32_t>(second.records);
    for (const auto& [code, count] : second.refused) in_minute[code] += count;
  }
  Refusals in_hour;
  for (const Period& period : hour_.periods) {
    if (period.at < now - hours(1)) continue;
    for (const auto& [code, count] : period.refused) in_hour[code] += count;
  }
  overview.refused = list_of(refused_);
  overview.refused_minute = list_of(in_minute);
  overview.refused_hour = list_of(in_hour);
  overview.hour = view_of(hour_, now);
  overview.day = view_of(day_, now);
  overview.spans_from = now - spans_kept;
  overview.spans_left_out = left_out_;
  std::size_t bytes = 0;
  for (auto span = spans_.rbegin(); span != spans_.rend(); ++span) {
    if (span->to < overview.spans_from) break;
    bytes += 64 + span->node.size() + span->account.text.size() + span->app.size();
    if (bytes <= span_bytes_max)
      overview.spans.push_back(*span);
    else
      ++overview.spans_left_out;
  }
  std::reverse(overview.spans.begin(), overview.spans.end());
}

}  // namespace gpupool
