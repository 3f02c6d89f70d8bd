#include "actors/ledger/journal_postgres_lead.h"

#include <chrono>
#include <optional>
#include <utility>

namespace gpupool {
namespace {

// A renewal that the server refused is tried again so soon, until the lead is no longer sure.
constexpr Duration retry_after = milliseconds(200);
constexpr Duration farewell_limit = seconds(1);

}  // namespace

PostgresLead::PostgresLead(std::unique_ptr<PostgresSession> session, std::string table,
                           Leadership leadership, PostgresSurroundings around)
    : session_(std::move(session)),
      table_(std::move(table)),
      around_(std::move(around)),
      epoch_(leadership.epoch()),
      leadership_(leadership) {
  sure_->set(leadership_.sure_until());
  thread_ = std::thread([this] { keep(); });
}

// Before the lead is given back nobody else has it, so nothing may be said after.
PostgresLead::~PostgresLead() {
  sure_->end();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  give_back();
}

Status PostgresLead::check() {
  const std::lock_guard lock(mutex_);
  if (leadership_.at(around_.now()) == Leadership::Advice::stand_down) return too_late();
  return ok();
}

// The thread has nothing to add to what the writer tells.
Error PostgresLead::fenced() {
  const std::lock_guard lock(mutex_);
  leadership_.fenced();
  sure_->end();
  stopping_ = true;
  return fenced_error();
}

Error PostgresLead::fenced_error() const {
  return {.code = Errc::journal_fenced,
          .want = static_cast<std::int64_t>(epoch_),
          .detail = session_->name() +
                    ": another broker took the lead from this one, which had "
                    "epoch " +
                    std::to_string(epoch_) + "; nothing was written"};
}

Error PostgresLead::too_late() const {
  return {.code = Errc::journal_fenced,
          .want = static_cast<std::int64_t>(epoch_),
          .detail = session_->name() + ": the lead (epoch " + std::to_string(epoch_) +
                    ") could not be renewed for " + std::to_string(around_.terms.sure_for.ms) +
                    " ms, so another broker may have it; nothing was written"};
}

void PostgresLead::keep() {
  std::unique_lock lock(mutex_);
  std::optional<Error> lost;
  Duration pause = around_.terms.renew_every;
  while (!lost) {
    wake_.wait_for(lock, std::chrono::milliseconds(pause.ms), [this] { return stopping_; });
    if (stopping_) return;
    const auto advice = leadership_.at(around_.now());
    pause = retry_after;
    if (advice == Leadership::Advice::stand_down) lost = too_late();
    if (advice != Leadership::Advice::renew) continue;
    const auto renewed = renew(lock);
    if (!renewed)
      lost = renewed.error();
    else if (*renewed == Renewal::made)
      pause = around_.terms.renew_every;
  }
  sure_->end();
  lock.unlock();
  around_.lost(*lost);
}

// The row's key does not change here, so this waits for no write, and no write waits for it: writes
// hold the row FOR KEY SHARE. An answer that comes after the lead is no longer sure comes too late.
Result<PostgresLead::Renewal> PostgresLead::renew(std::unique_lock<std::mutex>& lock) {
  const Instant asked = around_.now();
  const Duration patience = leadership_.sure_until() - asked;
  lock.unlock();
  const PostgresAnswer answer =
      session_->run("UPDATE " + table_ + " SET renewal = renewal + 1 WHERE epoch = $1::bigint",
                    {epoch_}, patience);
  lock.lock();
  switch (answer.end) {
    case PostgresAnswer::End::refused:
      return Renewal::refused;
    case PostgresAnswer::End::lost:
      if (leadership_.at(around_.now()) == Leadership::Advice::stand_down) return too_late();
      return Error{.code = Errc::outcome_unknown,
                   .detail = session_->name() +
                             ": the connection that renews the lead was lost: " + answer.words};
    case PostgresAnswer::End::done:
      break;
  }
  if (answer.changed() == 0) {
    leadership_.fenced();
    return fenced_error();
  }
  leadership_.renewed(asked);
  if (!stopping_) sure_->set(leadership_.sure_until());
  return Renewal::made;
}

void PostgresLead::give_back() {
  session_->run(
      "UPDATE " + table_ + " SET vacant = true, renewal = renewal + 1 WHERE epoch = $1::bigint",
      {epoch_}, farewell_limit);
}

}  // namespace gpupool
