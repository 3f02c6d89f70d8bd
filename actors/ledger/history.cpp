#include "actors/ledger/history.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "actors/ledger/receipt.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::int64_t day_ms = 24LL * 3600 * 1000;

void add(HistoryJob& job, Instant at, const HoldOpened& opened) {
  job.receipt = receipt_of(opened.hold);
  job.story = {{.at = at,
                .kind = MomentKind::admitted,
                .declared_by = declared_by(opened.hold->body, opened.hold->learned),
                .promise = opened.hold->promise,
                .used = opened.used,
                .held = opened.held,
                .amount = job.receipt.held,
                .credits = job.receipt.held_credits,
                .words = opened.hold->recognised_by}};
}

void add(HistoryJob& job, Instant at, const LeaseNoted& noted) {
  const std::string node =
      noted.node_name.empty() ? "node " + std::to_string(noted.node.value) : noted.node_name;
  job.receipt.attempts = noted.attempt;
  job.receipt.leased_at = at;
  job.receipt.node = noted.node_name;
  job.story =
      remember(std::move(job.story),
               {.at = at, .kind = MomentKind::leased, .attempt = noted.attempt, .words = node});
}

void add(HistoryJob& job, Instant at, const JobRequeued& requeued) {
  job.receipt.attempts = std::max(job.receipt.attempts, requeued.attempt);
  if (requeued.promise) job.receipt.promise = requeued.promise;
  job.story = remember(std::move(job.story), {.at = at,
                                              .kind = MomentKind::requeued,
                                              .attempt = requeued.attempt,
                                              .cause = requeued.cause,
                                              .promise = requeued.promise,
                                              .words = requeued.detail});
}

void add(HistoryJob& job, Instant at, const PromiseRestated& restated) {
  job.receipt.promise = restated.promise;
  job.story = remember(std::move(job.story), {.at = at,
                                              .kind = MomentKind::restated,
                                              .promise = restated.promise,
                                              .words = restated.reason});
}

void add(HistoryJob& job, Instant at, const HoldExtended& extended) {
  job.receipt.held += extended.quota_part + extended.credits_part;
  job.receipt.held_credits += extended.credits_part;
  job.story = remember(std::move(job.story), {.at = at,
                                              .kind = MomentKind::extended,
                                              .attempt = extended.number,
                                              .held = job.receipt.held,
                                              .amount = extended.quota_part + extended.credits_part,
                                              .credits = extended.credits_part});
}

void add(HistoryJob& job, Instant at, const HoldSettled& settled) {
  settle(job.receipt, settled, at);
}

// The job that a record is about; 0: none, and so not the history's business.
JobId job_of(const Record& record) {
  return std::visit(
      [](const auto& body) -> JobId {
        if constexpr (requires { body.hold; })
          return body.hold->job;
        else if constexpr (requires { body.job; })
          return body.job;
        else
          return {};
      },
      record.body);
}

Error missing(std::uint64_t sequence) {
  return {.code = Errc::journal_corrupt,
          .want = static_cast<std::int64_t>(sequence),
          .detail = "record " + std::to_string(sequence) + " is missing"};
}

void add_day(std::map<std::pair<AccountId, Instant>, UsageDay>& days, const Receipt& receipt) {
  const Instant day{receipt.ended_at.ms - receipt.ended_at.ms % day_ms};
  UsageDay& usage = days[{receipt.account, day}];
  usage.day = day;
  usage.jobs += 1;
  usage.succeeded += receipt.outcome == Outcome::succeeded ? 1U : 0U;
  usage.ran = usage.ran + receipt.ran;
  usage.held += receipt.held;
  usage.charged += receipt.charged;
}

// How many rows a question gets: what it wants, or all that an answer may have.
std::size_t page_of(std::uint32_t wanted, std::int64_t most) {
  const auto page = static_cast<std::size_t>(most);
  return wanted == 0 ? page : std::min<std::size_t>(wanted, page);
}

// Whether there was one row more than the page has, which goes.
template <class Row>
bool cut(std::vector<Row>& rows, std::size_t page) {
  if (rows.size() <= page) return false;
  rows.pop_back();
  return true;
}

// The refusals that this request met, the newest few, before and between the moments of its job.
void add_refusals(std::vector<Happening>& story, const std::vector<Refusal>& refusals,
                  const RequestId& request) {
  std::vector<const Refusal*> met;
  for (const Refusal& refusal : refusals)
    if (refusal.request == request) met.push_back(&refusal);
  const auto most = static_cast<std::ptrdiff_t>(limits::refusals_explained_max);
  if (std::ssize(met) > most) met.erase(met.begin(), met.end() - most);
  std::vector<Happening> told;
  for (const Refusal* refusal : met)
    for (Happening& happening : tell(*refusal)) told.push_back(std::move(happening));
  story.insert(story.begin(), std::make_move_iterator(told.begin()),
               std::make_move_iterator(told.end()));
  std::stable_sort(story.begin(), story.end(),
                   [](const Happening& a, const Happening& b) { return a.at < b.at; });
}

}  // namespace

void add_to(HistoryJob& job, const Record& record) {
  std::visit(
      [&](const auto& body) {
        if constexpr (requires { add(job, record.at, body); }) add(job, record.at, body);
      },
      record.body);
}

// ---- Following the journal ----------------------------------------------------------------------

Effects History::step(const ToHistory& message) {
  Effects effects;
  std::visit([&](const auto& one) { handle(one, effects); }, message);
  return effects;
}

void History::handle(const Tick&, Effects& effects) {
  if (const auto loaded = load(); !loaded) trouble_ = loaded.error();
  ask_ledger(effects);
}

Status History::load() {
  if (loaded_) return ok();
  const auto mark = store_.mark();
  if (!mark) return mark.error();
  auto jobs = store_.open_jobs();
  if (!jobs) return jobs.error();
  open_.clear();
  for (HistoryJob& job : *jobs) {
    const JobId id = job.receipt.job;
    open_.emplace(id, std::move(job));
  }
  mark_ = *mark;
  loaded_ = true;
  return ok();
}

void History::ask_ledger(Effects& effects) {
  if (reading_ || !loaded_) return;
  reading_ = true;
  effects.to(to_ledger(), ToLedger{ReadJournal{.after = mark_.sequence,
                                               .digest = {mark_.digest.begin(), mark_.digest.end()},
                                               .at_once = !confirmed_ || !waiting_.empty()}});
}

void History::handle(const JournalRead& read, Effects& effects) {
  reading_ = false;
  Status done = ok();
  if (read.error != Errc{})
    done = Error{.code = read.error, .detail = read.detail};
  else
    done = read.is_known ? apply(read.batches) : begin_anew();
  if (!done) {
    trouble_ = done.error();
    return refuse_all(effects);
  }
  trouble_.reset();
  confirmed_ = confirmed_ || read.is_known;
  answer_ripe(effects);
  ask_ledger(effects);
}

// A page while it is read: days add up, and a job that is still open at its end is written once.
struct History::Draft {
  HistoryPage page;
  std::set<JobId> changed;
  std::map<std::pair<AccountId, Instant>, UsageDay> days;
};

// What does not fit what is here was written to another journal; a store that is empty fits all.
Status History::apply(const std::vector<std::string>& batches) {
  if (const auto loaded = load(); !loaded) return loaded;
  Draft draft{.page = {.jobs = {}, .days = {}, .mark = mark_}};
  HistoryPage& page = draft.page;
  std::uint64_t sequence = mark_.sequence;
  const auto visit = [&](const StoredRecord& stored) -> Status {
    const auto record = record_of(stored);
    if (!record) return record.error();
    if (stored.sequence != ++sequence) return missing(sequence);
    take(*record, draft);
    return ok();
  };
  Status done = ok();
  for (const std::string& batch : batches)
    if (done) done = read_batch(batch, page.mark, visit);
  if (!done && done.error().code == Errc::journal_corrupt && mark_.sequence > 0 &&
      sequence <= mark_.sequence + 1 && rebuilds_ == 0)
    return begin_anew();
  if (done) {
    for (const JobId job : draft.changed) page.jobs.push_back(open_.at(job));
    for (auto& [key, day] : draft.days) page.days.push_back({key.first, day});
    done = store_.turn(page);
  }
  if (done) mark_ = page.mark;
  loaded_ = bool{done};  // otherwise open_ may be ahead of the store
  return done;
}

void History::take(const Record& record, Draft& draft) {
  const JobId id = job_of(record);
  if (!id) return;
  HistoryJob& job = open_[id];
  add_to(job, record);
  draft.changed.insert(id);
  if (!std::holds_alternative<HoldSettled>(record.body)) return;
  draft.changed.erase(id);
  add_day(draft.days, job.receipt);
  draft.page.jobs.push_back(std::move(job));
  open_.erase(id);
}

// Once in the life of a process, whose journal is always the same: damage stays where it is.
Status History::begin_anew() {
  ++rebuilds_;
  loaded_ = false;
  confirmed_ = false;
  if (const auto cleared = store_.clear(); !cleared) return cleared;
  return load();
}

// ---- Answering ----------------------------------------------------------------------------------

template <class Question>
void History::handle(const Question& question, Effects& effects) {
  if (std::cmp_greater_equal(waiting_.size(), limits::history_waiting_max))
    return refuse(question, effects);
  if (const auto loaded = load(); !loaded) {
    trouble_ = loaded.error();
    return refuse(question, effects);
  }
  waiting_.emplace(question.upto, question);
  answer_ripe(effects);
  ask_ledger(effects);
}

// Each tries the store anew: whatever was wrong with it may be over.
void History::answer_ripe(Effects& effects) {
  while (confirmed_ && !waiting_.empty() && waiting_.begin()->first <= mark_.sequence) {
    const ToHistory question = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    Status answered = ok();
    std::visit(
        [&](const auto& one) {
          if constexpr (requires { one.upto; }) {
            answered = answer(one, effects);
            if (!answered) refuse(one, effects);
          }
        },
        question);
    if (!answered)
      trouble_ = answered.error();
    else if (reading_)
      trouble_.reset();  // and it is not the journal that is in trouble
  }
}

void History::refuse_all(Effects& effects) {
  for (const auto& [upto, question] : std::exchange(waiting_, {}))
    std::visit(
        [&](const auto& one) {
          if constexpr (requires { one.upto; }) refuse(one, effects);
        },
        question);
}

// An open job is where its records are added to it; whoever asks for another's job is told nothing.
Result<std::optional<HistoryJob>> History::find(JobId id) {
  if (const auto it = open_.find(id); it != open_.end()) return std::optional{it->second};
  return store_.job(id);
}

Status History::answer(const ReceiptsAsked& asked, Effects& effects) {
  const ReceiptsQuery& query = asked.query;
  const std::size_t page = page_of(query.limit, limits::receipts_page_max);
  auto receipts = store_.receipts(query.account, query.before, page + 1);
  if (!receipts) return receipts.error();
  ReceiptsFound found{.session = query.session, .answer = {.query = query.query}};
  found.answer.more = cut(*receipts, page);
  found.answer.receipts = std::move(*receipts);
  effects.to(to_session(query.session), ToSession{std::move(found)});
  return ok();
}

Status History::answer(const ReceiptAsked& asked, Effects& effects) {
  auto job = find(asked.query.job);
  if (!job) return job.error();
  ReceiptFound found{.session = asked.query.session, .query = asked.query.query};
  const bool is_told = *job && (*job)->receipt.account == asked.query.account &&
                       (*job)->receipt.outcome != Outcome{};
  if (is_told)
    found.done = JobDone{.receipt = std::move((*job)->receipt), .balance = asked.balance};
  else
    found.error = Errc::job_unknown;
  effects.to(to_session(asked.query.session), ToSession{std::move(found)});
  return ok();
}

Status History::answer(const StoryAsked& asked, Effects& effects) {
  const ExplainQuery& query = asked.query;
  const auto job = find(query.job);
  if (!job) return job.error();
  std::vector<Happening> story;
  RequestId request = query.request;
  if (*job && (is_of_anybody(query) || (*job)->receipt.account == query.account)) {
    request = (*job)->receipt.request;
    story = tell((*job)->receipt, (*job)->story);
  }
  if (!story.empty() || query.request != RequestId{}) add_refusals(story, asked.refusals, request);
  Explained explained{.session = query.session,
                      .error = story.empty() ? Errc::job_unknown : Errc{},
                      .answer = {.query = query.query, .story = std::move(story)}};
  effects.to(to_session(query.session), ToSession{std::move(explained)});
  return ok();
}

Status History::answer(const UsageAsked& asked, Effects& effects) {
  const UsageQuery& query = asked.query;
  const std::size_t page = page_of(query.limit, limits::usage_days_max);
  auto days = store_.days(query.account, query.since, page + 1);
  if (!days) return days.error();
  UsageFound found{.session = query.session, .answer = {.query = query.query}};
  found.answer.more = cut(*days, page);
  found.answer.days = std::move(*days);
  effects.to(to_session(query.session), ToSession{std::move(found)});
  return ok();
}

Status History::answer(const Recall& recall, Effects& effects) {
  auto job = find(recall.job);
  if (!job) return job.error();
  Recalled recalled{.ticket = recall.ticket, .job = recall.job, .tier = recall.tier};
  recalled.found = *job && (*job)->receipt.outcome != Outcome{};
  if (recalled.found) recalled.receipt = std::move((*job)->receipt);
  effects.to(to_ledger(), ToLedger{std::move(recalled)});
  return ok();
}

void History::refuse(const ReceiptsAsked& asked, Effects& effects) const {
  effects.to(to_session(asked.query.session),
             ToSession{ReceiptsFound{.session = asked.query.session,
                                     .error = Errc::history_unavailable,
                                     .answer = {.query = asked.query.query}}});
}

void History::refuse(const ReceiptAsked& asked, Effects& effects) const {
  effects.to(to_session(asked.query.session),
             ToSession{ReceiptFound{.session = asked.query.session,
                                    .query = asked.query.query,
                                    .error = Errc::history_unavailable}});
}

void History::refuse(const StoryAsked& asked, Effects& effects) const {
  effects.to(to_session(asked.query.session),
             ToSession{Explained{.session = asked.query.session,
                                 .error = Errc::history_unavailable,
                                 .answer = {.query = asked.query.query}}});
}

void History::refuse(const UsageAsked& asked, Effects& effects) const {
  effects.to(to_session(asked.query.session),
             ToSession{UsageFound{.session = asked.query.session,
                                  .error = Errc::history_unavailable,
                                  .answer = {.query = asked.query.query}}});
}

// An admission is told to ask again. A settle is sent again by itself, and "no such job" would be a
// lie.
void History::refuse(const Recall& recall, Effects& effects) const {
  if (recall.ticket == 0) return;
  effects.to(to_ledger(), ToLedger{Recalled{.ticket = recall.ticket, .job = recall.job}});
}

}  // namespace gpupool
