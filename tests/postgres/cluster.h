#pragma once
// Cluster: a PostgreSQL server of the tests' own, made with initdb in a temporary folder, reached
// over a socket there and no port, with fsync as a real one has it. It is started once for a test
// program and ends with it, however that ends. Tests get a role without rights of its own
// (gpupool) and a schema each; what needs an administrator is said to sql().

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "actors/ledger/journal_postgres_session.h"

namespace gpupool::test {

class Cluster {
 public:
  // The program's own; nothing where PostgreSQL is not installed, which is then said aloud.
  static Cluster* shared();

  Cluster();
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // As `pg_ctl stop -m immediate` does: nothing is written back, the next start recovers.
  void crash();
  void start();

  const std::filesystem::path& folder() const { return folder_; }  // of its socket
  std::string conninfo(const std::string& user = "gpupool") const;
  // A schema that no other test uses; not made yet.
  PostgresPlace place();
  // What an administrator says; the first column of the first row, "" if there is none.
  std::string sql(const std::string& statement) const;
  // Whether that many connections wait for a lock, within some seconds.
  bool waits_for_lock(int connections) const;

 private:
  void run(const std::vector<std::string>& command) const;
  pid_t spawn(const std::vector<std::string>& command) const;

  std::filesystem::path programs_;
  std::filesystem::path folder_;
  uid_t user_ = 0;
  gid_t group_ = 0;
  pid_t server_ = 0;
  int schemas_ = 0;
};

}  // namespace gpupool::test
