#include "net/rate_limit.h"

#include <algorithm>

#include "actors/describe.h"

namespace gpupool {
namespace {

constexpr Duration sweep_interval = seconds(1);

// `keys`: whose limits these are in [rates].
Status limited(const std::string& who_does_what, std::string_view keys, const RateConfig& rate,
               Duration wait) {
  if (wait == Duration{}) return ok();
  const std::string key(keys);
  return Error{.code = Errc::rate_limited,
               .want = wait.ms,
               .detail = who_does_what + " more than " + std::to_string(rate.per_s) +
                         " times a second ([rates] " + key + "_per_s), beyond " +
                         std::to_string(rate.burst) + " at once (" + key +
                         "_burst); try again in " + seconds_text(wait)};
}

}  // namespace

Duration RateLimiter::take(const std::string& name, const RateConfig& rate, Instant now) {
  if (rate.per_s == 0) return {};
  const std::int64_t now_us = now.ms * 1000;
  const std::int64_t each_us = std::max<std::int64_t>(1, 1'000'000 / rate.per_s);
  auto found = full_at_.find(name);
  if (found == full_at_.end()) {
    if (!has_room(now)) return {};
    found = full_at_.emplace(name, now_us).first;
  }
  const std::int64_t next_us = std::max(found->second, now_us) + each_us;
  const std::int64_t early_us = next_us - now_us - each_us * std::max(rate.burst, 1U);
  if (early_us > 0) return Duration{(early_us + 999) / 1000};
  found->second = next_us;
  return {};
}

// Forgets who may ask everything again. All are looked at, so not for every name.
bool RateLimiter::has_room(Instant now) {
  if (size() < names_max_) return true;
  if (now < next_sweep_) return false;
  next_sweep_ = now + sweep_interval;
  std::erase_if(full_at_, [&](const auto& one) { return one.second <= now.ms * 1000; });
  return size() < names_max_;
}

Status Rates::may_come(const std::string& address, const RateConfig& rate, Instant now) {
  if (address.empty()) return ok();
  const std::lock_guard lock(mutex_);
  return limited("address " + address + " connects", "address", rate,
                 addresses_.take(address, rate, now));
}

Status Rates::may_ask(const AccountId& account, const RateConfig& rate, Instant now) {
  const std::lock_guard lock(mutex_);
  return limited(account.text + " asks", "account", rate, accounts_.take(account.text, rate, now));
}

}  // namespace gpupool
