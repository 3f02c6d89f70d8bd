#pragma once
// PostgresLead: the lead of a journal, kept while this lives. A thread of its own renews it every
// second over a connection of its own, so that neither a long replay nor a slow commit loses it.
// Once it is lost (another epoch, or no answer for so long that another may lead), `lost` is called
// on that thread, once, and no write may begin. Given back at the end, so that a standby need not
// wait. Any thread.

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "actors/ledger/journal_postgres_session.h"
#include "actors/ledger/leadership.h"
#include "base/sure_until.h"

namespace gpupool {

// What a process that wants to lead brings along.
struct PostgresSurroundings {
  std::function<Instant()> now;            // CLOCK_BOOTTIME, which counts on in sleep
  std::function<void(const Error&)> lost;  // journal_fenced, or outcome_unknown
  LeadTerms terms{};
};

class PostgresLead {
 public:
  // `table` is the quoted name of the row's table; `leadership` leads.
  PostgresLead(std::unique_ptr<PostgresSession> session, std::string table, Leadership leadership,
               PostgresSurroundings around);
  ~PostgresLead();
  PostgresLead(const PostgresLead&) = delete;
  PostgresLead& operator=(const PostgresLead&) = delete;

  std::uint64_t epoch() const { return epoch_; }
  std::shared_ptr<const SureUntil> sure_until() const { return sure_; }
  // Whether a write may begin; journal_fenced otherwise.
  Status check();
  // A write has found another epoch.
  Error fenced();

 private:
  enum class Renewal : std::uint8_t { made = 1, refused };

  void keep();
  Result<Renewal> renew(std::unique_lock<std::mutex>& lock);
  void give_back();
  Error fenced_error() const;
  Error too_late() const;

  const std::unique_ptr<PostgresSession> session_;
  const std::string table_;
  const PostgresSurroundings around_;
  const std::uint64_t epoch_;
  const std::shared_ptr<SureUntil> sure_ = std::make_shared<SureUntil>();  // as leadership_ has it
  std::mutex mutex_;
  std::condition_variable wake_;
  Leadership leadership_;  // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace gpupool
