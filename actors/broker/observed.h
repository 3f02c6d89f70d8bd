#pragma once
// ObservedDurations: how long jobs really ran, for likely starts (forecast.h) and never for a
// promise. The mean of an account's last two runs of an app foretells the next one better than what
// it declares (Tsafrir, Etsion and Feitelson, TPDS 2007); without them, the median of the app's
// last runs. Of this broker's time only; bounded. Plain value, owned by the broker.

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/time.h"

namespace gpupool {

class ObservedDurations {
 public:
  explicit ObservedDurations(std::size_t accounts_max = 10'000) : accounts_max_(accounts_max) {}

  void note(const AccountId& account, const std::string& app, Duration ran);
  // none: nothing is known of this app.
  std::optional<Duration> likely(const AccountId& account, const std::string& app) const;

 private:
  struct App {
    std::deque<Duration> runs;  // the last ones
    Duration median{};
  };
  struct Runs {
    Duration last{};
    Duration before{};
    std::uint64_t noted = 0;  // when: the larger, the later
  };
  using Key = std::pair<std::string, std::string>;  // account, app

  void forget_the_oldest();

  std::size_t accounts_max_;
  std::map<std::string, App> apps_;
  std::map<Key, Runs> accounts_;
  std::map<std::uint64_t, Key> by_age_;  // the same ones
  std::uint64_t notes_ = 0;
};

}  // namespace gpupool
