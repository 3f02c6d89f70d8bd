// Logs of runs. Where a log is, the broker knows of an open job: it is asked for this one job,
// which makes nobody its follower; the node that runs it has what was written so far. Of a job that
// is no longer open the ledger's receipt names the stored log and its node.
#include <optional>

#include "actors/describe.h"
#include "actors/session/session.h"
#include "base/pack.h"

namespace gpupool {
namespace {

constexpr Duration node_retry = seconds(1);  // a question without an answer; it may be doubled

}  // namespace

void Session::on(const ClientLogs& logs) {
  if (!may_ask(logs) || !names_job(logs.query, logs.job)) return;
  if (logs.offset < 0)
    return answer_error(logs.query, {.code = Errc::bad_request,
                                     .detail = "offset " + std::to_string(logs.offset) +
                                               " of a log; it counts from 0"});
  if (const auto it = logs_.find(logs.job); it != logs_.end()) return fetch_log(logs, it->second);
  out_.to(
      to_broker(),
      ToBroker{JobsQuery{
          .session = id_, .query = remember(logs), .account = caller_.account, .job = logs.job}});
}

// Whether this was the answer to a question about a log.
bool Session::follow_log(const JobsList& list) {
  const auto it = questions_.find(list.answer.query);
  if (it == questions_.end()) return false;
  const auto* asked = std::get_if<ClientLogs>(&it->second.asked);
  if (!asked) return false;
  const ClientLogs logs = *asked;
  if (list.answer.jobs.empty()) {  // not open: the ledger's receipt knows
    out_.to(to_ledger(), ToLedger{ReceiptQuery{.session = id_,
                                               .query = list.answer.query,
                                               .account = caller_.account,
                                               .job = logs.job}});
    return true;
  }
  const JobEvent& event = list.answer.jobs.front();
  if (!event.node.empty()) {
    ask_node(NodeId{hash_of(event.node)}, list.answer.query,
             FetchLog{.session = id_,
                      .query = list.answer.query,
                      .job = logs.job,
                      .attempt = event.attempt,
                      .offset = logs.offset,
                      .preview = logs.preview});
    return true;
  }
  // It runs nowhere: not yet, not any more until it runs again, or its receipt is being written.
  questions_.erase(it);
  tell_client(LogChunk{.query = logs.query, .session = id_, .job = logs.job});
  return true;
}

void Session::ask_node(NodeId node, std::uint64_t number, ToWorker message) {
  Question& question = questions_.at(number);
  question.of_node.emplace(node, std::move(message));
  ask_node(question);
}

void Session::ask_node(Question& question) {
  question.again = now_ + node_retry;
  out_.to(to_worker(question.of_node->first), ToWorker{question.of_node->second});
}

// Of a job that is over. It may have written nothing.
void Session::fetch_log(const ClientLogs& logs, const ResultRef& log) {
  if (log.hash.empty() || logs.preview)
    return tell_client(
        LogChunk{.query = logs.query, .session = id_, .job = logs.job, .finished = true});
  const std::uint64_t number = remember(logs);
  ask_node(log.node, number,
           FetchLog{.session = id_,
                    .query = number,
                    .job = logs.job,
                    .hash = log.hash,
                    .offset = logs.offset,
                    .media_type = log.media_type});
}

// "24 h", or "90.0 s" where the configuration says no whole hours.
std::string Session::kept_for() const {
  constexpr Duration hour = hours(1);
  const Duration keep = config_->worker.result_keep;
  return keep.ms % hour.ms == 0 ? std::to_string(keep.ms / hour.ms) + " h" : seconds_text(keep);
}

void Session::on(const LogChunk& chunk) {
  const auto logs = take<ClientLogs>(chunk.query);
  if (!logs) return;
  if (chunk.error != Errc{})
    return answer_error(logs->query, {.code = chunk.error,
                                      .detail = "a log is kept " + kept_for() +
                                                ", within its node's limit of bytes"});
  LogChunk answer = chunk;
  answer.query = logs->query;
  tell_client(std::move(answer));
}

}  // namespace gpupool
