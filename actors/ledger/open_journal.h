#pragma once
// How a program gets the journal that its configuration names, whichever kind it is. A SQLite file
// has one owner and is there at once or not at all; a PostgreSQL database may have another leader,
// and is looked at again and again until this process leads. One thread.

#include <functional>
#include <memory>
#include <string>

#include "actors/ledger/journal.h"
#include "config/config.h"

namespace gpupool {

// "gpupool.sqlite"; "PostgreSQL, schema gpupool": what is opened, for the log.
std::string journal_name(const LedgerConfig& ledger);

class JournalCandidate {
 public:
  static constexpr Duration look_every = milliseconds(500);

  JournalCandidate() = default;
  JournalCandidate(const JournalCandidate&) = delete;
  JournalCandidate& operator=(const JournalCandidate&) = delete;
  virtual ~JournalCandidate() = default;

  // The journal, once this process may write to it; nothing: another leads, so look again after
  // look_every. An error ends the candidacy.
  virtual Result<std::unique_ptr<Journal>> look() = 0;
  // Who leads, as the last look found it.
  virtual std::string leader() const { return ""; }
};

// `lost` is told on another thread, once, that the journal that was looked for is not this
// process's any more: journal_fenced, or outcome_unknown. unsupported: built without that kind.
Result<std::unique_ptr<JournalCandidate>> enter_for_journal(const Config& config,
                                                            std::function<void(const Error&)> lost);

// To be read while others may write, record by record: from the database that the configuration
// names. Its append() is refused. SQLite files have JournalSqliteCopy.
Result<std::unique_ptr<Journal>> open_postgres_to_read(const LedgerConfig& ledger);

// For --check-config: connects, looks, changes nothing; what was found, in one line.
Result<std::string> check_postgres(const Config& config);

}  // namespace gpupool
