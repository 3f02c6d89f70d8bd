#include "actors/log_line.h"

#include "actors/describe.h"
#include "actors/ledger/receipt.h"
#include "actors/rules.h"

namespace gpupool {
namespace {

using Line = std::optional<LogLine>;

constexpr std::size_t changes_told_max = 8;

std::string attempt_text(std::uint32_t attempt) { return "attempt " + std::to_string(attempt); }

std::string change_text(const Change& change) {
  const auto shown = [](const std::string& value) { return value.empty() ? "nothing" : value; };
  return change.subject + (change.field.empty() ? "" : " " + change.field) + " from " +
         shown(change.before) + " to " + shown(change.after) + " by " + change.who +
         (change.why.empty() ? "" : " (" + change.why + ")");
}

// One overload for each message that is a happening; each looks at its level before it makes text.
struct Teller {
  LogLevel least;

  bool wants(LogLevel level) const { return level >= least; }

  template <class Other>
  Line operator()(const Other&) const {
    return {};
  }

  Line operator()(const Held& held) const {
    if (!wants(LogLevel::info)) return {};
    const Hold& hold = held.hold;
    return LogLine{.level = LogLevel::info,
                   .event = "held",
                   .text = seconds_text(hold.quota_part + hold.credits_part) + " held for app " +
                           hold.body->app + ", start promised by " +
                           utc_text(hold.promise, Rounding::up),
                   .job = hold.job,
                   .account = hold.account,
                   .request = hold.request};
  }

  // Where every refusal leaves the pool, whoever found it.
  Line operator()(const SessionRefused& refused) const {
    if (!wants(LogLevel::info)) return {};
    const Refusal& refusal = refused.refusal;
    return LogLine{.level = LogLevel::info,
                   .event = "refused",
                   .text = std::string(name_of(refusal.code)) + ": " + refusal.sentence,
                   .account = refusal.balance.account,
                   .request = refusal.request};
  }

  Line operator()(const Leased& leased) const {
    if (!wants(LogLevel::info)) return {};
    return LogLine{.level = LogLevel::info,
                   .event = "leased",
                   .text = attempt_text(leased.attempt) + " starts on " + leased.node_name,
                   .job = leased.job,
                   .node = leased.node_name};
  }

  Line operator()(const RunBegan& began) const {
    if (!wants(LogLevel::debug)) return {};
    return LogLine{.level = LogLevel::debug,
                   .event = "began",
                   .text = attempt_text(began.attempt) + " runs and is charged from now on",
                   .job = began.job};
  }

  Line operator()(const RunStep& step) const {
    if (!wants(LogLevel::debug)) return {};
    return LogLine{
        .level = LogLevel::debug,
        .event = "step",
        .text = "step " + std::to_string(step.step) + " of " + std::to_string(step.of_steps),
        .job = step.job};
  }

  Line operator()(const Heartbeat& heartbeat) const {
    if (!wants(LogLevel::debug)) return {};
    return LogLine{.level = LogLevel::debug,
                   .event = "heartbeat",
                   .text = "heartbeat " + std::to_string(heartbeat.number)};
  }

  // The worker's word; what it costs is told by `settled`.
  Line operator()(const RunEnded& ended) const {
    if (!wants(LogLevel::debug)) return {};
    return LogLine{.level = LogLevel::debug,
                   .event = "ended",
                   .text = attempt_text(ended.attempt) + " " + std::string(word_of(ended.outcome)) +
                           " after " + seconds_text(ended.ran),
                   .job = ended.job};
  }

  Line operator()(const Requeue& requeue) const {
    if (!wants(LogLevel::warn)) return {};
    return LogLine{.level = LogLevel::warn,
                   .event = "requeued",
                   .text = attempt_text(requeue.attempt) + " was lost (" +
                           std::string(name_of(requeue.cause)) + ") and is not charged; the job " +
                           "waits again, start promised by " +
                           utc_text(requeue.promise, Rounding::up),
                   .job = requeue.job};
  }

  Line operator()(const Restate& restate) const {
    if (!wants(LogLevel::info)) return {};
    return LogLine{.level = LogLevel::info,
                   .event = "restated",
                   .text = "start now promised by " + utc_text(restate.promise, Rounding::up) +
                           ": " + restate.reason,
                   .job = restate.job};
  }

  Line operator()(const Settled& settled) const {
    const LogLevel level = is_pool_fault(settled.settled.cause) ? LogLevel::warn : LogLevel::info;
    if (!wants(level)) return {};
    const Receipt receipt = done_of(settled).receipt;
    std::string text(word_of(receipt.outcome));
    if (receipt.cause != Errc{}) text += " (" + std::string(name_of(receipt.cause)) + ")";
    return LogLine{.level = level,
                   .event = "settled",
                   .text = text + ": " + arithmetic_of(receipt),
                   .job = receipt.job,
                   .account = receipt.account,
                   .node = receipt.node,
                   .request = receipt.request};
  }

  Line operator()(const Joined& joined) const {
    const bool is_in = joined.refused == Errc{};
    const LogLevel level = is_in ? LogLevel::info : LogLevel::warn;
    if (!wants(level)) return {};
    const bool is_lost = joined.refused == Errc::node_lost;
    const Error why{.code = joined.refused, .detail = joined.detail};
    return LogLine{.level = level,
                   .event = is_in     ? "node_joined"
                            : is_lost ? "node_lost"
                                      : "node_refused",
                   .text = is_in ? "the node takes jobs" : describe(why),
                   .node = joined.name};
  }

  Line operator()(const SlotChanged& changed) const {
    const LogLevel level = changed.why.empty() ? LogLevel::info : LogLevel::warn;
    if (!wants(level)) return {};
    const std::string slot = "slot " + std::to_string(changed.slot.value);
    return LogLine{.level = level,
                   .event = changed.why.empty() ? "slot_back" : "slot_out",
                   .text = slot + (changed.why.empty() ? " takes jobs again"
                                                       : " takes no jobs: " + changed.why),
                   .node = changed.name};
  }

  Line operator()(const LedgerRefused& refused) const {
    if (!wants(LogLevel::warn)) return {};
    return LogLine{
        .level = LogLevel::warn,
        .event = "ledger_refused",
        .text = "the ledger refused what the broker wrote: " + std::string(name_of(refused.code)),
        .job = refused.job};
  }

  Line operator()(const Changed& changed) const {
    if (changed.error != Errc{}) {
      if (!wants(LogLevel::warn)) return {};
      return LogLine{.level = LogLevel::warn,
                     .event = "change_refused",
                     .text = describe({.code = changed.error, .detail = changed.detail})};
    }
    if (changed.changes.empty() || !wants(LogLevel::info)) return {};
    std::string text;
    for (std::size_t i = 0; i < changed.changes.size() && i < changes_told_max; ++i)
      text += (i == 0 ? "" : "; ") + change_text(changed.changes[i]);
    if (changed.changes.size() > changes_told_max)
      text += "; and " + std::to_string(changed.changes.size() - changes_told_max) + " more";
    return LogLine{.level = LogLevel::info, .event = "changed", .text = std::move(text)};
  }
};

}  // namespace

std::optional<LogLine> log_line(const Message& message, LogLevel least) {
  const Teller teller{least};
  return std::visit([&](const auto& role) { return std::visit(teller, role); }, message);
}

}  // namespace gpupool
