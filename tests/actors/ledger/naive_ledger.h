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
  std::int64_t quota = 0;  // its two parts
  std::int64_t credits = 0;
  std::uint32_t extensions = 0;
  WindowConfig rule;  // of windows, when it was admitted
  Instant promise{};
  std::uint32_t attempt = 0;
  std::uint32_t requeued = 0;
  bool leased = false;
  Instant leased_at{};
  // Closing.
  bool open = true;
  std::int64_t charged_quota = 0;
  std::int64_t charged_credits = 0;
  std::int64_t ran = 0;
  Outcome outcome{};
  Instant ended{};
  std::size_t closing = 0;  // which settle of the pool this was
};

// What an operator ordered once: an amount of credits, or of what a window has used.
struct NaiveOrder {
  std::uint64_t sequence = 0;
  RequestId id;
  AccountId account;
  std::int64_t amount = 0;
  bool is_grant = false;
  std::string before;
  std::string after;
};

class NaiveLedger {
 public:
  const Config* config = nullptr;
  std::int64_t requests_max = 0;
  std::uint64_t sequence = 0;
  std::uint64_t epoch = 0;
  Instant at{};
  std::map<std::uint64_t, Instant> times;  // of every record
  std::vector<NaiveHold> holds;
  std::vector<NaiveOrder> orders;
  std::size_t closings = 0;
  std::map<AccountId, std::string> set_tiers;  // by operators

  std::string tier_of(const AccountId& account, const std::string& of_token) const {
    return set_tiers.contains(account) ? set_tiers.at(account) : of_token;
  }

  // One more record.
  void advance(Instant now) {
    times[++sequence] = now;
    at = now;
  }

  // What happened to an account's windows, told from its first hold on. A hold is marked with the
  // number of its window; the number of the one open at `now` comes out, 0 for none.
  struct Told {
    std::map<JobId, int> window_of;
    std::map<int, std::int64_t> used;
    std::map<int, int> open_in;
    int current = 0;
    Instant opened{};
    Instant ends{};
    Instant earliest{};  // the next one does not open before
  };
  // Fixed windows by counting them up from a Monday.
  static std::pair<Instant, Instant> window_by(const WindowConfig& rule, Instant now,
                                               Instant earliest) {
    if (rule.kind == WindowKind::rolling) return {now, now + rule.length};
    const std::int64_t first = 345'600'000 + rule.starts.ms;
    std::int64_t opened = first + (now.ms - first) / rule.length.ms * rule.length.ms;
    const Instant ends{opened + rule.length.ms};
    return {std::max(Instant{opened}, earliest), ends};
  }
  Told tell(const AccountId& account, Instant now) const {
    struct Event {
      std::uint64_t order;
      const NaiveHold* hold;  // nullptr: an order of an operator
      bool closes;
      std::int64_t amount;
      bool is_grant = false;
    };
    std::vector<Event> events;
    for (const NaiveHold& hold : holds) {
      if (hold.wish.caller.account != account) continue;
      events.push_back({hold.job.value, &hold, false, 0});
      if (!hold.open) events.push_back({closed_at_sequence.at(hold.job), &hold, true, 0});
    }
    for (const NaiveOrder& order : orders)
      if (order.account == account)
        events.push_back({order.sequence, nullptr, false, order.amount, order.is_grant});
    std::sort(events.begin(), events.end(),
              [](const Event& a, const Event& b) { return a.order < b.order; });
    Told told;
    int windows = 0;
    std::map<int, Instant> ends_of;  // of the windows that are not forgotten
    const auto earliest = [&] {
      return ends_of.empty() ? told.opened : std::max(told.opened, ends_of.rbegin()->second);
    };
    const auto forget_if_empty = [&](int window) {
      if (told.open_in[window] > 0) return;
      if (window == ends_of.rbegin()->first && told.used[window] != 0) return;
      ends_of.erase(window);
      if (window == told.current) told.current = 0;
    };
    // Nothing is remembered of an address that holds and owes nothing, once some record is as late
    // as the end of its last window.
    int open = 0;
    std::int64_t credits_left = 0;
    const auto forget_address = [&](std::uint64_t last) {
      const auto record = times.find(last);
      if (account.text.rfind("address:", 0) != 0 || open > 0 || credits_left != 0) return;
      if (record == times.end() || record->second < told.ends) return;
      told.opened = told.ends = {};
      told.current = 0;
      ends_of.clear();
    };
    for (const Event& event : events) {
      forget_address(event.order - 1);
      if (event.is_grant) {
        credits_left += event.amount;
        continue;
      }
      if (event.hold != nullptr) open += event.closes ? -1 : 1;
      if (event.closes) credits_left -= event.hold->charged_credits;
      if (event.hold == nullptr) {
        told.used[told.current] += event.amount;
        forget_if_empty(told.current);
      } else if (!event.closes) {
        if (told.current == 0 || event.hold->admitted >= told.ends) {
          const auto [opened, ends] = window_by(event.hold->rule, event.hold->admitted, earliest());
          std::erase_if(ends_of, [&](const auto& one) { return told.open_in[one.first] == 0; });
          told.current = ++windows;
          told.opened = opened;
          told.ends = ends;
          ends_of[windows] = ends;
        }
        told.window_of[event.hold->job] = told.current;
        told.open_in[told.current] += 1;
      } else {
        const int window = told.window_of.at(event.hold->job);
        told.open_in[window] -= 1;
        told.used[window] += event.hold->charged_quota;
        forget_if_empty(window);
      }
    }
    forget_address(sequence);
    if (told.current != 0 && now >= told.ends) told.current = 0;
    told.earliest = earliest();
    return told;
  }

  std::int64_t credits(const AccountId& account) const {
    std::int64_t sum = 0;
    for (const NaiveOrder& order : orders)
      if (order.account == account && order.is_grant) sum += order.amount;
    for (const NaiveHold& hold : holds)
      if (hold.wish.caller.account == account) sum -= hold.charged_credits;
    return sum;
  }
  std::int64_t credits_held(const AccountId& account) const {
    std::int64_t sum = 0;
    for (const NaiveHold& hold : holds)
      if (hold.open && hold.wish.caller.account == account) sum += hold.credits;
    return sum;
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
      balance.resets_at = told.ends;
    } else if (config->window.kind == WindowKind::fixed) {
      std::tie(balance.window_opened, balance.resets_at) =
          window_by(config->window, now, told.earliest);
    }
    if (told.current != 0 && told.used.contains(told.current))
      balance.used = {told.used.at(told.current)};
    balance.credits = {credits(account)};
    balance.credits_held = {credits_held(account)};
    for (const NaiveHold& hold : holds) {
      if (hold.wish.caller.account != account) continue;
      if (hold.open && told.current != 0 && told.window_of.at(hold.job) == told.current)
        balance.held.ms += hold.quota;
      const Instant closed = (hold.leased ? hold.leased_at : hold.promise) + hold.wish.occupancy;
      if (hold.open && (balance.held_until.ms == 0 || closed < balance.held_until))
        balance.held_until = closed;
    }
    const std::int64_t left = balance.allowance.ms - balance.used.ms - balance.held.ms;
    balance.left = {left < 0 ? 0 : left};
    const std::int64_t payable = balance.left.ms + balance.credits.ms - balance.credits_held.ms;
    for (const SizeConfig& size : config->sizes) {
      std::int64_t longest = std::min(payable, balance.longest.ms) / size.factor;
      if (app_longest.ms > 0 && app_longest.ms < longest) longest = app_longest.ms;
      if (balance.open_jobs >= balance.jobs_max) longest = 0;
      balance.fits.push_back({size.name, size.factor, {longest}, size.slots == 1});
    }
    return balance;
  }

  // What runs of an app took, of everybody or of one account, the last one last.
  std::vector<std::int64_t> runs_of(const std::string& app, const AccountId* account) const {
    std::map<std::uint64_t, std::int64_t> runs;
    for (const NaiveHold& hold : holds) {
      const bool counts = !hold.open && hold.ran > 0 && hold.outcome == Outcome::succeeded;
      if (!counts || hold.wish.body->app != app) continue;
      if (account == nullptr || hold.wish.caller.account == *account)
        runs[closed_at_sequence.at(hold.job)] = hold.ran;
    }
    std::vector<std::int64_t> took;
    for (const auto& [sequence, ran] : runs) took.push_back(ran);
    return took;
  }
  static std::int64_t with_margin(std::int64_t took) {
    return (took + std::max<std::int64_t>(took / 4, 3'000) + 999) / 1000 * 1000;
  }
  // What a request whose duration is learned declares and holds at first.
  Reserve within(Instant now, const Reserve& asked) const {
    const TierConfig* tier = config->tier(tier_of(asked.caller.account, asked.caller.tier));
    if (asked.learned.ms <= 0 || tier == nullptr) return asked;
    Reserve wish = asked;
    std::int64_t longest = tier->longest.ms / asked.factor;
    if (asked.app_longest.ms > 0) longest = std::min(longest, asked.app_longest.ms);
    wish.declared = std::min(asked.declared, Duration{longest});
    wish.occupancy = asked.occupancy - (asked.declared - wish.declared);
    std::vector<std::int64_t> all = runs_of(asked.body->app, nullptr);
    if (all.size() < 10) return wish;
    if (all.size() > 200) all.erase(all.begin(), all.end() - 200);
    std::sort(all.begin(), all.end());
    const auto rank = [&all](std::size_t percent) {
      return all[(all.size() * percent + 99) / 100 - 1];
    };
    const std::vector<std::int64_t> own = runs_of(asked.body->app, &asked.caller.account);
    std::int64_t likely = rank(50);
    if (!own.empty()) likely = (own.back() + own[own.size() < 2 ? 0 : own.size() - 2]) / 2;
    const Balance has = balance(now, asked.caller.account, asked.caller.tier, {});
    const std::int64_t payable = has.left.ms + has.credits.ms - has.credits_held.ms;
    for (const std::int64_t less : {with_margin(rank(90)), with_margin(likely)}) {
      if (first_held(wish) <= payable) break;
      wish.learned = std::min(wish.learned, Duration{less});
    }
    return wish;
  }

  static std::int64_t first_held(const Reserve& wish) {
    const bool less = wish.learned.ms > 0 && wish.learned < wish.declared;
    return (less ? wish.learned.ms : wish.declared.ms) * wish.factor;
  }

  // How much of quota this hold can be extended by, and how much in all.
  std::pair<std::int64_t, std::int64_t> room_of(Instant now, const NaiveHold& hold,
                                                const std::string& tier) const {
    const AccountId& account = hold.wish.caller.account;
    const Told told = tell(account, now);
    const int window = told.window_of.at(hold.job);
    std::int64_t taken = told.used.contains(window) ? told.used.at(window) : 0;
    for (const NaiveHold& other : holds)
      if (other.open && other.wish.caller.account == account &&
          told.window_of.at(other.job) == window)
        taken += other.quota;
    const TierConfig* config_of = config->tier(tier_of(account, tier));
    const std::int64_t allowance = config_of == nullptr ? 0 : config_of->allowance.ms;
    const std::int64_t quota = std::max<std::int64_t>(allowance - taken, 0);
    return {quota, quota + credits(account) - credits_held(account)};
  }

  // What an order is about before it, and how much of it there is for one of its sign.
  std::pair<std::int64_t, std::int64_t> room_for(Instant now, const NaiveOrder& order,
                                                 const std::string& tier) const {
    const Balance has = balance(now, order.account, tier, {});
    if (order.is_grant)
      return {has.credits.ms,
              order.amount > 0 ? order.amount : has.credits.ms - has.credits_held.ms};
    if (tell(order.account, now).current == 0) return {0, 0};
    return {has.used.ms, order.amount > 0 ? has.left.ms : has.used.ms};
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
                                                               const Reserve& asked) const {
    const Reserve wish = within(now, asked);
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
    if (const AppConfig* app = config->app(wish.body->app)) {
      bool open = app->tiers.empty();
      for (const std::string& one : app->tiers) open = open || one == tier_name;
      if (!open) found[Errc::forbidden] = {0, 0};
    }
    const std::int64_t cost = wish.declared.ms * wish.factor;
    const std::int64_t first = first_held(wish);
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
    const Balance has = balance(now, wish.caller.account, wish.caller.tier, {});
    const std::int64_t payable = has.left.ms + has.credits.ms - has.credits_held.ms;
    if (first > payable) found[Errc::quota_exceeded] = {first, payable};
    return found;
  }

  void open(Instant now, const Reserve& asked) {
    const Reserve wish = within(now, asked);
    const std::int64_t cost = first_held(wish);
    const std::int64_t left = balance(now, wish.caller.account, wish.caller.tier, {}).left.ms;
    advance(now);
    holds.push_back({.job = {sequence},
                     .wish = wish,
                     .admitted = now,
                     .quota = std::min(cost, left),
                     .credits = cost - std::min(cost, left),
                     .rule = config->window,
                     .promise = wish.promise});
  }

  NaiveHold* find(JobId job) {
    for (NaiveHold& hold : holds)
      if (hold.job == job) return &hold;
    return nullptr;
  }

  void close(Instant now, NaiveHold& hold, const Settle& settle) {
    advance(now);
    closed_at_sequence[hold.job] = sequence;
    hold.open = false;
    const std::int64_t charged =
        std::min(hold.quota + hold.credits, settle.ran.ms * hold.wish.factor);
    hold.charged_quota = std::min(hold.quota, charged);
    hold.charged_credits = charged - hold.charged_quota;
    hold.outcome = settle.outcome;
    hold.ran = settle.ran.ms;
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
