#pragma once
// PostgresCandidate: a process that wants to lead the journal in a database, from its first look to
// the moment when it leads. It makes the tables if there are none, looks at who leads, and once
// nobody has renewed for long enough (actors/ledger/leadership.h) raises the epoch and terminates
// the old leader's connection. One thread, which looks again and again; nothing here waits long.

#include <memory>
#include <string>

#include "actors/ledger/journal_postgres.h"

namespace gpupool {

class PostgresCandidate {
 public:
  // Errors: those of open_to_read(), and file_unwritable (a role without the right, a replica).
  static Result<std::unique_ptr<PostgresCandidate>> enter(const PostgresPlace& place,
                                                          PostgresSurroundings around);

  // Looks once. The journal, once this process leads it; nothing: another does, so look again after
  // terms.look_every. An error (the connection went, say) ends the candidacy.
  Result<std::unique_ptr<JournalPostgres>> look();

  // Who leads, as the last look found it: "db-a, process 17 (epoch 4)".
  const std::string& leader() const { return leader_; }
  const std::string& name() const { return session_->name(); }

 private:
  // The old leader's connection: ids of processes are used again, with their start they are not.
  struct Backend {
    std::string pid;
    std::string start;
  };

  PostgresCandidate(PostgresPlace place, PostgresSurroundings around,
                    std::unique_ptr<PostgresSession> session);
  Result<std::unique_ptr<JournalPostgres>> raise(const LeadRow& row, const Backend& old);
  Status terminate(const Backend& old);
  Error failure(const PostgresAnswer& answer, const std::string& doing) const;

  const PostgresPlace place_;
  const PostgresSurroundings around_;
  std::unique_ptr<PostgresSession> session_;
  PostgresTables tables_;
  Leadership leadership_;
  std::string leader_;
};

}  // namespace gpupool
