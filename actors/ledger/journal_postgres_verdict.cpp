#include "actors/ledger/journal_postgres_verdict.h"

#include <algorithm>
#include <array>

namespace gpupool {
namespace {

// A code that the server gives with an ERROR, after which it waits for the next statement: the
// transaction was undone before its commit record. (Behind the commit record PostgreSQL has no
// ERROR, only PANIC, which takes the connection along.) Even so, only what is listed counts as
// certain: these are the failures that can pass or that an operator can put right, so the journal
// may go on. An entry of two characters is a class.
//
// Not listed, and so unknown:
//   57P01-57P05  shut down, terminated, crashed: the connection goes, and the commit may have been
//                made before it
//   08*          the protocol itself: client and server differ about what was said
//   23505        the record's place is taken: this process does not know its own journal
//   40003        "statement completion unknown", by its name
//   XX*          internal errors and damage: nothing that such a server says is certain
constexpr std::array<std::string_view, 13> certain{
    "53",     // insufficient resources: disk full (53100), out of memory, too many connections
    "54",     // a limit of the program: the statement was too large for it
    "22",     // data: the batch was refused as a value, e.g. above bytea's 1 GB
    "25006",  // read-only transaction: the server became a replica or was set read-only
    "28000",  // the role lost its right to be here
    "40001",  // serialization failure: another isolation level was forced on us
    "40P01",  // deadlock detected: this transaction was the one that was undone
    "42",     // a table, column or privilege is gone: an administrator's change
    "55",     // lock not available (55P03), object in use or not in the right state
    "57014",  // query cancelled, by a person or a statement_timeout: before the commit
    "58030",  // I/O error on a table's file, met before the commit
    "58P01",  // undefined file, likewise
    "P0",     // raised by a trigger that an administrator put there
};

bool is_certain(std::string_view sqlstate) {
  return std::any_of(certain.begin(), certain.end(), [sqlstate](std::string_view entry) {
    return sqlstate.substr(0, entry.size()) == entry;
  });
}

}  // namespace

// A warning on the way of an insert is what a commit gives when its wait for a synchronous replica
// was cut short ("has already committed locally"): it may or may not survive a failover.
Verdict judge(const AppendEnd& append) {
  switch (append.end) {
    case PostgresAnswer::End::done:
      if (append.warned) return Verdict::unknown;
      return append.rows == 1 ? Verdict::written : Verdict::fenced;
    case PostgresAnswer::End::refused:
      return is_certain(append.sqlstate) ? Verdict::refused : Verdict::unknown;
    case PostgresAnswer::End::lost:
      break;
  }
  return Verdict::unknown;
}

}  // namespace gpupool
