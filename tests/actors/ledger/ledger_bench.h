#pragma once
// LedgerBench: a ledger on a table. Virtual time, one caller at a time, and every record that the
// ledger made, so that a test can replay them. Each step checks the invariants.

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/ledger/group_commit.h"
#include "actors/ledger/history.h"
#include "actors/ledger/history_memory.h"
#include "actors/ledger/ledger.h"
#include "actors/ledger/receipt.h"

namespace gpupool::bench {

inline constexpr Instant noon{1'770'000'000'000};  // 2026-02-02T02:40:00Z

inline Config config_with_allowance(Duration allowance) {
  Config config = default_config();
  config.tiers = {{.name = "anonymous", .allowance = {120'000}, .longest = {120'000}, .rank = 0},
                  {.name = "free", .allowance = {allowance.ms}, .longest = {180'000}, .rank = 1},
                  {.name = "pro", .allowance = {1'500'000}, .longest = {300'000}, .rank = 2}};
  return config;
}

// What the console says of a configuration.
inline Configure terms_of(const Config& config, const std::string& who = "configuration at start") {
  Configure terms{.ticket = 9, .who = who};
  for (const TierConfig& tier : config.tiers)
    terms.tiers.push_back({tier.name, tier.allowance, tier.longest, tier.rank, tier.jobs_max});
  for (const AppConfig& app : config.apps)
    terms.apps.push_back(
        {app.name, app.size, app.default_duration, app.longest, app.tiers, app.automatic});
  terms.window = terms_of(config.window);
  return terms;
}

inline Caller caller(const std::string& account, const std::string& tier = "free") {
  return {.account = {account}, .tier = tier, .recognised_by = "token for " + account};
}

// A request id made at `at`; `number` tells ids of one moment apart.
inline RequestId id_at(Instant at, std::uint64_t number) {
  return {.high = (static_cast<std::uint64_t>(at.ms) << 16U) | 0x7000U,
          .low = 0x8000'0000'0000'0000U | number};
}

// A stranger to all other jobs: its own id, 60 s at size large, found legal by the broker.
inline Reserve wish(const Caller& who, Instant at, std::uint64_t number,
                    Duration declared = seconds(60)) {
  return {.ticket = number,
          .epoch = {1},
          .caller = who,
          .request = id_at(at, number),
          .body = JobRequest{.app = "emoji", .size = "large", .declared = declared},
          .body_hash = 7,
          .partition = "default",
          .size = "large",
          .declared = declared,
          .occupancy = declared + seconds(37),
          .app_longest = seconds(300),
          .promise = at + seconds(100)};
}

template <class Wanted, class... Others>
constexpr bool is_one_of(const std::variant<Others...>*) {
  return (std::is_same_v<Wanted, Others> || ...);
}

// What was sent, if it is a Wanted. Without std::visit, which takes compilers seconds a test.
template <class Wanted, class... Roles>
const Wanted* message_in(const std::variant<Roles...>& message) {
  const Wanted* found = nullptr;
  const auto look = [&found]<class Role>(const Role* role) {
    if constexpr (is_one_of<Wanted>(static_cast<const Role*>(nullptr)))
      if (role != nullptr) found = std::get_if<Wanted>(role);
  };
  (look(std::get_if<Roles>(&message)), ...);
  return found;
}

template <class Wanted>
const Wanted* find_reply(const Effects& effects) {
  for (const Send& send : effects.send)
    if (const Wanted* found = message_in<Wanted>(send.message)) return found;
  return nullptr;
}

// The one reply, which has to be a Message.
template <class Message>
Message reply(const Effects& effects) {
  REQUIRE(effects.send.size() == 1);
  const Message* found = find_reply<Message>(effects);
  REQUIRE(found != nullptr);
  return *found;
}

// The answer to a settle, the first one or a later one.
inline JobDone done_in(const Effects& effects) {
  const auto* before = find_reply<SettledBefore>(effects);
  return before == nullptr ? done_of(reply<Settled>(effects)) : *before->done;
}

// What the ledger leaves to its history, answered by one that has read all of `records`: the
// answers of both stand where the ledger's did.
inline void ask_history(Ledger& ledger, Instant now, const std::vector<Record>& records,
                        Effects& effects) {
  const auto is_for = [](Role role) {
    return [role](const Send& send) { return send.to.role == role; };
  };
  if (std::none_of(effects.send.begin(), effects.send.end(), is_for(Role::history))) return;
  HistoryMemory store;
  History history(store);
  history.step(Tick{});
  JournalTail end;
  JournalRead read;
  if (!records.empty()) read.batches.push_back(encode_batch(records, {}, end));
  history.step(read);
  for (std::size_t i = 0; i < effects.send.size(); ++i) {
    if (effects.send[i].to.role != Role::history) continue;
    std::vector<Send> answers = history.step(std::get<ToHistory>(effects.send[i].message)).send;
    std::erase_if(answers, [](const Send& send) {
      const auto* to = std::get_if<ToLedger>(&send.message);
      return to != nullptr && std::holds_alternative<ReadJournal>(*to);
    });
    REQUIRE(answers.size() == 1);
    if (answers.front().to.role == Role::ledger)
      answers = ledger.step(now, std::get<ToLedger>(answers.front().message)).send;
    REQUIRE(answers.size() == 1);
    effects.send[i] = answers.front();
  }
}

// What leaves when these messages make a batch, whether the journal takes or refuses it.
inline Effects committed(GroupCommit& commits, const std::vector<ToLedger>& messages,
                         Instant now = noon) {
  for (const ToLedger& message : messages) commits.take(now, message);
  auto effects = commits.commit(now, {.wall = now, .boot = {5'000}, .boot_id = "boot-1"});
  INFO((effects ? std::string() : effects.error().detail));
  REQUIRE(effects);
  return std::move(*effects);
}

// With a history behind it.
class LedgerBench {
 public:
  explicit LedgerBench(Config chosen = default_config(), LedgerBounds bounds = {})
      : config(std::move(chosen)), bounds_(bounds), ledger(config, bounds) {
    step(Lead{.ticket = 1});
  }

  Effects step(const ToLedger& message) {
    Effects effects = ledger.step(now, message);
    for (const Record& record : effects.journal) records.push_back(record);
    ask_history(ledger, now, records, effects);
    const auto broken = ledger.check_invariants();
    INFO((broken.empty() ? std::string() : broken.front()));
    REQUIRE(broken.empty());
    return effects;
  }

  Effects ask(const Caller& who, Duration declared = seconds(60)) {
    return step(wish(who, now, ++number_, declared));
  }
  Hold hold(const Caller& who, Duration declared = seconds(60)) {
    return reply<Held>(ask(who, declared)).hold;
  }
  Refusal refused(const Caller& who, Duration declared = seconds(60)) {
    return reply<NotHeld>(ask(who, declared)).refusal;
  }
  JobDone settle(JobId job, Duration ran, Outcome outcome = Outcome::succeeded) {
    return done_in(step(Settle{.epoch = {1}, .job = job, .outcome = outcome, .ran = ran}));
  }
  Balance quota(const Caller& who) {
    return reply<QuotaFound>(step(QuotaQuery{.session = {1}, .query = 1, .caller = who}))
        .answer.balance;
  }
  // The answer to an operator's command.
  Changed changed(const ToLedger& command) {
    const Effects effects = step(command);
    REQUIRE(find_reply<Changed>(effects) != nullptr);
    return *find_reply<Changed>(effects);
  }
  Standing standing() { return reply<Standing>(step(StandingQuery{.ticket = 3})); }
  ChangesAnswer changes(const Caller& who, Instant since = {}, std::uint32_t limit = 0) {
    const ChangesQuery query{
        .session = {1}, .query = 4, .caller = who, .since = since, .limit = limit};
    return reply<ChangesFound>(step(query)).answer;
  }
  std::vector<Happening> explain(const AccountId& account, JobId job, RequestId request = {}) {
    return reply<Explained>(
               step(ExplainQuery{
                   .session = {1}, .account = account, .job = job, .request = request}))
        .answer.story;
  }

  // A fresh ledger with these records, under this configuration.
  Ledger replayed(const Config& other) const {
    Ledger again(other, bounds_);
    for (const Record& record : records) again.apply(record);
    return again;
  }

  Config config;
  Instant now = noon;
  std::vector<Record> records;

 private:
  LedgerBounds bounds_;
  std::uint64_t number_ = 0;

 public:
  Ledger ledger;  // after the configuration that it refers to
};

}  // namespace gpupool::bench
