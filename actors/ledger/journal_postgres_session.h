#pragma once
// PostgresSession: one connection to a PostgreSQL server, never made anew: a journal that lost its
// connection cannot know what was written, so its process ends. Every statement is a transaction of
// its own and has one of three ends: done; refused, with the server's code and the connection as it
// was; lost, and nobody knows. One thread at a time. Passwords stand in no error.

#include <libpq-fe.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace gpupool {

// Which ledger: where the server is, and the schema in its database.
struct PostgresPlace {
  std::string conninfo;  // "host=... dbname=..." or a postgresql:// URI; without a password
  std::string password;  // empty: what libpq finds by itself, e.g. in PGPASSFILE
  std::string schema = "gpupool";
  std::string pool = "gpupool";  // whose ledger it is; empty, for readers: whosever it is
};

// A parameter: a number, a text or, in binary, bytes that outlive the call.
class PostgresValue {
 public:
  PostgresValue(std::uint64_t number) : text_(std::to_string(number)) {}
  PostgresValue(std::string text) : text_(std::move(text)) {}
  static PostgresValue binary(std::string_view bytes);

  const char* data() const { return is_binary_ ? bytes_.data() : text_.c_str(); }
  int size() const { return static_cast<int>(is_binary_ ? bytes_.size() : text_.size()); }
  int format() const { return is_binary_ ? 1 : 0; }

 private:
  std::string text_;
  std::string_view bytes_;
  bool is_binary_ = false;
};

class PostgresAnswer {
 public:
  enum class End : std::uint8_t { done = 1, refused, lost };
  struct ClearResult {
    void operator()(PGresult* result) const { PQclear(result); }
  };

  End end = End::lost;
  std::string sqlstate;  // refused: why; lost: the server's last words, if it had any
  std::string words;     // the same for people, in one line
  std::string warning;   // the server's, on the way
  std::unique_ptr<PGresult, ClearResult> result;

  bool done() const { return end == End::done; }
  int rows() const { return PQntuples(result.get()); }
  std::uint64_t changed() const;  // how many rows an INSERT, UPDATE or DELETE concerned
  bool is_null(int column) const { return PQgetisnull(result.get(), 0, column) != 0; }
  std::string text(int column) const { return PQgetvalue(result.get(), 0, column); }
  std::uint64_t number(int column) const;
};

class PostgresSession {
 public:
  // How long a statement may take before its connection counts as lost.
  static constexpr Duration for_ever = hours(24 * 365);

  // Errors: config_invalid (the conninfo), system_failed (nobody there, or not let in).
  static Result<std::unique_ptr<PostgresSession>> connect(const PostgresPlace& place);

  // `sql` without values may be several statements, together one transaction.
  PostgresAnswer run(const std::string& sql, const std::vector<PostgresValue>& values = {},
                     Duration patience = for_ever);
  PostgresAnswer prepare(const std::string& name, const std::string& sql);
  PostgresAnswer run_prepared(const std::string& name, const std::vector<PostgresValue>& values,
                              Duration patience = for_ever);
  // The rows one by one, in binary, as they come: never all of them in memory. `visit` gets the
  // first two columns of each, a bigint and a bytea, and ends it with an error of its own, which is
  // then `visited`.
  using Visit = std::function<Status(std::uint64_t, std::string_view)>;
  PostgresAnswer stream(const std::string& sql, const std::vector<PostgresValue>& values,
                        const Visit& visit, Status& visited);

  bool is_alive() const { return PQstatus(connection_.get()) == CONNECTION_OK; }
  // "database ledger of user gpupool at db1:5432", for people.
  const std::string& name() const { return name_; }
  std::string quoted(const std::string& identifier) const;

 private:
  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };

  explicit PostgresSession(PGconn* connection) : connection_(connection) {}
  void name_itself();
  static void note(void* self, const PGresult* notice);
  PostgresAnswer begin(bool sent);
  bool wait(Instant give_up);
  PostgresAnswer collect(Duration patience);
  void take(PGresult* result, PostgresAnswer& answer) const;
  void close(PostgresAnswer& answer) const;
  bool cancel() const;

  std::unique_ptr<PGconn, Finish> connection_;
  std::string name_;
  std::string warning_;
};

}  // namespace gpupool
