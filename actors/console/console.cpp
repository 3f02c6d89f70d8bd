// The console's frame: dispatch of messages, its questions and their time limits, and the terms of
// the configuration on their way to the ledger.
#include "actors/console/console.h"

#include <algorithm>

#include "actors/console/settings_terms.h"
#include "actors/console/tables.h"
#include "actors/describe.h"
#include "actors/ledger/window_rule.h"

namespace gpupool {
namespace {

// Between two attempts to tell the ledger something; doubled after each.
constexpr Duration pause_min = seconds(1);
constexpr Duration pause_max = seconds(60);

std::vector<TierTerms> terms_of(const std::vector<TierConfig>& tiers) {
  std::vector<TierTerms> terms;
  for (const TierConfig& tier : tiers)
    terms.push_back({.name = tier.name,
                     .allowance = tier.allowance,
                     .longest = tier.longest,
                     .rank = tier.rank,
                     .jobs_max = tier.jobs_max});
  return terms;
}

std::vector<AppTerms> terms_of(const std::vector<AppConfig>& apps) {
  std::vector<AppTerms> terms;
  for (const AppConfig& app : apps)
    terms.push_back({.name = app.name,
                     .size = app.size,
                     .default_duration = app.default_duration,
                     .longest = app.longest,
                     .tiers = app.tiers,
                     .automatic = app.automatic});
  return terms;
}

}  // namespace

Effects Console::start(Instant now) {
  now_ = started_ = now;
  configure("configuration at start");
  const std::uint64_t ticket = ++last_ticket_;
  asks_standing_ = Repeated{.message = StandingQuery{ticket}, .ticket = ticket};
  repeat(*asks_standing_);
  return take_effects();
}

Effects Console::step(Instant now, const ToConsole& message) {
  now_ = std::max(now_, now);
  std::visit([this](const auto& one) { on(one); }, message);
  return take_effects();
}

Effects Console::take_effects() {
  out_.wake_at = Instant::never();
  for (const auto& [ticket, question] : questions_)
    out_.wake_at = std::min(out_.wake_at, question.due);
  for (const auto* repeated : {&configuring_, &asks_standing_})
    if (*repeated) out_.wake_at = std::min(out_.wake_at, (*repeated)->due);
  if (looking_) out_.wake_at = std::min(out_.wake_at, looking_->due);
  return std::exchange(out_, {});
}

void Console::on(const Tick&) {
  give_up_looking();
  for (auto* repeated : {&configuring_, &asks_standing_})
    if (*repeated && (*repeated)->due <= now_) repeat(**repeated);
  for (auto it = questions_.begin(); it != questions_.end();) {
    if (it->second.due > now_) {
      ++it;
      continue;
    }
    const Question late = std::move(it->second);
    it = questions_.erase(it);
    answer(late.from, given_up(late));
  }
}

// Asking again is always safe. Only of a change, or a cancel, nobody knows whether it was made.
Error Console::given_up(const Question& question) {
  const Purpose& purpose = question.purpose;
  const bool changes = std::holds_alternative<ChangeAsked>(purpose) ||
                       std::holds_alternative<CancelAsked>(purpose) ||
                       std::holds_alternative<RemoveAsked>(purpose);
  const bool of_ledger = std::holds_alternative<AccountsAsked>(purpose) ||
                         std::holds_alternative<AuditAsked>(purpose) ||
                         std::holds_alternative<ChangeAsked>(purpose);
  const std::string who = of_ledger ? "the ledger" : "the broker";
  const std::string silence = who + " did not answer within " + seconds_text(console_answer_limit);
  if (!changes)
    return {.code = Errc::timed_out,
            .want = console_answer_limit.ms,
            .detail = silence + "; ask again"};
  return {.code = Errc::outcome_unknown,
          .detail = silence + "; giving the command again is safe, and " +
                    (of_ledger ? "`gpupool changes`" : "`gpupool queue`") +
                    " tells whether it was done"};
}

// ---- The configuration's terms and what operators have set -------------------------------------

void Console::configure(const std::string& who) {
  const std::uint64_t ticket = ++last_ticket_;
  configuring_ = Repeated{.message = Configure{.ticket = ticket,
                                               .who = who,
                                               .tiers = terms_of(config_->tiers),
                                               .apps = terms_of(config_->apps),
                                               .window = terms_of(config_->window),
                                               .settings = settings_of(*config_)},
                          .ticket = ticket};
  repeat(*configuring_);
}

void Console::repeat(Repeated& repeated) {
  repeated.pause = std::clamp(repeated.pause * 2, pause_min, pause_max);
  repeated.due = now_ + repeated.pause;
  out_.to(to_ledger(), ToLedger{repeated.message});
}

// The shell has given the new configuration to use() before.
void Console::on(const ConfigReloaded&) { configure("configuration reloaded"); }

void Console::on(const Standing& standing) {
  if (asks_standing_ && asks_standing_->ticket == standing.ticket) asks_standing_.reset();
  standing_ = standing;
  out_.to(to_broker(), ToBroker{DrainNodes{standing.draining}});
  out_.to(to_gateway(), ToGateway{standing});
}

// ---- Answers of the ledger and the broker ------------------------------------------------------

template <class Wanted>
std::optional<Console::Question> Console::take(std::uint64_t ticket) {
  const auto it = questions_.find(ticket);
  if (it == questions_.end() || !std::holds_alternative<Wanted>(it->second.purpose)) return {};
  Question question = std::move(it->second);
  questions_.erase(it);
  return question;
}

void Console::on(const Changed& changed) {
  if (configuring_ && configuring_->ticket == changed.ticket) {
    if (changed.error == Errc{}) configuring_.reset();  // else it is told again
    return;
  }
  const auto question = take<ChangeAsked>(changed.ticket);
  if (!question) return;
  if (changed.error != Errc{})
    return answer(question->from, Error{.code = changed.error,
                                        .want = changed.want,
                                        .have = changed.have,
                                        .detail = changed.detail});
  const auto& asked = *std::get_if<ChangeAsked>(&question->purpose);
  answer(question->from,
         table_of(changed, asked.title, changed.changes.empty() ? asked.already : asked.done));
}

void Console::on(const AccountsFound& found) {
  if (const auto question = take<AccountsAsked>(found.ticket))
    answer(question->from, table_of(found));
}

void Console::on(const Audited& audited) {
  const auto question = take<AuditAsked>(audited.ticket);
  if (!question) return;
  audit_ = {.at = now_,
            .who = question->from.who,
            .findings = audited.findings,
            .sequence = audited.sequence,
            .open_holds = audited.open_holds,
            .accounts = audited.accounts};
  answer(question->from, table_of(audited));
}

void Console::on(const QueueFound& found) {
  if (looks_at(found)) return;
  if (const auto question = take<QueueAsked>(found.ticket)) answer(question->from, table_of(found));
}

void Console::on(const NodesFound& found) {
  if (looks_at(found)) return;
  if (const auto question = take<NodesAsked>(found.ticket))
    answer(question->from, table_of(found, std::get_if<NodesAsked>(&question->purpose)->after));
  if (const auto question = take<DrainAsked>(found.ticket))
    if (const Status set = set_draining(*question, found); !set)
      answer(question->from, set.error());
}

void Console::on(const CancelTaken& taken) {
  const auto question = take<CancelAsked>(taken.ticket);
  if (!question) return;
  const JobId job = std::get_if<CancelAsked>(&question->purpose)->job;
  if (taken.error == Errc{}) return answer(question->from, table_of(taken, job));
  answer(question->from, Error{.code = taken.error,
                               .detail = "no open job has the number " + std::to_string(job.value) +
                                         "; it may be over, and `gpupool queue` lists those that "
                                         "are not"});
}

void Console::on(const NodeRemoved& removed) {
  const auto question = take<RemoveAsked>(removed.ticket);
  if (!question) return;
  const std::string& node = std::get_if<RemoveAsked>(&question->purpose)->node;
  if (removed.error == Errc{})
    return answer(question->from,
                  Table{.title = "remove",
                        .note = node + " is forgotten; should a worker of this name come, it joins "
                                       "as a new node"});
  const std::string why =
      removed.error == Errc::forbidden
          ? node +
                " is not lost: drain it, stop its worker, and remove it when `gpupool nodes` "
                "says lost"
          : "this pool knows no node of that name (`gpupool nodes`)";
  answer(question->from, Error{.code = removed.error, .detail = why});
}

// ---- Answers to operators ----------------------------------------------------------------------

void Console::answer(const Operator& to, Table table) {
  out_.to(to_session(to.session),
          ToSession{Operated{.session = to.session,
                             .answer = {.query = to.query, .table = std::move(table)}}});
}

void Console::answer(const Operator& to, const Error& error) {
  out_.to(to_session(to.session), ToSession{Operated{.session = to.session,
                                                     .answer = {.query = to.query, .table = {}},
                                                     .error = error.code,
                                                     .want = error.want,
                                                     .have = error.have,
                                                     .detail = error.detail}});
}

}  // namespace gpupool
