#include "actors/ledger/journal_postgres.h"

#include <utility>

#include "actors/ledger/journal_postgres_verdict.h"

namespace gpupool {
namespace {

// Of an array as PostgreSQL writes it, without its braces.
void add_to_array(std::string& list, const std::string& element) {
  if (!list.empty()) list += ',';
  list += element;
}

}  // namespace

JournalPostgres::JournalPostgres(std::unique_ptr<PostgresSession> session, PostgresTables tables,
                                 std::unique_ptr<PostgresLead> lead)
    : session_(std::move(session)), tables_(std::move(tables)), lead_(std::move(lead)) {}

Result<std::unique_ptr<JournalPostgres>> JournalPostgres::open_to_read(const PostgresPlace& place) {
  auto session = PostgresSession::connect(place);
  if (!session) return session.error();
  PostgresTables tables = tables_in(**session, place.schema);
  const auto found = identify(**session, tables, place);
  if (!found) return found.error();
  if (*found == PostgresSchema::absent)
    return Error{.code = Errc::file_unreadable,
                 .detail = (*session)->name() + ": there is no ledger in schema " + place.schema};
  std::unique_ptr<JournalPostgres> journal(
      new JournalPostgres(std::move(*session), std::move(tables), nullptr));
  if (const Status read = journal->read_tail(); !read) return read.error();
  return journal;
}

// FOR KEY SHARE: raising the epoch changes the row's key, so it waits for a write that is under
// way, and a write that waited for it looks again and finds another epoch. What a leader that was
// deposed sends therefore lands before the raise, where its successor reads it, or never.
Result<std::unique_ptr<JournalPostgres>> JournalPostgres::lead(
    std::unique_ptr<PostgresSession> session, PostgresTables tables,
    std::unique_ptr<PostgresLead> lead) {
  std::unique_ptr<JournalPostgres> journal(
      new JournalPostgres(std::move(session), std::move(tables), std::move(lead)));
  for (const auto step : {&JournalPostgres::prepare_to_append, &JournalPostgres::read_tail})
    if (const Status done = (journal.get()->*step)(); !done) return done.error();
  return journal;
}

Status JournalPostgres::prepare_to_append() {
  const std::string lead = "WITH lead AS MATERIALIZED (SELECT 1 FROM " + tables_.leadership +
                           " WHERE epoch = $1::bigint FOR KEY SHARE)";
  const std::string batch = " INSERT INTO " + tables_.batches +
                            " (last_sequence, batch) SELECT $2::bigint, $3::bytea FROM lead";
  const std::string blobs =
      ", added AS (INSERT INTO " + tables_.blobs +
      " (job, request) SELECT one.job, one.request FROM lead,"
      " unnest($4::bigint[], $5::bytea[]) AS one (job, request)), removed AS (DELETE FROM " +
      tables_.blobs + " WHERE job = ANY ($6::bigint[]) AND EXISTS (SELECT 1 FROM lead))";
  for (const auto& [name, sql] :
       {std::pair("append", lead + batch), std::pair("append with blobs", lead + blobs + batch)})
    if (const PostgresAnswer prepared = session_->prepare(name, sql); !prepared.done())
      return Error{.code = Errc::system_failed, .detail = this->name() + ": " + prepared.words};
  return ok();
}

// What stands in the batch is checked by the replay that every start begins with.
Status JournalPostgres::read_tail() {
  Status found = ok();
  const PostgresAnswer answer = session_->stream(
      "SELECT last_sequence, batch FROM " + tables_.batches +
          " ORDER BY last_sequence DESC LIMIT 1",
      {},
      [&](std::uint64_t sequence, std::string_view batch) -> Status {
        const auto tail = tail_of_batch(batch);
        if (!tail || tail->sequence != sequence)
          return Error{.code = Errc::journal_corrupt,
                       .want = static_cast<std::int64_t>(sequence),
                       .detail = name() + ": the batch of record " + std::to_string(sequence) +
                                 " cannot be read"};
        tail_ = *tail;
        return ok();
      },
      found);
  if (!found) return found;
  if (answer.done()) return ok();
  return Error{.code = Errc::system_failed,
               .detail = name() + ": the last batch cannot be read: " + answer.words};
}

Status JournalPostgres::ended(Error error) {
  over_ = std::move(error);
  return *over_;
}

Status JournalPostgres::append(std::span<const Record> batch, const ClockStamp& stamp) {
  if (over_) return *over_;
  if (const auto continues = check_continuation(tail_, batch); !continues) return continues;
  if (batch.empty()) return ok();
  if (!lead_)
    return Error{.code = Errc::journal_refused, .detail = name() + ": opened only to be read"};
  if (const Status leads = lead_->check(); !leads) return ended(leads.error());
  JournalTail end = tail_;
  std::string bytes = encode_batch(batch, stamp, end);
  const PostgresAnswer answer = write(end, bytes, blob_changes(batch));
  const Verdict verdict = judge({.end = answer.end,
                                 .sqlstate = answer.sqlstate,
                                 .warned = !answer.warning.empty(),
                                 .rows = answer.done() ? answer.changed() : 0});
  const std::string said = name() + ": " + (answer.words.empty() ? answer.warning : answer.words) +
                           (answer.sqlstate.empty() ? "" : " (SQLSTATE " + answer.sqlstate + ")");
  switch (verdict) {
    case Verdict::written:
      recent_.add(tail_.sequence, std::move(bytes));
      tail_ = end;
      return ok();
    case Verdict::refused:
      return Error{.code = Errc::journal_refused, .detail = said};
    case Verdict::fenced:
      return ended(lead_->fenced());
    case Verdict::unknown:
      break;
  }
  return ended({.code = Errc::outcome_unknown, .detail = said});
}

PostgresAnswer JournalPostgres::write(const JournalTail& end, const std::string& bytes,
                                      const BlobChanges& changes) {
  const PostgresValue batch = PostgresValue::binary(bytes);
  if (changes.empty())
    return session_->run_prepared("append", {lead_->epoch(), end.sequence, batch});
  std::string jobs;
  std::string requests;
  for (const auto& [job, request] : changes.added) {
    add_to_array(jobs, std::to_string(job.value));
    add_to_array(requests, "\"\\\\x" + hex(*request) + "\"");
  }
  std::string removed;
  for (const JobId job : changes.removed) add_to_array(removed, std::to_string(job.value));
  return session_->run_prepared("append with blobs",
                                {lead_->epoch(), end.sequence, batch, "{" + jobs + "}",
                                 "{" + requests + "}", "{" + removed + "}"});
}

// In pieces, each a question of its own: between them the leader writes. Who follows the journal
// closely wants what was written last, which is here.
Result<std::vector<std::string>> JournalPostgres::batches_after(std::uint64_t sequence,
                                                                std::size_t bytes_max) {
  std::vector<std::string> found;
  if (lead_ && sequence >= tail_.sequence) return found;
  if (auto recent = recent_.after(sequence, bytes_max)) return *std::move(recent);
  Status visited = ok();
  const PostgresAnswer answer = session_->stream(
      "SELECT last_sequence, batch FROM (SELECT last_sequence, batch, sum(length(batch)) OVER "
      "(ORDER BY last_sequence) - length(batch) AS bytes_before FROM (SELECT last_sequence, batch "
      "FROM " +
          tables_.batches +
          " WHERE last_sequence > $1::bigint ORDER BY last_sequence LIMIT 64) AS candidates) AS "
          "measured WHERE bytes_before < $2::bigint ORDER BY last_sequence",
      {sequence, static_cast<std::uint64_t>(bytes_max)},
      [&found](std::uint64_t, std::string_view batch) {
        found.emplace_back(batch);
        return ok();
      },
      visited);
  if (answer.done()) return found;
  // What the server itself calls damaged is; a connection that went says nothing about records.
  const bool is_damaged = answer.sqlstate.starts_with("XX");
  return Error{.code = is_damaged ? Errc::journal_corrupt : Errc::system_failed,
               .want = is_damaged ? static_cast<std::int64_t>(sequence + 1) : 0,
               .detail = "record " + std::to_string(sequence + 1) + " cannot be read: " + name() +
                         ": " + answer.words};
}

Result<JournalTail> JournalPostgres::tail() { return tail_; }

Result<std::string> JournalPostgres::blob(JobId job) {
  std::string found;
  Status visited = ok();
  const PostgresAnswer answer = session_->stream(
      "SELECT job, request FROM " + tables_.blobs + " WHERE job = $1::bigint", {job.value},
      [&found](std::uint64_t, std::string_view request) {
        found = request;
        return ok();
      },
      visited);
  if (answer.done()) return found;
  return Error{.code = Errc::system_failed,
               .detail = name() + ": the request of job " + std::to_string(job.value) +
                         " cannot be read: " + answer.words};
}

}  // namespace gpupool
