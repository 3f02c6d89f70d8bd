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
      // The three may lie in one folder: the file that is named counts before the folder.
      if (is_about(error, config.daemon.pid_file))
        return "stop that one, or give this one a daemon.pid_file of its own";
      return !about_ledger && is_about(error, config.worker.folder)
                 ? "stop that one, or give this one a worker.folder of its own"
                 : "stop that one, or give this one a ledger.path of its own";
    case Errc::file_malformed:
      return about_ledger ? "move that file away, or name another one as ledger.path" : "";
    case Errc::journal_corrupt:
      return "keep the file as it is and go on from a copy of it that is whole";
    case Errc::file_unwritable:
      if (about_ledger)
        return "make its folder writable for this user, or name another ledger.path";
      if (is_about(error, config.daemon.pid_file))
        return "make its folder writable for this user, or name another daemon.pid_file";
      if (is_about(error, config.broker.ready_file))
        return "make its folder writable for this user, or name another broker.ready_file";
      return "make it writable for this user, or name another place for it";
    case Errc::system_failed:
      if ((error.want == ENODEV || error.want == EADDRNOTAVAIL) &&
          is_about(error, config.broker.client_endpoint))
        return "name an address of this machine, such as 127.0.0.1, as broker.client_endpoint";
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

std::string refused_text(const Error& error) {
  const std::string text = "the broker does not take this node: " + describe(error);
  switch (error.code) {
    case Errc::version_mismatch:
      return text + "; install the pool's build on this machine and start its gpupoold again";
    case Errc::overloaded:
      return text + "; gpupool nodes shows which there are, gpupool remove forgets one";
    default:
      return text + "; mend worker in this machine's configuration and start its gpupoold again";
  }
}

// CAF does not tell why a connection came to nothing: a refused certificate looks like a broker
// that is not there.
std::string unreachable_text(const std::string& address, const Error& error,
                             const ClusterConfig& cluster) {
  return "no connection to a broker at " + address + " (" + error.detail +
         "), trying again; look whether one leads and listens there (broker.worker_address), " +
         (cluster.has_tls()
              ? "with certificates of the same authority that have not expired (gpupoold "
                "--check-config on both machines)"
              : "without certificates, as [cluster] names none here");
}

}  // namespace gpupool
