#pragma once
// NaiveLedger: the rules of design section 2 as plainly as they can be written. It keeps every hold
// for ever and answers each question by walking all of them; windows are found by retelling an
// account's history. It shares no code with the ledger but the messages. For the model test.

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "actors/messages.h"
#include "config/limits.h"

namespace gpupool::bench {

struct NaiveHold {
  JobId job;
  Reserve wish;
  Instant admitted{};
  std::int64_t cost = 0;
  Instant promise{};
  std::uint32_t attempt = 0;
  std::uint32_t requeued = 0;
  bool leased = false;
  Instant leased_at{};
  // Closing.
  bool open = true;
  std::int64_t charged = 0;
  Outcome outcome{};
  Instant ended{};
  std::size_t closing = 0;  // which settle of the pool this was
};

class NaiveLedger {
 public:
  const Config* config = nullptr;
  std::int64_t requests_max = 0;
  std::uint64_t sequence = 0;
  std::uint64_t epoch = 0;
  Instant at{};
  std::vector<NaiveHold> holds;
  std::size_t closings = 0;
  std::map<AccountId, std::string> set_tiers;  // by operators

  std::string tier_of(const AccountId& account, const std::string& of_token) const {
    return set_tiers.contains(account) ? set_tiers.at(account) : of_token;
  }

  // What happened to an account's windows, told from its first hold on. A hold is marked with the
  // number of its window; the number of the one open at `now` comes out, 0 for none.
  struct Told {
    std::map<JobId, int> window_of;
    int current = 0;
    Instant opened{};
  };
  Told tell(const AccountId& account, Instant now) const {
    struct Event {
      std::uint64_t order;
      const NaiveHold* hold;
      bool closes;
    };
    std::vector<Event> events;
    for (const NaiveHold& hold : holds) {
      if (hold.wish.caller.account != account) continue;
      events.push_back({hold.job.value, &hold, false});
      if (!hold.open) events.push_back({closed_at_sequence.at(hold.job), &hold, true});
    }
    std::sort(events.begin(), events.end(),
              [](const Event& a, const Event& b) { return a.order < b.order; });
    Told told;
    int windows = 0;
    std::map<int, std::pair<int, std::int64_t>> open_and_charged;
    for (const Event& event : events) {
      if (!event.closes) {
        if (told.current == 0 || event.hold->admitted >= told.opened + config->window.length) {
          told.current = ++windows;
          told.opened = event.hold->admitted;
        }
        told.window_of[event.hold->job] = told.current;
        open_and_charged[told.current].first += 1;
      } else {
        const int window = told.window_of.at(event.hold->job);
        open_and_charged[window].first -= 1;
        open_and_charged[window].second += event.hold->charged;
        if (window == told.current && open_and_charged[window] == std::pair{0, std::int64_t{0}})
          told.current = 0;
      }
    }
    if (told.current != 0 && now >= told.opened + config->window.length) told.current = 0;
    return told;
  }

  std::int64_t open_jobs(const AccountId& account) const {
    return std::count_if(holds.begin(), holds.end(), [&account](const NaiveHold& hold) {
      return hold.open && hold.wish.caller.account == account;
    });
  }

  Balance balance(Instant now, const AccountId& account, const std::string& of_token,
                  Duration app_longest) const {
    const std::string tier_name = tier_of(account, of_token);
    const TierConfig* tier = config->tier(tier_name);
    const Told told = tell(account, now);
    Balance balance{.account = account, .tier = tier_name, .at = now};
    if (tier != nullptr) {
      balance.allowance = tier->allowance;
      balance.longest = tier->longest;
      balance.jobs_max = tier->jobs_max;
    }
    balance.open_jobs = static_cast<std::uint32_t>(open_jobs(account));
    if (told.current != 0) {
      balance.window_opened = told.opened;
      balance.resets_at = told.opened + config->window.length;
    }
    for (const NaiveHold& hold : holds) {
      if (hold.wish.caller.account != account) continue;
      if (told.current != 0 && told.window_of.at(hold.job) == told.current)
        (hold.open ? balance.held : balance.used).ms += hold.open ? hold.cost : hold.charged;
      const Instant closed = (hold.leased ? hold.leased_at : hold.promise) + hold.wish.occupancy;
      if (hold.open && (balance.held_until.ms == 0 || closed < balance.held_until))
        balance.held_until = closed;
    }
    const std::int64_t left = balance.allowance.ms - balance.used.ms - balance.held.ms;
    balance.left = {left < 0 ? 0 : left};
    for (const SizeConfig& size : config->sizes) {
      std::int64_t longest = std::min(balance.left.ms, balance.longest.ms) / size.factor;
      if (app_longest.ms > 0 && app_longest.ms < longest) longest = app_longest.ms;
      if (balance.open_jobs >= balance.jobs_max) longest = 0;
      balance.fits.push_back({size.name, size.factor, {longest}, size.slots == 1});
    }
    return balance;
  }

  const NaiveHold* known(const Reserve& wish) const {
    for (const NaiveHold& hold : holds)
      if (hold.wish.request == wish.request && hold.wish.caller.account == wish.caller.account)
        return &hold;
    return nullptr;
  }

  bool is_full(Instant now) const {
    return std::count_if(holds.begin(), holds.end(), [now](const NaiveHold& hold) {
             return hold.open || now.ms - hold.wish.request.unix_ms() <= 48LL * 3'600'000;
           }) >= requests_max;
  }

  // Every fault of this request; the one with the smallest number is the refusal.
  std::map<Errc, std::pair<std::int64_t, std::int64_t>> faults(Instant now,
                                                               const Reserve& wish) const {
    std::map<Errc, std::pair<std::int64_t, std::int64_t>> found;
    if (wish.verdict != Errc{}) found[wish.verdict] = {wish.want, wish.have};
    const std::string tier_name = tier_of(wish.caller.account, wish.caller.tier);
    const TierConfig* tier = config->tier(tier_name);
    if (tier == nullptr) {
      found.try_emplace(Errc::unauthenticated, 0, 0);
      return found;
    }
    const std::int64_t age = now.ms - wish.request.unix_ms();
    if (age > 48LL * 3'600'000) found[Errc::id_expired] = {age, 48LL * 3'600'000};
    if (age < -300'000) found[Errc::id_expired] = {age, -300'000};
    const NaiveHold* same = known(wish);
    if (same != nullptr && same->wish.body_hash != wish.body_hash) found[Errc::id_reused] = {0, 0};
    if (const AppConfig* app = config->app(wish.body.app)) {
      bool open = app->tiers.empty();
      for (const std::string& one : app->tiers) open = open || one == tier_name;
      if (!open) found[Errc::forbidden] = {0, 0};
    }
    const std::int64_t cost = wish.declared.ms * wish.factor;
    const std::int64_t longest =
        std::min(tier->longest.ms / wish.factor,
                 wish.app_longest.ms > 0 ? wish.app_longest.ms : tier->longest.ms);
    if (wish.verdict == Errc::illegal_duration || cost > tier->longest.ms ||
        (wish.app_longest.ms > 0 && wish.declared > wish.app_longest))
      found[Errc::illegal_duration] = {
          wish.verdict == Errc::illegal_duration ? wish.want : wish.declared.ms,
          wish.verdict == Errc::illegal_duration && wish.have > 0 ? std::min(longest, wish.have)
                                                                  : longest};
    const std::int64_t jobs = open_jobs(wish.caller.account) + 1;
    if (jobs > tier->jobs_max) found[Errc::too_many_jobs] = {jobs, tier->jobs_max};
    if (is_full(now) && wish.verdict != Errc::overloaded)
      found[Errc::overloaded] = {requests_max + 1, requests_max};
    const std::int64_t left = balance(now, wish.caller.account, wish.caller.tier, {}).left.ms;
    if (cost > left) found[Errc::quota_exceeded] = {cost, left};
    return found;
  }

  void open(Instant now, const Reserve& wish) {
    holds.push_back({.job = {++sequence},
                     .wish = wish,
                     .admitted = now,
                     .cost = wish.declared.ms * wish.factor,
                     .promise = wish.promise});
    at = now;
  }

  NaiveHold* find(JobId job) {
    for (NaiveHold& hold : holds)
      if (hold.job == job) return &hold;
    return nullptr;
  }

  void close(Instant now, NaiveHold& hold, const Settle& settle) {
    closed_at_sequence[hold.job] = ++sequence;
    at = now;
    hold.open = false;
    hold.charged = std::min(hold.cost, settle.ran.ms * hold.wish.factor);
    hold.outcome = settle.outcome;
    hold.ended = now;
    hold.closing = ++closings;
  }

  // The listed receipts of an account, newest job first.
  std::vector<JobId> listed(const AccountId& account, std::size_t most) const {
    std::vector<const NaiveHold*> closed;
    for (const NaiveHold& hold : holds)
      if (!hold.open && hold.wish.caller.account == account) closed.push_back(&hold);
    std::sort(closed.begin(), closed.end(),
              [](const auto* a, const auto* b) { return a->closing > b->closing; });
    if (closed.size() > most) closed.resize(most);
    std::vector<JobId> jobs;
    for (const NaiveHold* hold : closed) jobs.push_back(hold->job);
    std::sort(jobs.rbegin(), jobs.rend());
    return jobs;
  }

 private:
  std::map<JobId, std::uint64_t> closed_at_sequence;
};

}  // namespace gpupool::bench
