#pragma once
// `gpupool ledger export` writes a ledger's records as JSON lines (cli/record_json.h), in use or
// not; `gpupool ledger import` makes a new ledger of such lines. The new ledger's records and state
// are the old one's. Its chain of digests is made anew: it covers how records lay in batches and
// the clocks of the machine that wrote them, which an export does not have. Exit codes: 0; 2 what
// was given cannot be used; 4 the output cannot be written; 5 the system failed; 6 the records are
// damaged, or none that a ledger could have written.

#include <functional>
#include <optional>
#include <string>

#include "actors/ledger/history_store.h"
#include "actors/ledger/journal.h"
#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

struct LedgerExportOptions {
  std::string ledger;
  std::string since;  // "7d" or a time: records from then on; empty: all, which import needs
};

struct LedgerImportOptions {
  std::string lines;   // the file of an export; "-": standard input
  std::string ledger;  // the new one: not there yet, or without a record
  std::string config;  // of the pool, for the length of its windows; empty: not known
};

// One of the two: the ledger's file, or the configuration of its pool.
struct LedgerRebuildOptions {
  std::string ledger;
  std::string config;
};

ExitCode export_ledger(const Connection& connection, const LedgerExportOptions& options);
ExitCode import_ledger(const Connection& connection, const LedgerImportOptions& options);
// `gpupool ledger rebuild`: makes the history beside a ledger anew.
ExitCode rebuild_history(const Connection& connection, const LedgerRebuildOptions& options);

// Takes one line, with its end; false: it cannot be written, and why is in errno.
using TakeLine = std::function<bool(const std::string& line)>;
// Gives the next line without its end; false: there is no more.
using NextLine = std::function<bool(std::string& line)>;
// Called after every record with how many there were.
using Count = std::function<void(std::uint64_t records)>;

struct LedgerSummary {
  std::uint64_t records = 0;
  std::string end;           // RECORD:DIGEST, as an audit prints it; empty: there is no record
  std::uint64_t digest = 0;  // of the state that an import made
};

// journal_corrupt, unsupported: names the record. file_unwritable: `take` could not.
Result<LedgerSummary> write_lines(Journal& journal, Instant since, const TakeLine& take,
                                  const Count& count);

// Appends to an empty journal. file_malformed: names the line. journal_corrupt: no ledger could
// have written this record.
Result<LedgerSummary> read_lines(const NextLine& next, const Config& config,
                                 std::optional<WindowConfig> window, Journal& journal,
                                 const Count& count);

// Reads all of the journal into a store that is empty. journal_corrupt: what cannot be read.
Result<std::uint64_t> fill_history(Journal& journal, HistoryStore& store, const Count& count);

}  // namespace gpupool
