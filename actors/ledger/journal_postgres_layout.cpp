#include "actors/ledger/journal_postgres_layout.h"

namespace gpupool {
namespace {

constexpr const char* application = "gpupool ledger";

Error about(const PostgresSession& session, Errc code, const std::string& words) {
  return {.code = code, .detail = session.name() + ": " + words};
}

// A server that refuses to be looked at or written to has said why.
Error refusal(const PostgresSession& session, const PostgresAnswer& answer) {
  const bool is_denied = answer.sqlstate == "42501" || answer.sqlstate == "25006";
  return about(session, is_denied ? Errc::file_unwritable : Errc::system_failed, answer.words);
}

// `leadership`: the key is what raising the epoch changes and renewing does not. The free half of
// its page keeps the renewals where they are.
// `batches`: not compressed. With 256 commands outstanding pglz, the default, cost a third of the
// rate; lz4, which not every server has, gained nothing.
std::string layout_sql(const PostgresTables& tables) {
  return "CREATE TABLE IF NOT EXISTS " + tables.meta +
         " (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),"
         " application text NOT NULL, layout_version bigint NOT NULL, pool text NOT NULL);"
         "CREATE TABLE IF NOT EXISTS " +
         tables.batches +
         " (last_sequence bigint PRIMARY KEY, batch bytea NOT NULL);"
         "ALTER TABLE " +
         tables.batches +
         " ALTER COLUMN batch SET STORAGE EXTERNAL;"
         "CREATE TABLE IF NOT EXISTS " +
         tables.blobs +
         " (job bigint PRIMARY KEY, request bytea NOT NULL);"
         "CREATE TABLE IF NOT EXISTS " +
         tables.leadership +
         " (epoch bigint PRIMARY KEY, renewal bigint NOT NULL, vacant boolean NOT NULL,"
         " leader text NOT NULL, backend_pid integer, backend_start timestamptz,"
         " only_row boolean NOT NULL UNIQUE DEFAULT true CHECK (only_row)) WITH (fillfactor = 50);"
         "INSERT INTO " +
         tables.leadership + " VALUES (0, 0, true, '', NULL, NULL) ON CONFLICT DO NOTHING;";
}

// Added without a layout of its own: a gpupool that does not know it leaves it alone.
std::string uploads_sql(const PostgresTables& tables) {
  return "CREATE TABLE IF NOT EXISTS " + tables.uploads +
         " (account text NOT NULL, hash text NOT NULL, place bigint NOT NULL,"
         " total bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (account, hash, place));";
}

std::string literal(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

PostgresTables tables_in(const PostgresSession& session, const std::string& schema) {
  const std::string quoted = session.quoted(schema);
  return {.schema = quoted,
          .meta = quoted + ".meta",
          .batches = quoted + ".batches",
          .blobs = quoted + ".blobs",
          .uploads = quoted + ".uploads",
          .leadership = quoted + ".leadership"};
}

// fsync cannot be set by a session, so a server without it is refused. synchronous_commit can: only
// `off` acknowledges before the local flush, and is set to `on`; every other value (local,
// remote_write, on, remote_apply) flushes here at least, and what replicas owe is the
// administrator's choice. Limits on how long a statement or an idle session may last would end a
// replay or a pool at rest.
Status prepare_to_write(PostgresSession& session) {
  const PostgresAnswer found = session.run(
      "SELECT current_setting('fsync'), pg_is_in_recovery()::text,"
      " current_setting('server_version_num'), current_setting('synchronous_commit'),"
      " current_setting('transaction_read_only')");
  if (!found.done()) return refusal(session, found);
  if (found.number(2) < postgres_version_min)
    return about(
        session, Errc::unsupported,
        "the server is older than PostgreSQL " + std::to_string(postgres_version_min / 10'000));
  if (found.text(0) != "on")
    return about(session, Errc::unsupported,
                 "the server runs with fsync = off, so what it acknowledges can be lost; set "
                 "fsync = on and restart it");
  if (found.text(1) == "true" || found.text(4) == "on")
    return about(session, Errc::file_unwritable,
                 "the server is a replica or read-only; name the one that takes writes");
  std::string settings =
      "SET default_transaction_isolation = 'read committed'; SET statement_timeout = 0;"
      "SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;";
  if (found.text(3) == "off") settings += "SET synchronous_commit = on;";
  if (found.number(2) >= 140'000) settings += "SET idle_session_timeout = 0;";
  const PostgresAnswer set = session.run(settings);
  return set.done() ? ok() : Status{refusal(session, set)};
}

Result<PostgresSchema> identify(PostgresSession& session, const PostgresTables& tables,
                                const PostgresPlace& place) {
  const PostgresAnswer relations = session.run(
      "SELECT count(*), count(*) FILTER (WHERE relname = 'meta') FROM pg_catalog.pg_class"
      " WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace ="
      " (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1::text)",
      {place.schema});
  if (!relations.done()) return refusal(session, relations);
  if (relations.number(0) == 0) return PostgresSchema::absent;
  const Error other = about(
      session, Errc::file_malformed,
      "schema " + place.schema + " has tables of another program and is not a gpupool ledger");
  if (relations.number(1) == 0) return other;
  const PostgresAnswer meta = session.run(
      "SELECT application::text, layout_version::text, "
      "pool::text FROM " +
      tables.meta);
  if (meta.sqlstate == "42703") return other;  // a meta of other columns
  if (!meta.done()) return refusal(session, meta);
  if (meta.rows() != 1 || meta.text(0) != application) return other;
  const bool is_older = meta.number(1) + 1 == postgres_layout_version;
  if (!is_older && meta.number(1) != postgres_layout_version)
    return about(session, Errc::unsupported,
                 "schema " + place.schema + " has ledger layout " + meta.text(1) +
                     "; this gpupool knows layouts " + std::to_string(postgres_layout_version - 1) +
                     " and " + std::to_string(postgres_layout_version));
  if (!place.pool.empty() && meta.text(2) != place.pool)
    return about(session, Errc::file_malformed,
                 "schema " + place.schema + " is the ledger of pool \"" + meta.text(2) +
                     "\", and this pool is called \"" + place.pool + "\"");
  return is_older ? PostgresSchema::older : PostgresSchema::ledger;
}

Status create_uploads(PostgresSession& session, const PostgresTables& tables) {
  const PostgresAnswer there = session.run("SELECT to_regclass($1::text)::text", {tables.uploads});
  if (there.done() && !there.is_null(0)) return ok();
  const PostgresAnswer created = session.run(uploads_sql(tables));
  return created.done() ? ok() : Status{refusal(session, created)};
}

// The lock is for two daemons that meet an empty database together: the second finds it made. What
// one of them cannot do is undone with the rest, since all of it is one transaction.
Status create_layout(PostgresSession& session, const PostgresTables& tables,
                     const PostgresPlace& place) {
  const PostgresAnswer has_schema =
      session.run("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text", {place.schema});
  if (!has_schema.done()) return refusal(session, has_schema);
  std::string sql =
      "SELECT pg_advisory_xact_lock(hashtext(" + literal("gpupool ledger " + place.schema) + "));";
  if (has_schema.rows() == 0) sql += "CREATE SCHEMA IF NOT EXISTS " + tables.schema + ";";
  sql += layout_sql(tables) + uploads_sql(tables);
  sql += "INSERT INTO " + tables.meta + " VALUES (true, " + literal(application) + ", " +
         std::to_string(postgres_layout_version) + ", " + literal(place.pool) +
         ") ON CONFLICT DO NOTHING;" + "UPDATE " + tables.meta +
         " SET layout_version = " + std::to_string(postgres_layout_version) +
         " WHERE layout_version < " + std::to_string(postgres_layout_version) + ";";
  const PostgresAnswer created = session.run(sql);
  if (created.done()) return ok();
  const Error why = refusal(session, created);
  return Error{.code = why.code,
               .detail = why.detail + " (while making schema " + place.schema +
                         "; the role needs CREATE on the database, or on the "
                         "schema if it is there)"};
}

}  // namespace gpupool
