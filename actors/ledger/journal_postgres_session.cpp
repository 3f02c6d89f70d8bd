#include "actors/ledger/journal_postgres_session.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>

#include "base/clock.h"

namespace gpupool {
namespace {

static_assert(std::endian::native == std::endian::little, "bigints are turned around");

// The first line of what libpq or the server said, without its end.
std::string one_line(const char* words) {
  std::string text = words == nullptr ? "" : words;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\t', ' ');
  return text;
}

std::string field(const PGresult* result, int code) {
  const char* value = PQresultErrorField(result, code);
  return value == nullptr ? "" : value;
}

std::uint64_t number_in(std::string_view text) {
  std::uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::uint64_t bigint_in(const PGresult* result, int column) {
  std::uint64_t bytes = 0;
  if (PQgetlength(result, 0, column) != sizeof bytes) return 0;
  std::memcpy(&bytes, PQgetvalue(result, 0, column), sizeof bytes);
  return __builtin_bswap64(bytes);
}

// libpq's own words could repeat a password from the text, so they are not told.
Status check_conninfo(const std::string& conninfo) {
  const auto invalid = [](const std::string& why) {
    return Error{.code = Errc::config_invalid, .detail = "ledger.postgres: " + why};
  };
  char* words = nullptr;
  PQconninfoOption* options = PQconninfoParse(conninfo.c_str(), &words);
  PQfreemem(words);
  if (options == nullptr)
    return invalid(
        "expected \"host=... dbname=... user=...\" or a postgresql:// URI, found something else");
  bool has_password = false;
  for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option)
    has_password =
        has_password || (option->val != nullptr && std::strcmp(option->keyword, "password") == 0);
  PQconninfoFree(options);
  return has_password
             ? Status{invalid("holds a password; it belongs into ledger.postgres_password_file")}
             : ok();
}

struct Parameters {
  std::vector<const char*> data;
  std::vector<int> sizes;
  std::vector<int> formats;

  explicit Parameters(const std::vector<PostgresValue>& values) {
    for (const PostgresValue& value : values) {
      data.push_back(value.data());
      sizes.push_back(value.size());
      formats.push_back(value.format());
    }
  }
  int count() const { return static_cast<int>(data.size()); }
};

}  // namespace

PostgresValue PostgresValue::binary(std::string_view bytes) {
  PostgresValue value{std::string()};
  value.bytes_ = bytes;
  value.is_binary_ = true;
  return value;
}

std::uint64_t PostgresAnswer::changed() const { return number_in(PQcmdTuples(result.get())); }
std::uint64_t PostgresAnswer::number(int column) const { return number_in(text(column)); }

Result<std::unique_ptr<PostgresSession>> PostgresSession::connect(const PostgresPlace& place) {
  if (const Status good = check_conninfo(place.conninfo); !good) return good.error();
  // A later word beats an earlier one, and what is empty counts as left out.
  const std::array<const char*, 5> keywords{"connect_timeout", "fallback_application_name",
                                            "dbname", "password", nullptr};
  const std::array<const char*, 5> values{"10", "gpupool", place.conninfo.c_str(),
                                          place.password.c_str(), nullptr};
  PGconn* connection = PQconnectdbParams(keywords.data(), values.data(), 1);
  if (connection == nullptr)
    return Error{.code = Errc::system_failed, .detail = "PostgreSQL: out of memory"};
  std::unique_ptr<PostgresSession> session(new PostgresSession(connection));
  PQsetNoticeReceiver(connection, &PostgresSession::note, session.get());
  if (!session->is_alive())
    return Error{.code = Errc::system_failed,
                 .detail = "PostgreSQL: " + one_line(PQerrorMessage(connection))};
  session->name_itself();
  return session;
}

void PostgresSession::name_itself() {
  const auto known = [](const char* value) { return std::string(value == nullptr ? "" : value); };
  const PGconn* connection = connection_.get();
  const std::string host = known(PQhost(connection));
  name_ = "database " + known(PQdb(connection)) + " of user " + known(PQuser(connection)) + " at " +
          (host.empty() ? "this machine" : host) + ":" + known(PQport(connection));
}

void PostgresSession::note(void* self, const PGresult* notice) {
  if (field(notice, PG_DIAG_SEVERITY_NONLOCALIZED) == "WARNING")
    static_cast<PostgresSession*>(self)->warning_ = field(notice, PG_DIAG_MESSAGE_PRIMARY);
}

std::string PostgresSession::quoted(const std::string& identifier) const {
  char* text = PQescapeIdentifier(connection_.get(), identifier.data(), identifier.size());
  const std::string result = text == nullptr ? "\"\"" : text;
  PQfreemem(text);
  return result;
}

PostgresAnswer PostgresSession::run(const std::string& sql,
                                    const std::vector<PostgresValue>& values, Duration patience) {
  warning_.clear();
  const Parameters all(values);
  const int sent =
      values.empty() ? PQsendQuery(connection_.get(), sql.c_str())
                     : PQsendQueryParams(connection_.get(), sql.c_str(), all.count(), nullptr,
                                         all.data.data(), all.sizes.data(), all.formats.data(), 0);
  return sent == 1 ? collect(patience) : begin(false);
}

PostgresAnswer PostgresSession::prepare(const std::string& name, const std::string& sql) {
  warning_.clear();
  const int sent = PQsendPrepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr);
  return sent == 1 ? collect(for_ever) : begin(false);
}

PostgresAnswer PostgresSession::run_prepared(const std::string& name,
                                             const std::vector<PostgresValue>& values,
                                             Duration patience) {
  warning_.clear();
  const Parameters all(values);
  const int sent = PQsendQueryPrepared(connection_.get(), name.c_str(), all.count(),
                                       all.data.data(), all.sizes.data(), all.formats.data(), 0);
  return sent == 1 ? collect(patience) : begin(false);
}

// An answer before its results. Nothing may have been sent, or half of it: nobody knows.
PostgresAnswer PostgresSession::begin(bool sent) {
  PostgresAnswer answer;
  if (!sent) answer.words = one_line(PQerrorMessage(connection_.get()));
  return answer;
}

// Until the next result is here; false: not by then.
bool PostgresSession::wait(Instant give_up) {
  while (PQisBusy(connection_.get()) == 1) {
    const std::int64_t left = (give_up - boot_time()).ms;
    if (left <= 0) return false;
    pollfd socket{PQsocket(connection_.get()), POLLIN, 0};
    if (socket.fd < 0) return true;
    const auto limit = std::min<std::int64_t>(left, std::numeric_limits<int>::max());
    ::poll(&socket, 1, static_cast<int>(limit));
    // What a broken connection leaves behind is told by its last result.
    if ((socket.revents != 0) && PQconsumeInput(connection_.get()) == 0) return true;
  }
  return true;
}

PostgresAnswer PostgresSession::collect(Duration patience) {
  PostgresAnswer answer = begin(true);
  const Instant give_up = boot_time() + patience;
  for (;;) {
    if (!wait(give_up)) {
      answer.words = "no answer in " + std::to_string(patience.ms) + " ms";
      connection_.reset();
      return answer;
    }
    PGresult* result = PQgetResult(connection_.get());
    if (result == nullptr) break;
    take(result, answer);
  }
  close(answer);
  return answer;
}

// An error can follow a result that was good: the transaction ends after its last statement.
void PostgresSession::take(PGresult* result, PostgresAnswer& answer) const {
  const bool had_failed = answer.result && PQresultStatus(answer.result.get()) == PGRES_FATAL_ERROR;
  const bool has_failed = PQresultStatus(result) == PGRES_FATAL_ERROR;
  if (had_failed && !has_failed) return PQclear(result);
  if (has_failed) {
    const std::string sqlstate = field(result, PG_DIAG_SQLSTATE);
    const std::string words = field(result, PG_DIAG_MESSAGE_PRIMARY);
    if (!sqlstate.empty()) answer.sqlstate = sqlstate;
    answer.words +=
        (answer.words.empty() ? "" : "; ") +
        (words.empty() ? one_line(PQresultErrorMessage(result)) : one_line(words.c_str()));
  }
  answer.result.reset(result);
}

// Only the server's word that it waits for the next statement ends a transaction for certain: it
// comes after the commit, or after the error that undid everything.
void PostgresSession::close(PostgresAnswer& answer) const {
  answer.warning = warning_;
  if (!is_alive() || PQtransactionStatus(connection_.get()) != PQTRANS_IDLE || !answer.result) {
    if (answer.words.empty()) answer.words = "the connection was lost";
    return;
  }
  answer.end = PQresultStatus(answer.result.get()) == PGRES_FATAL_ERROR
                   ? PostgresAnswer::End::refused
                   : PostgresAnswer::End::done;
}

bool PostgresSession::cancel() const {
  PGcancel* asking = PQgetCancel(connection_.get());
  std::array<char, 256> words{};
  const bool asked =
      asking != nullptr && PQcancel(asking, words.data(), static_cast<int>(words.size())) == 1;
  PQfreeCancel(asking);
  return asked;
}

PostgresAnswer PostgresSession::stream(const std::string& sql,
                                       const std::vector<PostgresValue>& values, const Visit& visit,
                                       Status& visited) {
  warning_.clear();
  const Parameters all(values);
  if (PQsendQueryParams(connection_.get(), sql.c_str(), all.count(), nullptr, all.data.data(),
                        all.sizes.data(), all.formats.data(), 1) == 0)
    return begin(false);
  PQsetSingleRowMode(connection_.get());
  PostgresAnswer answer = begin(true);
  bool is_over = false;
  for (PGresult* result; (result = PQgetResult(connection_.get())) != nullptr;) {
    if (PQresultStatus(result) == PGRES_SINGLE_TUPLE && !is_over) {
      const auto size = static_cast<std::size_t>(PQgetlength(result, 0, 1));
      visited = visit(bigint_in(result, 0), std::string_view(PQgetvalue(result, 0, 1), size));
      is_over = !visited;
      if (is_over) cancel();  // and what is under way is passed over
    }
    take(result, answer);
  }
  close(answer);
  return answer;
}

}  // namespace gpupool
