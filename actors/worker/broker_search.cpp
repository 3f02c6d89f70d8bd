#include "actors/worker/broker_search.h"

#include <algorithm>
#include <utility>

namespace gpupool {
namespace {

// Between two attempts at one address; the least is half of it. That is longer than it takes CAF to
// forget the proxy of a lost connection.
constexpr Duration pause_max = milliseconds(500);

}  // namespace

BrokerSearch::BrokerSearch(std::vector<std::string> addresses, Prng jitter) : jitter_(jitter) {
  for (std::string& one : addresses) all_.push_back({.text = std::move(one)});
}

bool BrokerSearch::is_wanted(std::size_t which, Present present) const {
  if (all_[which].dialled) return false;
  return !present_ || (present == Present::silent && *present_ != which);
}

std::vector<std::size_t> BrokerSearch::due(Instant now, Present present) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < all_.size(); ++i) {
    if (!is_wanted(i, present) || now < all_[i].again) continue;
    all_[i].dialled = true;
    found.push_back(i);
  }
  return found;
}

void BrokerSearch::failed(Instant now, std::size_t which) {
  all_[which].dialled = false;
  all_[which].again = after_pause(now);
}

bool BrokerSearch::found(Instant now, std::size_t which, Present present) {
  failed(now, which);
  if (present_ && present == Present::answers) return false;
  present_ = which;
  return true;
}

void BrokerSearch::lost(Instant now) {
  if (!present_) return;
  all_[*present_].again = after_pause(now);
  present_.reset();
}

Instant BrokerSearch::next(Present present) const {
  Instant next = Instant::never();
  for (std::size_t i = 0; i < all_.size(); ++i)
    if (is_wanted(i, present)) next = std::min(next, all_[i].again);
  return next;
}

Instant BrokerSearch::after_pause(Instant now) {
  return now + Duration{jitter_.between(pause_max.ms / 2, pause_max.ms)};
}

}  // namespace gpupool
