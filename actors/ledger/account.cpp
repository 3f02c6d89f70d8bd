#include "actors/ledger/account.h"

#include <algorithm>
#include <limits>

#include "config/limits.h"

namespace gpupool {

const Window* Account::window_at(Instant now, Duration length) const {
  if (windows.empty() || now >= windows.back().opened + length) return nullptr;
  return &windows.back();
}

const Window& Account::window_of(const Hold& hold) const {
  const auto it = std::find_if(windows.begin(), windows.end(), [&hold](const Window& window) {
    return window.opened == hold.window_opened;
  });
  GPUPOOL_ENSURE(it != windows.end(), hold.job, hold.window_opened);
  return *it;
}

void Account::open_hold(const Hold& hold) {
  if (windows.empty() || windows.back().opened != hold.window_opened) {
    GPUPOOL_ENSURE(windows.empty() || windows.back().opened < hold.window_opened, hold.job);
    const auto is_empty = [](const Window& window) { return window.open_holds == 0; };
    windows.erase(std::remove_if(windows.begin(), windows.end(), is_empty), windows.end());
    windows.push_back({.opened = hold.window_opened});
    last_opened = hold.window_opened;
  }
  Window& window = windows.back();
  window.held += hold.quota_part;
  window.open_holds += 1;
  credits_held += hold.credits_part;
  tier = hold.tier;
  open.push_back(hold.job);
}

void Account::close_hold(const Hold& hold, const Parts& charged) {
  GPUPOOL_ENSURE(charged.quota <= hold.quota_part, hold.job, charged.quota, hold.quota_part);
  GPUPOOL_ENSURE(charged.credits <= hold.credits_part, hold.job, charged.credits);
  const auto place = windows.begin() + (&window_of(hold) - windows.data());
  place->held -= hold.quota_part;
  place->used += charged.quota;
  place->open_holds -= 1;
  credits_held -= hold.credits_part;
  credits -= charged.credits;
  GPUPOOL_ENSURE(place->held >= GpuTime{}, hold.job, place->held);
  // A window that a newer one has replaced is of no use to anybody once its holds are closed. The
  // newest stays with what was charged in it, ended or not: who reads it asks window_at().
  const bool replaced = place + 1 != windows.end();
  if (place->open_holds == 0 && (replaced || place->used == GpuTime{})) windows.erase(place);
  const auto job = std::find(open.begin(), open.end(), hold.job);
  GPUPOOL_ENSURE(job != open.end(), hold.job);
  open.erase(job);
}

bool is_anonymous(const AccountId& account) { return account.text.rfind("address:", 0) == 0; }

GpuTime left_of(GpuTime allowance, const Window* window) {
  if (window == nullptr) return std::max(allowance, GpuTime{});
  return std::max(allowance - window->used - window->held, GpuTime{});
}

Parts charge_of(const Hold& hold, Duration ran) {
  const GpuTime held = hold.quota_part + hold.credits_part;
  // Longer than the hold pays for costs all of it; asking first also keeps an absurd `ran` from
  // overflowing the product.
  const GpuTime actual = ran > duration_for(held, hold.factor)
                             ? held
                             : cost_of(std::max(ran, Duration{}), hold.factor);
  const GpuTime charged = std::min(held, actual);
  const GpuTime quota = std::min(hold.quota_part, charged);
  return {.quota = quota, .credits = charged - quota};
}

GpuTime saturated_cost(Duration declared, std::uint32_t factor) {
  constexpr GpuTime most{std::numeric_limits<std::int64_t>::max()};
  if (factor == 0 || declared <= Duration{}) return {};
  return declared > duration_for(most, factor) ? most : cost_of(declared, factor);
}

std::uint32_t quota_band(GpuTime left, GpuTime allowance) {
  std::uint32_t band = 0;
  // The least amount that reaches the next band is its share of the allowance, rounded up; whole
  // and rest are divided apart so that no product overflows.
  const auto floor_of = [allowance](std::int64_t eighths) {
    return allowance.ms / 8 * eighths + (allowance.ms % 8 * eighths + 7) / 8;
  };
  while (allowance > GpuTime{} && band < 7 && left.ms >= floor_of(band + 1)) ++band;
  return band;
}

}  // namespace gpupool
