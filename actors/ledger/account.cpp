#include "actors/ledger/account.h"

#include <algorithm>
#include <limits>

#include "config/limits.h"

namespace gpupool {

const Window* Account::window_at(Instant now) const {
  if (windows.empty() || now >= windows.back().ends) return nullptr;
  return &windows.back();
}

const Window& Account::window_of(const Hold& hold) const {
  const auto it = std::find_if(windows.begin(), windows.end(), [&hold](const Window& window) {
    return window.opened == hold.window_opened;
  });
  GPUPOOL_ENSURE(it != windows.end(), hold.job, hold.window_opened);
  return *it;
}

void Account::open_hold(const Hold& hold, Instant ends) {
  if (windows.empty() || windows.back().opened != hold.window_opened) {
    GPUPOOL_ENSURE(windows.empty() || windows.back().opened < hold.window_opened, hold.job);
    const auto is_empty = [](const Window& window) { return window.open_holds == 0; };
    windows.erase(std::remove_if(windows.begin(), windows.end(), is_empty), windows.end());
    windows.push_back({.opened = hold.window_opened, .ends = ends});
    last_opened = hold.window_opened;
    last_ends = ends;
  }
  Window& window = windows.back();
  window.held += hold.quota_part;
  window.open_holds += 1;
  tier = hold.tier;
  open.push_back(hold.job);
}

void Account::extend_hold(const Hold& hold, GpuTime more) {
  const auto place = windows.begin() + (&window_of(hold) - windows.data());
  place->held += more;
}

void Account::settle_credits(GpuTime was_held, GpuTime charged) {
  GPUPOOL_ENSURE(charged <= was_held && was_held <= credits_held, charged, was_held, credits_held);
  credits_held -= was_held;
  credits -= charged;
}

void Account::close_hold(const Hold& hold, const Closing& closing) {
  const GpuTime held = closing.held.quota;
  const GpuTime charged = closing.charged.quota;
  GPUPOOL_ENSURE(charged <= held, hold.job, charged, held);
  const auto place = windows.begin() + (&window_of(hold) - windows.data());
  place->held -= held;
  place->used += charged;
  place->open_holds -= 1;
  GPUPOOL_ENSURE(place->held >= GpuTime{}, hold.job, place->held);
  // A window that a newer one has replaced is of no use to anybody once its holds are closed. The
  // newest stays with what was charged in it, ended or not: who reads it asks window_at().
  const bool replaced = place + 1 != windows.end();
  if (place->open_holds == 0 && (replaced || place->used == GpuTime{})) windows.erase(place);
  const auto job = std::find(open.begin(), open.end(), hold.job);
  GPUPOOL_ENSURE(job != open.end(), hold.job);
  open.erase(job);
}

void Account::adjust(Instant window_opened, GpuTime amount) {
  const auto window = std::find_if(windows.begin(), windows.end(),
                                   [&](const Window& one) { return one.opened == window_opened; });
  GPUPOOL_ENSURE(window != windows.end(), window_opened);
  window->used += amount;
  GPUPOOL_ENSURE(window->used >= GpuTime{}, window->used);
  // As when its last hold closes: a window in which nothing is charged is forgotten.
  if (window->open_holds == 0 && window->used == GpuTime{}) windows.erase(window);
}

bool is_anonymous(const AccountId& account) { return account.text.rfind("address:", 0) == 0; }

GpuTime left_of(GpuTime allowance, const Window* window) {
  if (window == nullptr) return std::max(allowance, GpuTime{});
  return std::max(allowance - window->used - window->held, GpuTime{});
}

Parts charge_of(const Parts& held, std::uint32_t factor, Duration ran) {
  // Longer than the hold pays for costs all of it; asking first also keeps an absurd `ran` from
  // overflowing the product.
  const GpuTime actual = ran > duration_for(held.sum(), factor)
                             ? held.sum()
                             : cost_of(std::max(ran, Duration{}), factor);
  const GpuTime charged = std::min(held.sum(), actual);
  const GpuTime quota = std::min(held.quota, charged);
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
