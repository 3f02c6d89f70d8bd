#include "actors/ledger/journal_postgres_candidate.h"

#include <unistd.h>

#include <array>
#include <utility>

namespace gpupool {
namespace {

// A look that takes longer tells of a server that nobody can lead on.
constexpr Duration look_limit = seconds(10);

// For people: which process on which machine.
std::string own_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return std::string(host.data()) + ", process " + std::to_string(::getpid());
}

}  // namespace

PostgresCandidate::PostgresCandidate(PostgresPlace place, PostgresSurroundings around,
                                     std::unique_ptr<PostgresSession> session)
    : place_(std::move(place)),
      around_(std::move(around)),
      session_(std::move(session)),
      tables_(tables_in(*session_, place_.schema)),
      leadership_(around_.terms) {}

Result<std::unique_ptr<PostgresCandidate>> PostgresCandidate::enter(const PostgresPlace& place,
                                                                    PostgresSurroundings around) {
  auto session = PostgresSession::connect(place);
  if (!session) return session.error();
  if (const Status fit = prepare_to_write(**session); !fit) return fit.error();
  std::unique_ptr<PostgresCandidate> candidate(
      new PostgresCandidate(place, std::move(around), std::move(*session)));
  PostgresSession& own = *candidate->session_;
  auto found = identify(own, candidate->tables_, place);
  if (!found) return found.error();
  if (*found == PostgresSchema::ledger) {
    if (const Status there = create_uploads(own, candidate->tables_); !there) return there.error();
    return candidate;
  }
  if (const Status made = create_layout(own, candidate->tables_, place); !made) return made.error();
  found = identify(own, candidate->tables_, place);
  if (!found) return found.error();
  return candidate;
}

Error PostgresCandidate::failure(const PostgresAnswer& answer, const std::string& doing) const {
  return {.code = Errc::system_failed, .detail = name() + ": " + doing + ": " + answer.words};
}

Result<std::unique_ptr<JournalPostgres>> PostgresCandidate::look() {
  Exchange exchange{.asked = around_.now(), .answered = {}};
  const PostgresAnswer answer = session_->run(
      "SELECT epoch, renewal, vacant::text, leader, coalesce(backend_pid::text, ''),"
      " coalesce(backend_start::text, '') FROM " +
          tables_.leadership,
      {}, look_limit);
  exchange.answered = around_.now();
  if (!answer.done()) return failure(answer, "who leads cannot be read");
  if (answer.rows() != 1)
    return Error{.code = Errc::journal_corrupt,
                 .detail = name() + ": the table leadership has " + std::to_string(answer.rows()) +
                           " rows instead of one"};
  const LeadRow row{
      .epoch = answer.number(0), .renewal = answer.number(1), .vacant = answer.text(2) == "true"};
  leader_ = answer.text(3) + " (epoch " + answer.text(0) + ")";
  if (leadership_.saw(row, exchange) == Leadership::Advice::wait)
    return std::unique_ptr<JournalPostgres>();
  return raise(row, {.pid = answer.text(4), .start = answer.text(5)});
}

// The renewing connection is there before the epoch is raised, since a leader has to renew at once.
// A row that changed meanwhile is left as it is: somebody renewed, or was quicker. The old leader's
// write can hold the row: its connection is terminated, and the next look tries again.
Result<std::unique_ptr<JournalPostgres>> PostgresCandidate::raise(const LeadRow& row,
                                                                  const Backend& old) {
  auto renewing = PostgresSession::connect(place_);
  if (!renewing) return renewing.error();
  const PostgresAnswer set = (*renewing)->run(
      "SET synchronous_commit = off; SET statement_timeout = 0; SET lock_timeout = 0");
  if (!set.done()) return failure(set, "the renewing connection cannot be used");
  const Instant asked = around_.now();
  const PostgresAnswer limited = session_->run("SET lock_timeout = '1s'", {}, look_limit);
  const PostgresAnswer raised = session_->run(
      "UPDATE " + tables_.leadership +
          " SET epoch = epoch + 1, renewal = renewal + 1, vacant = false, leader = $3::text,"
          " backend_pid = pg_backend_pid(), backend_start = (SELECT backend_start FROM"
          " pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid())"
          " WHERE epoch = $1::bigint AND renewal = $2::bigint",
      {row.epoch, row.renewal, own_name()}, look_limit);
  const PostgresAnswer unlimited = session_->run("SET lock_timeout = 0", {}, look_limit);
  if (raised.end == PostgresAnswer::End::refused && raised.sqlstate == "55P03") {
    if (const Status ended = terminate(old); !ended) return ended.error();
    return std::unique_ptr<JournalPostgres>();
  }
  for (const PostgresAnswer* one : {&limited, &raised, &unlimited})
    if (!one->done()) return failure(*one, "the epoch cannot be raised");
  if (raised.changed() == 0) return std::unique_ptr<JournalPostgres>();
  leadership_.raised(row.epoch + 1, asked);
  if (const Status ended = terminate(old); !ended) return ended.error();
  return JournalPostgres::lead(std::move(session_), tables_,
                               std::make_unique<PostgresLead>(
                                   std::move(*renewing), tables_.leadership, leadership_, around_));
}

// Whoever is not there any more needs no ending; whoever may not be ended by this role is fenced
// all the same.
Status PostgresCandidate::terminate(const Backend& old) {
  if (old.pid.empty()) return ok();
  const PostgresAnswer ended = session_->run(
      "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid ="
      " $1::integer AND backend_start = nullif($2::text, '')::timestamptz AND pid <>"
      " pg_backend_pid()",
      {old.pid, old.start}, look_limit);
  if (ended.end == PostgresAnswer::End::lost) return failure(ended, "the connection went");
  return ok();
}

}  // namespace gpupool
