// Questions: an account sees its own and nothing of others, whose jobs are unknown to it.

#include <algorithm>

#include "actors/ledger/ledger.h"

namespace gpupool {

void Ledger::handle(Instant now, const QuotaQuery& query, Effects& effects) const {
  Caller caller = query.caller;
  caller.recognised_by = recognised_by(caller);
  caller.tier = tier_of(caller.account, query.caller.tier);
  const Balance balance = balance_for(now, {.account = caller.account, .tier = caller.tier});
  QuotaFound found{.session = query.session,
                   .answer = {.query = query.query, .caller = caller, .balance = balance}};
  effects.to(to_session(query.session), ToSession{std::move(found)});
}

// By job, newest first: a page goes on where it ended whatever is settled meanwhile.
void Ledger::handle(Instant, const ReceiptsQuery& query, Effects& effects) const {
  ReceiptsFound found{.session = query.session, .answer = {.query = query.query}};
  constexpr std::size_t page_max = limits::receipts_page_max;
  const std::size_t page =
      query.limit == 0 ? page_max : std::min<std::size_t>(query.limit, page_max);
  std::vector<JobId> jobs;
  if (const Account* account = accounts_.find(query.account)) jobs = listed_receipts(*account);
  if (query.before) std::erase_if(jobs, [&query](JobId job) { return job >= query.before; });
  std::sort(jobs.begin(), jobs.end(), std::greater<>{});
  for (const JobId job : jobs) {
    if (found.answer.receipts.size() == page) break;
    found.answer.receipts.push_back(closed_.find(job)->receipt);
  }
  found.answer.more = jobs.size() > found.answer.receipts.size();
  effects.to(to_session(query.session), ToSession{std::move(found)});
}

void Ledger::handle(Instant now, const ReceiptQuery& query, Effects& effects) const {
  ReceiptFound found{.session = query.session, .query = query.query};
  const ClosedJob* closed = closed_.find(query.job);
  if (closed != nullptr && closed->receipt->account == query.account) {
    found.done = done_of(now, closed->receipt);
  } else {
    found.error = Errc::job_unknown;
  }
  effects.to(to_session(query.session), ToSession{std::move(found)});
}

std::vector<Happening> Ledger::refusals_of(const AccountId& account, RequestId request) const {
  std::vector<const Refusal*> found;
  for (auto it = refusals_.rbegin(); it != refusals_.rend(); ++it) {
    if (std::cmp_equal(found.size(), limits::refusals_explained_max)) break;
    if (it->request == request && it->balance.account == account) found.push_back(&*it);
  }
  std::vector<Happening> story;
  for (auto it = found.rbegin(); it != found.rend(); ++it)
    for (Happening& happening : tell(**it)) story.push_back(std::move(happening));
  return story;
}

// The story of a job, by its number or its request id, with the refusals that the same id met.
void Ledger::handle(Instant, const ExplainQuery& query, Effects& effects) const {
  JobId job = query.job;
  RequestId request = query.request;
  if (!job) {
    const RequestEntry* entry = requests_.find({query.request, query.account});
    if (entry != nullptr) job = entry->job;
  }
  std::vector<Happening> story;
  const OpenJob* open = open_.find(job);
  const ClosedJob* closed = closed_.find(job);
  if (open != nullptr && open->hold->account == query.account) {
    request = open->hold->request;
    story = tell(receipt_of(*open, {}, {}), open->story);
  } else if (closed != nullptr && closed->receipt->account == query.account) {
    request = closed->receipt->request;
    story = tell(closed->receipt, closed->story);
  }
  const bool by_request = !query.job;
  if (by_request || !story.empty()) {
    std::vector<Happening> refused = refusals_of(query.account, request);
    story.insert(story.begin(), std::make_move_iterator(refused.begin()),
                 std::make_move_iterator(refused.end()));
    std::stable_sort(story.begin(), story.end(),
                     [](const Happening& a, const Happening& b) { return a.at < b.at; });
  }
  Explained explained{.session = query.session,
                      .error = story.empty() ? Errc::job_unknown : Errc{},
                      .answer = {.query = query.query, .story = std::move(story)}};
  effects.to(to_session(query.session), ToSession{std::move(explained)});
}

}  // namespace gpupool
