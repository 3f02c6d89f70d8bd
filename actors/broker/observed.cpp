#include "actors/broker/observed.h"

#include <algorithm>

namespace gpupool {
namespace {

constexpr std::size_t runs_of_app = 101;

Duration median_of(const std::deque<Duration>& runs) {
  std::vector<Duration> sorted(runs.begin(), runs.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

}  // namespace

void ObservedDurations::note(const AccountId& account, const std::string& app, Duration ran) {
  App& all = apps_[app];
  all.runs.push_back(ran);
  if (all.runs.size() > runs_of_app) all.runs.pop_front();
  all.median = median_of(all.runs);

  const Key key{account.text, app};
  const auto [own, is_new] = accounts_.try_emplace(key);
  own->second.before = is_new ? ran : own->second.last;
  own->second.last = ran;
  if (!is_new) by_age_.erase(own->second.noted);
  own->second.noted = ++notes_;
  by_age_[notes_] = key;
  if (accounts_.size() > accounts_max_) forget_the_oldest();
}

void ObservedDurations::forget_the_oldest() {
  accounts_.erase(by_age_.begin()->second);
  by_age_.erase(by_age_.begin());
}

std::optional<Duration> ObservedDurations::likely(const AccountId& account,
                                                  const std::string& app) const {
  if (const auto own = accounts_.find({account.text, app}); own != accounts_.end())
    return Duration{(own->second.last.ms + own->second.before.ms) / 2};
  const auto all = apps_.find(app);
  return all == apps_.end() ? std::nullopt : std::optional(all->second.median);
}

}  // namespace gpupool
