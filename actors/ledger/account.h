#pragma once
// One account's balances: its windows, its holds and what was charged. A hold, its requeues and its
// charge belong to the window in which it was made; a window that ended lives on until its holds
// are closed; one in which nothing was charged is forgotten when its last hold closes. What always
// holds: windows stand in order of opening, every one but the newest has open holds, and the newest
// has open holds or a charge. Pure values; nothing here reads the configuration or a clock.

#include <boost/container/small_vector.hpp>
#include <string>

#include "actors/messages.h"

namespace gpupool {

struct Window {
  Instant opened{};
  GpuTime used;  // charged to quota
  GpuTime held;  // quota parts of the open holds made in this window
  std::uint32_t open_holds = 0;
  Instant ends{};
  auto fields() { return std::tie(opened, used, held, open_holds, ends); }
};

// The two parts of an amount: of quota, and of credits.
struct Parts {
  GpuTime quota;
  GpuTime credits;
  GpuTime sum() const { return quota + credits; }
  auto fields() { return std::tie(quota, credits); }
};

// What a job held until it was settled, extensions included, and what it is charged of that.
struct Closing {
  Parts held;
  Parts charged;
};

// An undo copies it, so what it nearly always has room for needs no memory of its own.
struct Account {
  using Windows = boost::container::small_vector<Window, 1>;
  using Jobs = boost::container::small_vector<JobId, 4>;

  std::string tier;       // that its caller came with at its latest hold
  Windows windows;        // oldest first
  Instant last_opened{};  // when its latest window opened and ends or ended, forgotten or not
  Instant last_ends{};
  GpuTime credits;
  GpuTime credits_held;
  Jobs open;  // in order of arrival

  auto fields() {
    return std::tie(tier, windows, last_opened, last_ends, credits, credits_held, open);
  }

  // The window that is open at `now`, if one is: it ends to the millisecond.
  const Window* window_at(Instant now) const;
  // What stands in the window of this hold, the open ones and what was charged.
  const Window& window_of(const Hold& hold) const;

  // The quota parts. `ends`: when the window of this hold does.
  void open_hold(const Hold& hold, Instant ends);
  void extend_hold(const Hold& hold, GpuTime more);
  void close_hold(const Hold& hold, const Closing& closing);
  // The credits parts, which may be of another account's jobs: of a group's users.
  void hold_credits(GpuTime more) { credits_held += more; }
  void settle_credits(GpuTime was_held, GpuTime charged);
  GpuTime free_credits() const { return credits - credits_held; }
  // So much more or, negative, less charged to the window that opened then.
  void adjust(Instant window_opened, GpuTime amount);
};

// Accounts that are network addresses: dropped once they hold and owe nothing.
bool is_anonymous(const AccountId& account);

// max(0, allowance - used - held); a missing window has used and held nothing.
GpuTime left_of(GpuTime allowance, const Window* window);

// min(held, ran x factor), the quota part first. A negative `ran` counts as none.
Parts charge_of(const Parts& held, std::uint32_t factor, Duration ran);

// The cost of a duration that nobody has checked yet: never negative, at most the largest amount.
GpuTime saturated_cost(Duration declared, std::uint32_t factor);

// Left after this hold, in eighths of the allowance: 0 to 7.
std::uint32_t quota_band(GpuTime left, GpuTime allowance);

}  // namespace gpupool
