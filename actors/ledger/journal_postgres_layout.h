#pragma once
// What stands in the database: the ledger's tables in a schema of their own, and how that schema
// says what it is. Every function asks or changes the server through the session that it is given;
// none keeps anything.

#include <string>

#include "actors/ledger/journal_postgres_session.h"

namespace gpupool {

// Each name quoted.
struct PostgresTables {
  std::string schema;
  std::string meta;        // one row: application, layout, pool
  std::string batches;     // a row a commit, named by its last record
  std::string blobs;       // a row for each open job's request that is too large for its record
  std::string uploads;     // a row for each piece of files that jobs work on
  std::string leadership;  // one row: who leads (actors/ledger/leadership.h)
};

enum class PostgresSchema : std::uint8_t { absent = 1, older, ledger };

inline constexpr std::uint64_t postgres_layout_version = 2;
inline constexpr std::uint64_t postgres_version_min = 130'000;  // PostgreSQL 13

PostgresTables tables_in(const PostgresSession& session, const std::string& schema);

// Whether the server keeps what it acknowledges (unsupported), takes writes (file_unwritable) and
// is new enough; and makes this session's commits durable ones.
Status prepare_to_write(PostgresSession& session);

// Whether the schema is a ledger of this pool, of this layout or of the one before (older), or has
// room for one. Otherwise file_malformed
// (another program's tables, another pool's ledger) or unsupported (another layout).
Result<PostgresSchema> identify(PostgresSession& session, const PostgresTables& tables,
                                const PostgresPlace& place);

// Where callers' files lie, for a ledger that was made before there were any.
Status create_uploads(PostgresSession& session, const PostgresTables& tables);

// Makes what is absent, or what an older layout lacks, all or nothing; two that do it at once make
// it once.
Status create_layout(PostgresSession& session, const PostgresTables& tables,
                     const PostgresPlace& place);

}  // namespace gpupool
