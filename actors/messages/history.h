#pragma once
// Between the ledger and its history, which answers what people ask of the past: receipts, stories,
// usage. The history reads the journal at its own pace, so it may lag behind the ledger; every
// question says how far the ledger had come when it was asked (`upto`), and is answered from no
// earlier state.

#include "actors/messages/ledger.h"
#include "actors/messages/session.h"

namespace gpupool {

// ---- Ledger -> history -------------------------------------------------------------------------

// The answer to ReadJournal: batches as they were written, or why they cannot be read.
struct JournalRead {
  bool is_known = true;  // false: what the reader has does not stand in this journal
  std::vector<std::string> batches;
  Errc error{};
  std::string detail;
  auto fields() { return std::tie(is_known, batches, error, detail); }
};

struct ReceiptsAsked {
  std::uint64_t upto = 0;
  ReceiptsQuery query;
  auto fields() { return std::tie(upto, query); }
};

struct ReceiptAsked {
  std::uint64_t upto = 0;
  ReceiptQuery query;
  Balance balance;  // of its account now
  auto fields() { return std::tie(upto, query, balance); }
};

struct StoryAsked {
  std::uint64_t upto = 0;
  ExplainQuery query;             // with its job, if the ledger remembers the request
  std::vector<Refusal> refusals;  // recent ones of the account, the newest last
  auto fields() { return std::tie(upto, query, refusals); }
};

struct UsageAsked {
  std::uint64_t upto = 0;
  UsageQuery query;
  auto fields() { return std::tie(upto, query); }
};

// What became of a job that is not open. `ticket`: of the admission that asked, 0 for a settle.
struct Recall {
  std::uint64_t upto = 0;
  std::uint64_t ticket = 0;
  JobId job;
  std::string tier;  // that its caller comes with
  auto fields() { return std::tie(upto, ticket, job, tier); }
};

// ---- History -> ledger -------------------------------------------------------------------------

// What follows this record in the journal: at once, or as soon as a page has come together
// (limits::history_page_records) or somebody asks the history for something. One at a time.
struct ReadJournal {
  std::uint64_t after = 0;
  std::string digest;  // of that record
  bool at_once = false;
  auto fields() { return std::tie(after, digest, at_once); }
};

struct Recalled {
  std::uint64_t ticket = 0;
  JobId job;
  std::string tier;
  bool found = false;  // false: no job of this number was ever settled
  Shared<Receipt> receipt;
  auto fields() { return std::tie(ticket, job, tier, found, receipt); }
};

}  // namespace gpupool
