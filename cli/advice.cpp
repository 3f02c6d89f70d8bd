#include "cli/advice.h"

#include <cerrno>

#include "actors/describe.h"

namespace gpupool {
namespace {

bool is_about(const Error& error, const std::string& path) {
  return !path.empty() && error.detail.find(path) != std::string::npos;
}

// What stands about a database in its error says what to do, or that its server is the place.
std::string advice_about_postgres(const Error& error) {
  switch (error.code) {
    case Errc::file_malformed:
      return "name another ledger.postgres_schema";
    case Errc::system_failed:
      return "look at the server and at ledger.postgres; gpupoold --check-config tries it";
    case Errc::journal_corrupt:
      return "leave the schema as it is and go on from a backup that is whole";
    default:
      return "";
  }
}

bool is_about_postgres(const Error& error, const Config& config) {
  return config.broker_role && config.ledger.journal == JournalKind::postgres &&
         (error.detail.starts_with("database ") || error.detail.starts_with("PostgreSQL"));
}

}  // namespace

std::string advice_for(const Error& error, const Config& config) {
  if (is_about_postgres(error, config)) return advice_about_postgres(error);
  const bool about_ledger = is_about(error, config.ledger.path);
  switch (error.code) {
    case Errc::journal_locked:
      return is_about(error, config.worker.folder)
                 ? "stop that one, or give this one a worker.folder of its own"
                 : "stop that one, or give this one a ledger.path of its own";
    case Errc::file_malformed:
      return about_ledger ? "move that file away, or name another one as ledger.path" : "";
    case Errc::journal_corrupt:
      return "keep the file as it is and go on from a copy of it that is whole";
    case Errc::file_unwritable:
      return about_ledger ? "make its folder writable for this user, or name another ledger.path"
                          : "make it writable for this user, or name another place for it";
    case Errc::system_failed:
      if (error.want == EADDRINUSE || is_about(error, config.broker.worker_address))
        return is_about(error, config.broker.client_endpoint)
                   ? "stop what listens there, or name another broker.client_endpoint"
                   : "stop what listens there, or name another broker.worker_address";
      return "";
    default:
      return "";
  }
}

std::string cannot_start_text(const Error& error, const Config& config) {
  const std::string advice = advice_for(error, config);
  return "cannot start: " + describe(error) + (advice.empty() ? "" : "; " + advice);
}

}  // namespace gpupool
