#include "actors/learned.h"

#include <algorithm>
#include <limits>

namespace gpupool {
namespace {

constexpr std::size_t own_enough = 3;  // runs, to speak of one's own
constexpr std::size_t last_looked_at = 1'000;
constexpr std::size_t app_enough = 10;  // runs, to hold by them or to speak of everybody's
// An extension is asked for while this much is left (broker_extend.cpp), so what is held at first
// is more than the runs took by at least this.
constexpr Duration margin_least = seconds(3);

Duration up_to_seconds(Duration exact) { return seconds((exact.ms + 999) / 1000); }

// A quarter more, in whole seconds.
Duration with_room(Duration longest) { return up_to_seconds({longest.ms + longest.ms / 4}); }

// A quarter, or the time that an extension needs.
Duration with_margin(Duration took) {
  return up_to_seconds(took + std::max(Duration{took.ms / 4}, margin_least));
}

}  // namespace

template <class Row>
Row* LearnedDurations::Table<Row>::use(std::string_view account, std::string_view app) {
  const auto [first, last] = found_.equal_range(hash_of(account, app));
  for (auto it = first; it != last; ++it) {
    if (!it->second->is(account, app)) continue;
    rows_.splice(rows_.end(), rows_, it->second);
    return &*it->second;
  }
  return nullptr;
}

template <class Row>
Row& LearnedDurations::Table<Row>::add(Row row, std::size_t most) {
  const auto added = rows_.insert(rows_.end(), std::move(row));
  found_.emplace(added->hash(), added);
  if (rows_.size() > most) {
    const auto [first, last] = found_.equal_range(rows_.front().hash());
    found_.erase(std::find_if(first, last,
                              [this](const auto& entry) { return entry.second == rows_.begin(); }));
    rows_.pop_front();
  }
  return *added;
}

template <class Row>
const Row* LearnedDurations::Table<Row>::find(std::string_view account,
                                              std::string_view app) const {
  const auto [first, last] = found_.equal_range(hash_of(account, app));
  const auto it =
      std::find_if(first, last, [&](const auto& entry) { return entry.second->is(account, app); });
  return it == last ? nullptr : &*it->second;
}

void LearnedDurations::note(const AccountId& account, const std::string& app, Duration ran) {
  if (ran <= Duration{}) return;
  const auto ms = static_cast<std::uint32_t>(
      std::min<std::int64_t>(ran.ms, std::numeric_limits<std::uint32_t>::max()));
  note_app(app, ms);
  note_own(account.text, app, ms);
}

void LearnedDurations::note_app(const std::string& app, std::uint32_t ran) {
  AppRuns* known = apps_.use({}, app);
  AppRuns& row = known == nullptr ? apps_.add({.app = app}, bounds_.apps_max) : *known;
  row.runs.note(ran);
}

void LearnedDurations::note_own(const std::string& account, const std::string& app,
                                std::uint32_t ran) {
  OwnRuns* known = own_.use(account, app);
  OwnRuns& row =
      known == nullptr ? own_.add({.account = account, .app = app}, bounds_.pairs_max) : *known;
  row.runs[row.count++ % own_runs_max] = ran;
}

std::optional<Duration> LearnedDurations::likely(const AccountId& account,
                                                 const std::string& app) const {
  if (const OwnRuns* own = own_.find(account.text, app)) {
    const std::int64_t last = own->runs[(own->count - 1) % own_runs_max];
    const std::int64_t before = own->count > 1 ? own->runs[(own->count - 2) % own_runs_max] : last;
    return Duration{(last + before) / 2};
  }
  const AppRuns* all = apps_.find({}, app);
  return all == nullptr ? std::nullopt : std::optional(Duration{all->runs.quantile(50)});
}

std::optional<Duration> LearnedDurations::long_run(const std::string& app) const {
  const AppRuns* all = apps_.find({}, app);
  return all == nullptr ? std::nullopt : std::optional(Duration{all->runs.quantile(90)});
}

Duration LearnedDurations::foreseen(const AccountId& account, const std::string& app,
                                    const Run& run, Runs runs) const {
  const Duration usual = likely(account, app).value_or(run.unknown);
  if (runs == Runs::likely && usual > run.elapsed) return std::min(usual, run.declared);
  const Duration at_most = std::max(usual, long_run(app).value_or(run.unknown));
  return at_most > run.elapsed ? std::min(at_most, run.declared) : run.declared;
}

Duration LearnedDurations::first_held(const std::string& app, Duration unknown) const {
  const AppRuns* all = apps_.find({}, app);
  if (all == nullptr || all->runs.size() < app_enough) return unknown;
  return with_margin({all->runs.quantile(99)});
}

std::vector<Duration> LearnedDurations::shorter_holds(const AccountId& account,
                                                      const std::string& app) const {
  const AppRuns* all = apps_.find({}, app);
  if (all == nullptr || all->runs.size() < app_enough) return {};
  return {with_margin({all->runs.quantile(90)}), with_margin(*likely(account, app))};
}

// Among those that were used last, which is where an account that asks nearly always is.
const LearnedDurations::OwnRuns* LearnedDurations::last_of(const AccountId& account) const {
  std::size_t looked_at = 0;
  for (auto row = own_.rows().rbegin(); row != own_.rows().rend(); ++row) {
    if (row->account == account.text) return &*row;
    if (++looked_at == last_looked_at) break;
  }
  return nullptr;
}

Advice LearnedDurations::advice(const AccountId& account, const std::string& app) const {
  const OwnRuns* own = app.empty() ? last_of(account) : own_.find(account.text, app);
  const std::string& about = app.empty() && own != nullptr ? own->app : app;
  if (own != nullptr && own->count >= own_enough) {
    const std::uint32_t kept = std::min<std::uint32_t>(own->count, own_runs_max);
    const Duration longest{*std::max_element(own->runs.begin(), own->runs.begin() + kept)};
    return {
        .app = about, .runs = kept, .own = true, .longest = longest, .declare = with_room(longest)};
  }
  const AppRuns* all = apps_.find({}, about);
  if (all == nullptr || all->runs.size() < app_enough) return {};
  const Duration longest{all->runs.quantile(99)};
  return {.app = about,
          .runs = static_cast<std::uint32_t>(all->runs.size()),
          .longest = longest,
          .declare = with_room(longest)};
}

std::vector<LearnedRuns> LearnedDurations::rows() const {
  std::vector<LearnedRuns> rows;
  rows.reserve(apps_.rows().size() + own_.rows().size());
  for (const AppRuns& row : apps_.rows())
    rows.push_back({.app = row.app, .runs = row.runs.oldest_first()});
  for (const OwnRuns& row : own_.rows()) {
    LearnedRuns& own = rows.emplace_back(LearnedRuns{.account = row.account, .app = row.app});
    const std::uint32_t kept = std::min<std::uint32_t>(row.count, own_runs_max);
    for (std::uint32_t i = row.count - kept; i < row.count; ++i)
      own.runs.push_back(row.runs[i % own_runs_max]);
  }
  return rows;
}

void LearnedDurations::restore(const LearnedRuns& row) {
  for (const std::uint32_t ran : row.runs)
    row.account.empty() ? note_app(row.app, ran) : note_own(row.account, row.app, ran);
}

}  // namespace gpupool
