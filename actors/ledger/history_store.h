#pragma once
// HistoryStore: where the ledger's history keeps what it has read from the journal: jobs with their
// receipts and stories, and what each account used day by day. It can be made anew from the
// journal at any time, so it need not be durable to the last change; but what mark() says is in it
// is in it, whole. Behind one interface are memory (tests, the simulation) and SQLite;
// tests/actors/ledger/history_store_test.cpp is its contract. One thread.

#include <optional>
#include <vector>

#include "actors/ledger/batch.h"
#include "actors/ledger/story.h"

namespace gpupool {

// One job as far as its records tell. The receipt of an open one has no outcome yet.
struct HistoryJob {
  Receipt receipt;
  std::vector<Moment> story;
  auto fields() { return std::tie(receipt, story); }
};

// What one account did on one day, by when its jobs ended.
struct AccountDay {
  AccountId account;
  UsageDay usage;
};

// What some records of the journal change, and where the journal then stands.
struct HistoryPage {
  std::vector<HistoryJob> jobs;  // replace what was known of them
  std::vector<AccountDay> days;  // to be added to what is there
  JournalTail mark;              // its sequence, time and digest
};

class HistoryStore {
 public:
  HistoryStore() = default;
  HistoryStore(const HistoryStore&) = delete;
  HistoryStore& operator=(const HistoryStore&) = delete;
  virtual ~HistoryStore() = default;

  // How far it has come; sequence 0: it is empty.
  virtual Result<JournalTail> mark() = 0;
  // All of the page or, on an error, none of it.
  virtual Status turn(const HistoryPage& page) = 0;
  virtual Status clear() = 0;

  virtual Result<std::vector<HistoryJob>> open_jobs() = 0;
  virtual Result<std::optional<HistoryJob>> job(JobId job) = 0;
  // Closed jobs of an account before this one (0: of all), newest first.
  virtual Result<std::vector<Receipt>> receipts(const AccountId& account, JobId before,
                                                std::size_t count) = 0;
  // Days of an account from `since` on, newest first.
  virtual Result<std::vector<UsageDay>> days(const AccountId& account, Instant since,
                                             std::size_t count) = 0;
};

}  // namespace gpupool
