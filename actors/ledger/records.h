#pragma once
// What the ledger's journal holds, record by record: the only durable truth of a pool. The ledger's
// whole state is the fold of Ledger::apply() over these, live and at start alike. A record is
// packed with base/pack.h, so a new field goes last and old journals still read. HoldSettled stands
// in actors/messages/ledger.h, since the answer to a settle is its record.

#include <variant>

#include "actors/messages.h"

namespace gpupool {

// A broker took the lead.
struct EpochRaised {
  Epoch epoch;
  auto fields() { return std::tie(epoch); }
};

struct HoldOpened {
  Shared<Hold> hold;       // with its blob, the outline of it (blob.h)
  std::string token_tier;  // of its caller, where an operator's word made the hold's another one
  // Of its window after this, so that the story of the job needs no other record.
  GpuTime used;
  GpuTime held;
  Shared<std::string> blob;  // its bytes; not part of the record: journals keep them beside it
  auto fields() { return std::tie(hold, token_tier, used, held); }
};

struct LeaseNoted {
  JobId job;
  std::uint32_t attempt = 0;
  NodeId node;
  std::string node_name;
  auto fields() { return std::tie(job, attempt, node, node_name); }
};

struct JobRequeued {
  JobId job;
  std::uint32_t attempt = 0;
  Errc cause{};
  std::string detail;
  Instant promise{};
  auto fields() { return std::tie(job, attempt, cause, detail, promise); }
};

struct PromiseRestated {
  JobId job;
  Instant promise{};
  std::string reason;
  auto fields() { return std::tie(job, promise, reason); }
};

// What operators and configurations set. Each record says what holds from now on, and as changes
// who set it and what it replaced; there is none without a change.

// The tiers, apps and settings, all of them.
struct TermsSet {
  std::vector<TierTerms> tiers;
  std::vector<AppTerms> apps;
  std::vector<Change> changes;
  WindowTerms window;
  std::vector<SettingTerms> settings;
  auto fields() { return std::tie(tiers, apps, changes, window, settings); }
};

struct AccountTierSet {
  AccountId account;
  std::string tier;  // empty: of its tokens again
  std::vector<Change> changes;
  auto fields() { return std::tie(account, tier, changes); }
};

struct TokenRevoked {
  Revocation revocation;
  std::vector<Change> changes;
  auto fields() { return std::tie(revocation, changes); }
};

struct DrainingSet {
  std::string node;
  bool draining = false;
  std::vector<Change> changes;
  auto fields() { return std::tie(node, draining, changes); }
};

struct AnnouncementSet {
  std::string text;
  std::vector<Change> changes;
  auto fields() { return std::tie(text, changes); }
};

// What operators order once, each by its own id, which is remembered as a request's is. `body_hash`
// tells one order of an id from another.

// So many credits more or, negative, fewer; what the account had and has.
struct CreditsGranted {
  RequestId id;
  std::uint64_t body_hash = 0;
  AccountId account;
  GpuTime amount;
  GpuTime before;
  GpuTime after;
  std::vector<Change> changes;
  auto fields() { return std::tie(id, body_hash, account, amount, before, after, changes); }
};

// So much more or, negative, less used of this window; what was and is.
struct QuotaAdjusted {
  RequestId id;
  std::uint64_t body_hash = 0;
  AccountId account;
  Instant window_opened{};
  GpuTime amount;
  GpuTime before;
  GpuTime after;
  std::vector<Change> changes;
  auto fields() {
    return std::tie(id, body_hash, account, window_opened, amount, before, after, changes);
  }
};

// So much more is held for an open job, in the window of its hold; measured by this tier.
struct HoldExtended {
  JobId job;
  std::uint32_t number = 0;
  GpuTime quota_part;
  GpuTime credits_part;
  std::string tier;
  auto fields() { return std::tie(job, number, quota_part, credits_part, tier); }
};

using RecordBody = std::variant<EpochRaised, HoldOpened, LeaseNoted, JobRequeued, PromiseRestated,
                                HoldSettled, TermsSet, AccountTierSet, TokenRevoked, DrainingSet,
                                AnnouncementSet, CreditsGranted, QuotaAdjusted, HoldExtended>;

// One entry of the journal: its place, when (ledger time), and what.
struct Record {
  std::uint64_t sequence = 0;  // from 1, without gaps
  Instant at{};
  RecordBody body;
  auto fields() { return std::tie(sequence, at, body); }
};

}  // namespace gpupool
