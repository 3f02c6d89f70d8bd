#include "actors/session/session.h"

#include <algorithm>
#include <optional>

#include "actors/describe.h"
#include "actors/session/request_shape.h"
#include "base/pack.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr auto queries_max = static_cast<std::size_t>(limits::session_queries_max);
constexpr auto jobs_max = static_cast<std::size_t>(limits::session_jobs_max);

Error past_unknown(Errc code) {
  return {.code = code,
          .detail =
              "the pool cannot read its history now; the job and its charge are safe, ask "
              "again later"};
}

template <class Asked>
std::uint64_t query_of(const Asked& asked) {
  return std::visit([](const auto& one) { return one.query; }, asked);
}

}  // namespace

Session::Session(const Config& config, SessionId id) : config_(&config), id_(id) {}

Effects Session::step(Instant now, const ToSession& message) {
  now_ = now;
  if (!finished_) std::visit([this](const auto& one) { on(one); }, message);
  for (const auto& [number, question] : questions_)
    out_.wake_at = std::min({out_.wake_at, question.due, question.again});
  return std::exchange(out_, {});
}

// ---- The client's connection -----------------------------------------------------------------

void Session::on(const SessionOpened& opened) {
  if (opened_ && opened.caller.account != caller_.account) {
    // Another account from now on: what the earlier one followed is none of its business.
    out_.to(to_broker(), ToBroker{ClientGone{id_}});
    questions_.clear();
    following_.clear();
    results_.clear();
    logs_.clear();
  }
  opened_ = true;
  caller_ = opened.caller;
}

void Session::on(const SessionClosed&) {
  finished_ = true;
  questions_.clear();
  out_.to(to_broker(), ToBroker{ClientGone{id_}});
}

void Session::on(const ClientPing& ping) { tell_client(SessionPong{ping.query}); }

void Session::on(const Tick&) {
  for (auto it = questions_.begin(); it != questions_.end();) {
    if (it->second.due > now_) {
      if (it->second.again <= now_) ask_node(it->second);
      ++it;
      continue;
    }
    const Question late = std::move(it->second);
    it = questions_.erase(it);
    give_up(late.asked);
  }
}

void Session::give_up(const Asked& asked) {
  if (const auto* refused = std::get_if<Refused>(&asked)) {
    refuse(refused->query, refused->refusal);  // without the account's numbers
  } else if (const auto* submit = std::get_if<ClientSubmit>(&asked)) {
    answer_error(submit->query, {.code = Errc::outcome_unknown});
  } else {
    answer_error(query_of(asked), {.code = Errc::timed_out, .want = session_answer_limit.ms});
  }
}

// ---- Questions of the client -----------------------------------------------------------------

template <class Message>
bool Session::may_ask(const Message& message) {
  Error error{.code = Errc::unauthenticated, .detail = "the session is not open yet"};
  if (opened_) {
    if (now_ <= caller_.expires) {
      std::erase_if(questions_, [&](const auto& entry) {
        return query_of(entry.second.asked) == message.query;
      });
      if (questions_.size() < queries_max) return true;
      answer_error(message.query, {.code = Errc::overloaded,
                                   .want = limits::session_queries_max + 1,
                                   .have = limits::session_queries_max,
                                   .detail = "too many unanswered questions of one client"});
      return false;
    }
    error.detail = "the token expired at " + utc_text(caller_.expires) + ", " +
                   countdown_text(now_ - caller_.expires) + " (h:mm:ss) ago";
  }
  if constexpr (std::is_same_v<Message, ClientSubmit>) {
    refuse(message.query, refusal_of(error, message));
  } else {
    answer_error(message.query, error);
  }
  return false;
}

bool Session::names_job(std::uint64_t query, JobId job) {
  if (job) return true;
  answer_error(query, {.code = Errc::bad_request, .detail = "the question names no job"});
  return false;
}

std::uint64_t Session::remember(Asked asked) {
  questions_[++last_number_] = {std::move(asked), now_ + session_answer_limit};
  return last_number_;
}

void Session::on(const ClientSubmit& submit) {
  if (!may_ask(submit)) return;
  if (const Status shape = check_shape(submit); !shape)
    return refuse_with_balance(submit.query, refusal_of(shape.error(), submit));
  if (!has_room_for_job())
    return refuse_with_balance(submit.query,
                               refusal_of({.code = Errc::overloaded,
                                           .want = limits::session_jobs_max + 1,
                                           .have = limits::session_jobs_max,
                                           .detail = "one client can follow no more jobs at once"},
                                          submit));
  out_.to(to_broker(), ToBroker{Submit{.session = id_,
                                       .query = remember(submit),
                                       .caller = caller_,
                                       .request = submit.request,
                                       .body = submit.body,
                                       .body_hash = hash_of(pack(submit.body))}});
}

void Session::on(const ClientCancel& cancel) {
  if (!may_ask(cancel) || !names_job(cancel.query, cancel.job)) return;
  out_.to(to_broker(), ToBroker{Cancel{.session = id_,
                                       .query = remember(cancel),
                                       .account = caller_.account,
                                       .job = cancel.job}});
}

void Session::on(const ClientWatch& watch) {
  if (!may_ask(watch) || !names_job(watch.query, watch.job)) return;
  if (!has_room_for_job())
    return answer_error(watch.query, {.code = Errc::overloaded,
                                      .want = limits::session_jobs_max + 1,
                                      .have = limits::session_jobs_max,
                                      .detail = "one client can follow no more jobs at once"});
  out_.to(
      to_broker(),
      ToBroker{Watch{
          .session = id_, .query = remember(watch), .account = caller_.account, .job = watch.job}});
}

void Session::on(const ClientQuota& quota) {
  if (!may_ask(quota)) return;
  out_.to(to_ledger(),
          ToLedger{QuotaQuery{.session = id_, .query = remember(quota), .caller = caller_}});
}

void Session::on(const ClientReceipts& receipts) {
  if (!may_ask(receipts)) return;
  const auto page_max = static_cast<std::uint32_t>(limits::receipts_page_max);
  out_.to(to_ledger(), ToLedger{ReceiptsQuery{.session = id_,
                                              .query = remember(receipts),
                                              .account = caller_.account,
                                              .before = receipts.before,
                                              .limit = std::clamp(receipts.limit, 1U, page_max)}});
}

void Session::on(const ClientJobs& jobs) {
  if (!may_ask(jobs)) return;
  out_.to(to_broker(),
          ToBroker{JobsQuery{.session = id_, .query = remember(jobs), .account = caller_.account}});
}

void Session::on(const ClientExplain& explain) {
  if (!may_ask(explain)) return;
  if (!explain.job && explain.request == RequestId{})
    return answer_error(explain.query, {.code = Errc::bad_request,
                                        .detail = "the question names no job and no request"});
  out_.to(to_ledger(),
          ToLedger{ExplainQuery{.session = id_,
                                .query = remember(explain),
                                .account = caller_.is_operator ? AccountId{} : caller_.account,
                                .job = explain.job,
                                .request = explain.request}});
}

void Session::on(const ClientFetch& fetch) {
  if (!may_ask(fetch) || !names_job(fetch.query, fetch.job)) return;
  if (const auto it = results_.find(fetch.job); it != results_.end())
    return fetch_from_node(fetch, it->second);
  out_.to(
      to_ledger(),
      ToLedger{ReceiptQuery{
          .session = id_, .query = remember(fetch), .account = caller_.account, .job = fetch.job}});
}

void Session::on(const ClientChanges& changes) {
  if (!may_ask(changes)) return;
  const auto page_max = static_cast<std::uint32_t>(limits::changes_page_max);
  out_.to(to_ledger(), ToLedger{ChangesQuery{.session = id_,
                                             .query = remember(changes),
                                             .caller = caller_,
                                             .since = changes.since,
                                             .limit = std::clamp(changes.limit, 1U, page_max)}});
}

void Session::on(const ClientUsage& usage) {
  if (!may_ask(usage)) return;
  const auto days_max = static_cast<std::uint32_t>(limits::usage_days_max);
  out_.to(to_ledger(), ToLedger{UsageQuery{.session = id_,
                                           .query = remember(usage),
                                           .account = caller_.account,
                                           .since = usage.since,
                                           .limit = std::clamp(usage.limit, 1U, days_max)}});
}

// Only what could be submitted has a price.
void Session::on(const ClientQuote& quote) {
  if (!may_ask(quote)) return;
  if (const Status shape = check_shape(quote.body); !shape)
    return answer_error(quote.query, shape.error());
  const std::uint64_t number = remember(ClientQuote{.query = quote.query, .body = {}});
  out_.to(to_broker(),
          ToBroker{Quote{.session = id_, .query = number, .caller = caller_, .body = quote.body}});
}

// A result lies on the node that made it; only its hash names it there.
void Session::fetch_from_node(const ClientFetch& fetch, const ResultRef& result) {
  if (result.hash.empty())
    return answer_error(fetch.query,
                        {.code = Errc::result_gone, .detail = "the job has no result"});
  if (fetch.offset < 0 || fetch.offset > result.bytes)
    return answer_error(fetch.query,
                        {.code = Errc::bad_request,
                         .detail = "offset " + std::to_string(fetch.offset) + " of a result of " +
                                   std::to_string(result.bytes) + " bytes"});
  const std::uint64_t number = remember(fetch);
  ask_node(result.node, number,
           FetchResult{.session = id_,
                       .query = number,
                       .job = fetch.job,
                       .hash = result.hash,
                       .offset = fetch.offset});
}

// ---- Answers of the pool ---------------------------------------------------------------------

template <class Wanted>
std::optional<Wanted> Session::take(std::uint64_t number) {
  const auto it = questions_.find(number);
  if (it == questions_.end() || !std::holds_alternative<Wanted>(it->second.asked)) return {};
  auto wanted = std::move(*std::get_if<Wanted>(&it->second.asked));
  questions_.erase(it);
  return wanted;
}

void Session::on(const SubmitRefused& refused) {
  if (const auto submit = take<ClientSubmit>(refused.query)) refuse(submit->query, refused.refusal);
}

// The first event of a job carries its hold, which says whose it is: so the answer to a submit that
// was given up still reaches its client, and an earlier caller's job never does.
void Session::on(const JobMoved& moved) {
  const JobEvent& event = moved.event;
  const bool first = event.hold->job == event.job && is_own(event.hold->account);
  if (!first && !following_.contains(event.job)) return;
  take<ClientSubmit>(moved.query);
  take<ClientWatch>(moved.query);  // a cancel is answered by the receipt
  if (following_.size() < jobs_max) following_.insert(event.job);
  tell_client(event);
}

void Session::on(const JobSettled& settled) {
  const Receipt& receipt = settled.done->receipt;
  if (!is_own(receipt.account)) return;
  // Each receipt goes out once, and again only to who asked for it again.
  const bool asked = questions_.contains(settled.query);
  const bool news = following_.erase(receipt.job) > 0 || !results_.contains(receipt.job);
  take<ClientSubmit>(settled.query);
  end_questions_about(receipt.job);
  remember_result(receipt);
  if (asked || news) tell_client(*settled.done);
}

// The broker knows open jobs only; of the others the ledger has the receipt.
void Session::on(const BrokerError& error) {
  const auto it = questions_.find(error.query);
  if (it == questions_.end()) return;
  const auto ask_ledger = [&](JobId job) {
    out_.to(to_ledger(),
            ToLedger{ReceiptQuery{
                .session = id_, .query = error.query, .account = caller_.account, .job = job}});
  };
  if (const auto* cancel = std::get_if<ClientCancel>(&it->second.asked)) {
    ask_ledger(cancel->job);
  } else if (const auto* watch = std::get_if<ClientWatch>(&it->second.asked)) {
    ask_ledger(watch->job);
  } else {
    const std::uint64_t query = query_of(it->second.asked);
    questions_.erase(it);
    answer_error(query, {.code = error.code, .detail = error.detail});
  }
}

void Session::on(const JobsList& list) {
  if (follow_log(list)) return;
  const auto jobs = take<ClientJobs>(list.answer.query);
  if (!jobs) return;
  JobsAnswer answer = list.answer;
  answer.query = jobs->query;
  tell_client(std::move(answer));
}

void Session::on(const QuotaFound& found) {
  if (auto refused = take<Refused>(found.answer.query)) {
    refused->refusal.balance = found.answer.balance;
    return refuse(refused->query, std::move(refused->refusal));
  }
  const auto quota = take<ClientQuota>(found.answer.query);
  if (!quota) return;
  QuotaAnswer answer = found.answer;
  answer.query = quota->query;
  tell_client(std::move(answer));
}

void Session::on(const ReceiptsFound& found) {
  const auto receipts = take<ClientReceipts>(found.answer.query);
  if (!receipts) return;
  if (found.error != Errc{}) return answer_error(receipts->query, past_unknown(found.error));
  ReceiptsAnswer answer = found.answer;
  answer.query = receipts->query;
  tell_client(std::move(answer));
}

void Session::on(const ReceiptFound& found) {
  const auto fetch = take<ClientFetch>(found.query);
  const auto cancel = take<ClientCancel>(found.query);
  const auto watch = take<ClientWatch>(found.query);
  const auto logs = take<ClientLogs>(found.query);
  if (!fetch && !cancel && !watch && !logs) return;
  const std::uint64_t query = fetch    ? fetch->query
                              : cancel ? cancel->query
                              : watch  ? watch->query
                                       : logs->query;
  const Receipt& receipt = found.done->receipt;
  if (found.error == Errc::history_unavailable)
    return answer_error(query, past_unknown(found.error));
  if (found.error != Errc{} || !is_own(receipt.account)) {
    const std::string words =
        fetch || logs ? "no finished job of this account has this number" : "";
    return answer_error(query, {.code = Errc::job_unknown, .detail = words});
  }
  remember_result(receipt);
  if (logs) return fetch_log(*logs, receipt.log);
  if (fetch) return fetch_from_node(*fetch, receipt.result);
  end_questions_about(receipt.job);
  following_.erase(receipt.job);
  tell_client(*found.done);
}

void Session::on(const Explained& explained) {
  const auto explain = take<ClientExplain>(explained.answer.query);
  if (!explain) return;
  if (explained.error == Errc::history_unavailable)
    return answer_error(explain->query, past_unknown(explained.error));
  if (explained.error != Errc{})
    return answer_error(
        explain->query,
        {.code = explained.error,
         .detail = explain->job ? "" : "only recent refusals are remembered, until a restart"});
  ExplainAnswer answer = explained.answer;
  answer.query = explain->query;
  tell_client(std::move(answer));
}

void Session::on(const UsageFound& found) {
  const auto usage = take<ClientUsage>(found.answer.query);
  if (!usage) return;
  if (found.error != Errc{}) return answer_error(usage->query, past_unknown(found.error));
  UsageAnswer answer = found.answer;
  answer.query = usage->query;
  tell_client(std::move(answer));
}

void Session::on(const Quoted& quoted) {
  const auto quote = take<ClientQuote>(quoted.answer.query);
  if (!quote) return;
  QuoteAnswer answer = quoted.answer;
  answer.query = quote->query;
  if (answer.refusal.code != Errc{}) {
    answer.refusal.sentence = sentence_of(answer.refusal);
    answer.refusal.hint = hint_of(answer.refusal);
  }
  tell_client(std::move(answer));
}

void Session::on(const ChangesFound& found) {
  const auto changes = take<ClientChanges>(found.answer.query);
  if (!changes) return;
  ChangesAnswer answer = found.answer;
  answer.query = changes->query;
  tell_client(std::move(answer));
}

void Session::on(const Announcement& announcement) {
  tell_client(SessionNotice{announcement.text});
}

void Session::on(const ResultChunk& chunk) {
  const auto fetch = take<ClientFetch>(chunk.query);
  if (!fetch) return;
  if (chunk.error != Errc{})
    return answer_error(fetch->query, {.code = chunk.error,
                                       .detail = "a result is kept " + kept_for() +
                                                 ", within the node's limit of bytes"});
  ResultChunk answer = chunk;
  answer.query = fetch->query;
  tell_client(std::move(answer));
}

// Watches and cancels of a job are answered by its receipt, whichever message brings it.
void Session::end_questions_about(JobId job) {
  std::erase_if(questions_, [&](const auto& entry) {
    const Asked& asked = entry.second.asked;
    const auto* cancel = std::get_if<ClientCancel>(&asked);
    const auto* watch = std::get_if<ClientWatch>(&asked);
    return (cancel && cancel->job == job) || (watch && watch->job == job);
  });
}

// ---- Its tables ------------------------------------------------------------------------------

bool Session::has_room_for_job() const {
  const auto asking = static_cast<std::size_t>(
      std::count_if(questions_.begin(), questions_.end(), [](const auto& entry) {
        return std::holds_alternative<ClientSubmit>(entry.second.asked) ||
               std::holds_alternative<ClientWatch>(entry.second.asked);
      }));
  return following_.size() + asking < jobs_max;
}

void Session::remember_result(const Receipt& receipt) {
  results_[receipt.job] = receipt.result;
  logs_[receipt.job] = receipt.log;
  if (results_.size() > jobs_max) results_.erase(results_.begin());  // the oldest job
  if (logs_.size() > jobs_max) logs_.erase(logs_.begin());
}

// For session_logs.cpp.
template bool Session::may_ask(const ClientLogs& logs);
template std::optional<ClientLogs> Session::take(std::uint64_t number);
template bool Session::may_ask(const ClientUpload& upload);
template std::optional<ClientUpload> Session::take(std::uint64_t number);
template bool Session::may_ask(const ClientOperate& operate);
template std::optional<ClientOperate> Session::take(std::uint64_t number);
template bool Session::may_ask(const ClientOverview& overview);
template std::optional<ClientOverview> Session::take(std::uint64_t number);

}  // namespace gpupool
