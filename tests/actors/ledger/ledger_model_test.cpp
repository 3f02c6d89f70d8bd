// Random commands against the deliberately naive ledger: the same answers, number by number;
// batches are undone, processes restart, configurations change, operators set tiers and terms, the
// replayed state equals the live one, and an audit of the journal finds nothing.

#include <memory>

#include "actors/ledger/audit.h"
#include "base/pack.h"
#include "base/prng.h"
#include "ledger_bench.h"
#include "naive_ledger.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

// Without what past runs say, which learned_hold_test.cpp looks at.
std::string numbers_of(Balance balance) {
  balance.advice = {};
  return pack(balance);
}

constexpr std::size_t receipts_max = 50;

class Model {
 public:
  explicit Model(std::uint64_t seed) : rng_(seed), config_(draw_config()) {
    bounds_ = {.requests_max = rng_.one_in(3) ? rng_.between(2, 12) : 1'000, .refusals_max = 5};
    naive_.requests_max = bounds_.requests_max;
    naive_.config = &config_;
    real_ = std::make_unique<Ledger>(config_, bounds_);
    for (int i = 0; i < 4; ++i) callers_.push_back(draw_caller(i));
    lead();
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      move_time();
      if (rng_.one_in(12)) {
        undone_batch();
      } else if (rng_.one_in(40)) {
        restart();
      } else {
        command();
      }
      const auto broken = real_->check_invariants();
      INFO((broken.empty() ? std::string() : broken.front()));
      REQUIRE(broken.empty());
    }
    restart();
    audit();
  }

 private:
  Config draw_config() {
    Config config = default_config();
    for (TierConfig& tier : config.tiers) {
      tier.allowance = {rng_.between(0, 8) * 30'000};
      tier.longest = {rng_.between(1, 5) * 40'000 + 1};
      tier.jobs_max = static_cast<std::uint32_t>(rng_.between(1, 4));
    }
    if (rng_.one_in(3)) config.sizes.push_back({.name = "huge", .slots = 4, .factor = 5});
    if (rng_.one_in(2)) {
      config.window.kind = WindowKind::fixed;
      config.window.length = rng_.one_in(2) ? hours(rng_.one_in(2) ? 8 : 24) : hours(24 * 7);
      config.window.starts = hours(rng_.between(0, 23));
    } else if (rng_.one_in(2)) {
      config.window.length = hours(rng_.between(1, 30));
    }
    if (rng_.one_in(3)) config.apps.front().tiers = {"pro", "anonymous"};
    return config;
  }

  Caller draw_caller(int number) {
    const std::string name = std::to_string(number);
    Caller who = number == 3 ? caller("address:192.0.2." + name + "/32", "anonymous")
                             : caller("user:" + name, rng_.one_in(2) ? "free" : "pro");
    return who;
  }

  // Often to the very edge of the window of somebody.
  void move_time() {
    if (rng_.one_in(3)) return;
    if (rng_.one_in(6)) {
      const Balance balance = real_->balance(now_, pick_caller().account, "free");
      if (balance.resets_at) now_ = balance.resets_at - milliseconds(rng_.between(0, 1));
    } else {
      constexpr std::array<std::int64_t, 5> steps{1, 1'000, 60'000, 3'600'000, 30'000'000};
      now_ = now_ + milliseconds(rng_.between(0, steps.at(rng_.below(steps.size()))));
    }
    now_ = std::max(now_, naive_.at);
  }

  const Caller& pick_caller() { return callers_[rng_.below(callers_.size())]; }

  Effects step(const ToLedger& message) {
    Effects effects = real_->step(now_, message);
    for (const Record& record : effects.journal) records_.push_back(record);
    ask_history(*real_, now_, records_, effects);
    return effects;
  }

  void command() {
    switch (rng_.below(13)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return reserve();
      case 4:
      case 5:
      case 6:
        return settle();
      case 7:
        return lease();
      case 8:
        return requeue();
      case 9:
        return restate();
      case 10:
        return questions();
      case 11:
        return extend();
      default:
        return rng_.one_in(8)   ? lead()
               : rng_.one_in(2) ? order()
               : rng_.one_in(4) ? questions()
                                : order_once();
    }
  }

  void order() {
    if (rng_.one_in(3)) {
      Config next = draw_config();
      next.sizes = config_.sizes;
      const Changed changed = reply<Changed>(step(terms_of(next)));
      if (!changed.changes.empty()) advance();
      recorded_ = next;
      naive_.config = &recorded_;
      return;
    }
    const AccountId account = pick_caller().account;
    const std::string tier = rng_.one_in(3) ? "" : rng_.one_in(2) ? "free" : "pro";
    const bool is_new = naive_.set_tiers[account] != tier;
    const Effects effects = step(SetAccountTier{.ticket = 1, .account = account, .tier = tier});
    CHECK(find_reply<Changed>(effects)->changes.empty() == !is_new);
    naive_.set_tiers[account] = tier;
    if (tier.empty()) naive_.set_tiers.erase(account);
    if (is_new) advance();
  }

  // A grant or an adjustment: a new one, or one of before, sometimes with another amount.
  void order_once() {
    const AccountId account = pick_caller().account;
    const bool is_grant = rng_.one_in(2);
    std::int64_t amount = rng_.between(-60'000, is_grant ? 120'000 : 60'000);
    if (amount == 0) amount = 1;
    NaiveOrder order{.id = id_at(now_ - milliseconds(rng_.one_in(6) ? 200'000'000 : 0), ++number_),
                     .account = account,
                     .amount = amount,
                     .is_grant = is_grant};
    const NaiveOrder* known = nullptr;
    if (rng_.one_in(3) && !naive_.orders.empty()) {
      known = &naive_.orders[rng_.below(naive_.orders.size())];
      order = *known;
      if (rng_.one_in(3)) order.amount += 1;
    }
    const auto send = [&](auto command) {
      command.who = "operator";
      command.id = order.id;
      command.account = order.account;
      command.amount = {order.amount};
      command.why = "a reason";
      return reply<Changed>(step(command));
    };
    const std::uint64_t written = records_.size();
    const Changed changed = order.is_grant ? send(GrantCredits{}) : send(AdjustQuota{});
    check_order(changed, order, known);
    CHECK(records_.size() - written == (known == nullptr && changed.error == Errc{} ? 1 : 0));
  }

  void check_order(const Changed& changed, NaiveOrder order, const NaiveOrder* known) {
    if (now_.ms - order.id.unix_ms() > 48LL * 3'600'000) {
      CHECK(changed.error == Errc::id_expired);
    } else if (known != nullptr && known->amount != order.amount) {
      CHECK(changed.error == Errc::id_reused);
    } else if (known != nullptr) {
      REQUIRE(changed.changes.size() == 1);
      CHECK(changed.changes[0].before == known->before);
      CHECK(changed.changes[0].after == known->after);
    } else {
      const auto [before, have] = naive_.room_for(now_, order, tier_at_latest_hold(order.account));
      const std::int64_t size = std::abs(order.amount);
      if (size > have) {
        CHECK(changed.error == Errc::quota_exceeded);
        CHECK(changed.want == size);
        CHECK(changed.have == have);
        return;
      }
      REQUIRE(changed.changes.size() == 1);
      order.before = seconds_text(before);
      order.after = seconds_text(before + order.amount);
      CHECK(changed.changes[0].before == order.before);
      CHECK(changed.changes[0].after == order.after);
      CHECK(changed.changes[0].why == "a reason");
      advance();
      order.sequence = naive_.sequence;
      naive_.orders.push_back(order);
    }
  }

  std::string tier_at_latest_hold(const AccountId& account) const {
    std::string tier;
    for (const NaiveHold& hold : naive_.holds)
      if (hold.wish.caller.account == account) tier = hold.wish.caller.tier;
    return tier;
  }

  void lead() {
    const Leading leading = reply<Leading>(step(Lead{.ticket = 5}));
    naive_.epoch += 1;
    CHECK(leading.epoch.value == naive_.epoch);
    CHECK(leading.last_record == naive_.at);
    std::vector<const NaiveHold*> open;
    for (const NaiveHold& hold : naive_.holds)
      if (hold.open) open.push_back(&hold);
    REQUIRE(leading.open.size() == open.size());
    for (std::size_t i = 0; i < open.size(); ++i) {
      CHECK(leading.open[i].hold->job == open[i]->job);
      CHECK(leading.open[i].promise == open[i]->promise);
      CHECK(leading.open[i].attempt == open[i]->attempt);
      CHECK(leading.open[i].leased == open[i]->leased);
      CHECK(leading.open[i].extensions == open[i]->extensions);
      CHECK(leading.open[i].extended_by.ms ==
            open[i]->quota + open[i]->credits - NaiveLedger::first_held(open[i]->wish));
    }
    naive_.advance(now_);
  }

  Reserve draw_wish() {
    const Caller& who = pick_caller();
    Reserve wish = bench::wish(who, now_, ++number_, milliseconds(rng_.between(1, 90'000)));
    wish.epoch = {naive_.epoch};
    const SizeConfig& size = config_.sizes[rng_.below(config_.sizes.size())];
    wish.size = size.name;
    wish.slots = size.slots;
    wish.factor = size.factor;
    wish.app_longest = rng_.one_in(3) ? Duration{} : milliseconds(rng_.between(20'000, 90'000));
    wish.body_hash = rng_.below(4);
    if (rng_.one_in(3)) wish.learned = milliseconds(rng_.between(1, 90'000));
    if (rng_.one_in(3))
      wish.request = id_at(now_ + milliseconds(rng_.between(-200'000'000, 400'000)), number_);
    if (rng_.one_in(4) && !naive_.holds.empty()) {  // again, sometimes with another body
      const NaiveHold& other = naive_.holds[rng_.below(naive_.holds.size())];
      wish.request = other.wish.request;
      if (!rng_.one_in(3)) wish = other.wish;
      wish.epoch = {naive_.epoch};
    }
    if (rng_.one_in(6)) {
      wish.verdict = static_cast<Errc>(rng_.between(100, 111));
      if (wish.verdict == Errc::id_reused) wish.verdict = Errc::bad_request;  // the ledger's own
      wish.want = rng_.between(0, 9);
      wish.have = rng_.between(0, 9);
    }
    if (rng_.one_in(20)) wish.caller.tier = "gold";
    if (rng_.one_in(20)) wish.caller.tier = "pro";  // moved up
    return wish;
  }

  void reserve() {
    const Reserve wish = draw_wish();
    const auto faults = naive_.faults(now_, wish);
    const NaiveHold* known = naive_.known(wish);
    const bool is_known =
        known != nullptr && (faults.empty() || faults.begin()->first > Errc::id_reused);
    const Effects effects = step(wish);
    if (is_known) {
      const auto answer = reply<AlreadyHeld>(effects);
      CHECK(answer.job == known->job);
      CHECK(answer.closed == !known->open);
      if (!known->open) check_receipt(answer.done->receipt, *known);
      CHECK(numbers_of(answer.done->balance) ==
            pack(naive_.balance(now_, wish.caller.account, wish.caller.tier, {})));
    } else if (faults.empty()) {
      naive_.open(now_, wish);
      const Hold hold = reply<Held>(effects).hold;
      CHECK(hold.job == naive_.holds.back().job);
      CHECK(hold.quota_part.ms == naive_.holds.back().quota);
      CHECK(hold.credits_part.ms == naive_.holds.back().credits);
      const Balance after = naive_.balance(now_, wish.caller.account, wish.caller.tier, {});
      CHECK(hold.window_opened == after.window_opened);
      CHECK(hold.window_ends == after.resets_at);
      CHECK(hold.quota_band ==
            (after.allowance.ms == 0
                 ? 0
                 : std::min<std::int64_t>(7, after.left.ms * 8 / after.allowance.ms)));
    } else {
      const Refusal refusal = reply<NotHeld>(effects).refusal;
      const auto& [code, numbers] = *faults.begin();
      REQUIRE(name_of(refusal.code) == name_of(code));
      if (code != Errc::unauthenticated || wish.verdict == code) {
        CHECK(refusal.want == numbers.first);
        CHECK(refusal.have == numbers.second);
      }
      CHECK(refusal.cost.ms == NaiveLedger::first_held(naive_.within(now_, wish)));
      Balance expected =
          naive_.balance(now_, wish.caller.account, wish.caller.tier, wish.app_longest);
      // What is refused as too large for the pool is no size that it would take.
      if (code == Errc::size_unavailable)
        for (Fit& fit : expected.fits)
          if (config_.size(fit.size)->slots >= wish.slots)
            fit = {.size = fit.size, .factor = fit.factor, .longest = {}, .offered = false};
      CHECK(numbers_of(refusal.balance) == pack(expected));
    }
  }

  void check_receipt(const Receipt& receipt, const NaiveHold& hold) {
    CHECK(receipt.job == hold.job);
    CHECK(receipt.held.ms == hold.quota + hold.credits);
    CHECK(receipt.held_credits.ms == hold.credits);
    CHECK(receipt.charged.ms == hold.charged_quota + hold.charged_credits);
    CHECK(receipt.charged_credits.ms == hold.charged_credits);
    CHECK(receipt.given_back == receipt.held - receipt.charged);
    CHECK(receipt.outcome == hold.outcome);
    CHECK(receipt.ended_at == hold.ended);
    CHECK(receipt.promise == hold.promise);
    CHECK(receipt.attempts == hold.attempt);
  }

  NaiveHold* pick_hold() {
    return naive_.holds.empty() ? nullptr : &naive_.holds[rng_.below(naive_.holds.size())];
  }
  // Mostly among the open ones.
  NaiveHold* pick_open() {
    NaiveHold* hold = pick_hold();
    for (int i = 0; i < 6 && hold != nullptr && !hold->open; ++i) hold = pick_hold();
    return hold;
  }

  // A job that is not open has its answer here; false: go on.
  bool is_refused(const Effects& effects, const NaiveHold& hold) {
    if (hold.open) return false;
    CHECK(reply<LedgerRefused>(effects).code == Errc::job_unknown);
    return true;
  }

  void settle() {
    NaiveHold* hold = pick_open();
    if (hold == nullptr) return;
    const Settle settle{.epoch = {naive_.epoch},
                        .job = hold->job,
                        .outcome = static_cast<Outcome>(rng_.between(1, 4)),
                        .ran = milliseconds(rng_.one_in(3) ? 0 : rng_.between(0, 120'000)),
                        .attempt = hold->attempt};
    const Effects effects = step(settle);
    if (hold->open) naive_.close(now_, *hold, settle);
    const JobDone done = done_in(effects);
    check_receipt(done.receipt, *hold);
    const Balance& balance = done.balance;
    CHECK(numbers_of(balance) ==
          pack(naive_.balance(now_, hold->wish.caller.account, balance.tier, {})));
    if (hold->ended == now_ && effects.journal.size() == 1)
      CHECK(done.receipt.left == balance.left);
  }

  void lease() {
    NaiveHold* hold = pick_open();
    if (hold == nullptr) return;
    const auto attempt = static_cast<std::uint32_t>(rng_.between(1, 3));
    const Effects effects = step(
        Leased{.epoch = {naive_.epoch}, .job = hold->job, .attempt = attempt, .node_name = "n"});
    if (is_refused(effects, *hold)) return;
    CHECK(effects.journal.size() == (attempt > hold->attempt ? 1 : 0));
    if (attempt <= hold->attempt) return;
    hold->attempt = attempt;
    hold->leased = true;
    hold->leased_at = now_;
    advance();
  }

  void requeue() {
    NaiveHold* hold = pick_open();
    if (hold == nullptr) return;
    const auto attempt = static_cast<std::uint32_t>(rng_.between(1, 3));
    const Instant promise = now_ + milliseconds(rng_.between(1, 500'000));
    const Effects effects = step(
        Requeue{.epoch = {naive_.epoch}, .job = hold->job, .attempt = attempt, .promise = promise});
    if (is_refused(effects, *hold)) return;
    CHECK(reply<Requeued>(effects).attempt == attempt);
    const bool is_known = attempt <= hold->requeued || attempt < hold->attempt;
    CHECK(effects.journal.empty() == is_known);
    if (is_known) return;
    hold->attempt = attempt;
    hold->requeued = attempt;
    hold->leased = false;
    hold->promise = promise;
    advance();
  }

  // The next one, one that is known, or one too early; sometimes more than there is.
  void extend() {
    NaiveHold* hold = pick_open();
    if (hold == nullptr) return;
    const auto number = static_cast<std::uint32_t>(rng_.between(0, hold->extensions + 2));
    const std::int64_t room =
        hold->wish.declared.ms * hold->wish.factor - hold->quota - hold->credits;
    const GpuTime by{rng_.one_in(8) ? rng_.between(-1, room + 2) : rng_.between(1, room / 2 + 2)};
    const Effects effects =
        step(Extend{.epoch = {naive_.epoch}, .job = hold->job, .number = number, .by = by});
    if (is_refused(effects, *hold)) return;
    const bool is_known = number > 0 && number <= hold->extensions;
    const auto [quota, payable] =
        naive_.room_of(now_, *hold, tier_at_latest_hold(hold->wish.caller.account));
    const bool is_next = number == hold->extensions + 1;
    const auto expected = !is_next || by.ms <= 0 ? Errc::bad_request
                          : by.ms > room         ? Errc::illegal_duration
                          : by.ms > payable      ? Errc::quota_exceeded
                                                 : Errc{};
    if (!is_known && expected != Errc{}) {
      const auto refused = reply<NotExtended>(effects);
      CHECK(refused.code == expected);
      CHECK(refused.number == number);
      if (expected == Errc::quota_exceeded) CHECK(refused.have == payable);
      if (expected == Errc::illegal_duration) CHECK(refused.have == room);
      return;
    }
    if (!is_known) {
      hold->quota += std::min(quota, by.ms);
      hold->credits += by.ms - std::min(quota, by.ms);
      hold->extensions += 1;
      advance();
    }
    const auto extended = reply<Extended>(effects);
    CHECK(extended.number == number);
    CHECK(extended.held.ms == hold->quota + hold->credits);
    CHECK(extended.held_credits.ms == hold->credits);
    CHECK(effects.journal.empty() == is_known);
  }

  void restate() {
    NaiveHold* hold = pick_open();
    if (hold == nullptr) return;
    const Instant promise =
        rng_.one_in(4) ? hold->promise : now_ + milliseconds(rng_.between(1, 500'000));
    const Effects effects =
        step(Restate{.epoch = {naive_.epoch}, .job = hold->job, .promise = promise});
    if (is_refused(effects, *hold)) return;
    CHECK(reply<Restated>(effects).promise == promise);
    CHECK(effects.journal.empty() == (promise == hold->promise));
    if (promise == hold->promise) return;
    hold->promise = promise;
    advance();
  }

  void advance() { naive_.advance(now_); }

  void questions() {
    const Caller& who = pick_caller();
    const Effects found = step(QuotaQuery{.caller = who});
    CHECK(numbers_of(reply<QuotaFound>(found).answer.balance) ==
          pack(naive_.balance(now_, who.account, who.tier, {})));
    const auto listed = naive_.listed(who.account, receipts_max);
    const auto answer = reply<ReceiptsFound>(step(ReceiptsQuery{.account = who.account})).answer;
    REQUIRE(answer.receipts.size() == listed.size());
    for (std::size_t i = 0; i < listed.size(); ++i)
      check_receipt(answer.receipts[i], *naive_.find(listed[i]));
  }

  // Commands that the journal then refuses: as if they had never been.
  void undone_batch() {
    const NaiveLedger before = naive_;
    const Config recorded = recorded_;
    const std::size_t written = records_.size();
    const std::uint64_t digest = real_->state_digest();
    const Instant then = now_;
    real_->begin_batch();
    for (std::int64_t i = rng_.between(1, 6); i > 0; --i) {
      command();
      move_time();
    }
    real_->undo_batch();
    CHECK(real_->state_digest() == digest);
    naive_ = before;
    recorded_ = recorded;
    records_.resize(written);
    now_ = then;
  }

  void restart() {
    const std::uint64_t digest = real_->state_digest();
    real_ = std::make_unique<Ledger>(config_, bounds_);
    for (const Record& record : records_) real_->apply(record);
    REQUIRE(real_->state_digest() == digest);
    if (!rng_.one_in(3)) return;
    // Other tiers, the same shapes and windows: those that are on record count.
    const Config before = config_;
    config_ = draw_config();
    config_.sizes = before.sizes;
    config_.window = before.window;
  }

  void audit() {
    Audit audit(config_, config_.window);
    JournalTail end;
    const std::string batch = encode_batch(records_, {}, end);
    JournalTail begin;
    REQUIRE(read_batch(batch, begin, [&audit](const StoredRecord& stored) {
      audit.read(stored);
      return ok();
    }));
    const AuditReport report = audit.finish();
    INFO((report.findings.empty() ? std::string() : report.findings.front()));
    CHECK(report.findings.empty());
    CHECK(report.rebuilt);
    CHECK(report.records == records_.size());
    CHECK(report.holds == naive_.holds.size());
    CHECK(report.settled == naive_.closings);
    CHECK(report.open == naive_.holds.size() - naive_.closings);
  }

  Prng rng_;
  Config config_;    // as it was read
  Config recorded_;  // whose terms are on record, once some are
  LedgerBounds bounds_;
  NaiveLedger naive_;
  std::unique_ptr<Ledger> real_;
  std::vector<Caller> callers_;
  std::vector<Record> records_;
  Instant now_ = noon;
  std::uint64_t number_ = 0;
};

}  // namespace

TEST_CASE("The ledger answers as the naive ledger does, on 300 seeds") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    INFO("seed " << seed);
    Model(seed).run(120);
  }
}
