#pragma once
// What the console asks of the ledger and the broker on an operator's behalf, and their answers.
// The `ticket` is the console's own number of the question.

#include "actors/messages/overview.h"

namespace gpupool {

// The process is to end soon: start nothing new, let what runs come to its end.
struct Stop {
  Instant by{};  // what still runs then is left to the restart
  auto fields() { return std::tie(by); }
};

// ---- Console -> ledger, and the answer ----------------------------------------------------------

// A tier and an app as the ledger keeps them, to tell what changed: the configuration's own words.
struct TierTerms {
  std::string name;
  GpuTime allowance;
  GpuTime longest;
  std::uint32_t rank = 0;
  std::uint32_t jobs_max = 0;
  auto fields() { return std::tie(name, allowance, longest, rank, jobs_max); }
  friend bool operator==(const TierTerms&, const TierTerms&) = default;
};

struct AppTerms {
  std::string name;
  std::string size;
  Duration default_duration{};
  Duration longest{};
  std::vector<std::string> tiers;  // who may use it; empty: everybody
  bool automatic = false;          // duration = "auto"
  auto fields() { return std::tie(name, size, default_duration, longest, tiers, automatic); }
  friend bool operator==(const AppTerms&, const AppTerms&) = default;
};

// How long an account's window is and when it opens. A length of 0 is not on record.
struct WindowTerms {
  WindowKind kind = WindowKind::rolling;
  Duration length{};
  Duration starts{};
  auto fields() { return std::tie(kind, length, starts); }
  friend bool operator==(const WindowTerms&, const WindowTerms&) = default;
};

// Of anything else that quota or turns depend on: one value, as people read it.
struct SettingTerms {
  ChangeKind kind{};
  std::string subject;  // "xlarge"
  std::string field;    // "factor"
  std::string text;     // "2"
  auto fields() { return std::tie(kind, subject, field, text); }
  friend bool operator==(const SettingTerms&, const SettingTerms&) = default;
};

// The running configuration was replaced (SIGHUP); what differs becomes changes in the ledger.
struct ConfigReloaded {
  std::uint64_t ticket = 0;
  auto fields() { return std::tie(ticket); }
};

// The terms that hold from now on; what differs from the last ones becomes changes. Sent at start
// and at every reload.
struct Configure {
  std::uint64_t ticket = 0;
  std::string who;
  std::vector<TierTerms> tiers;
  std::vector<AppTerms> apps;
  WindowTerms window;
  std::vector<SettingTerms> settings;
  auto fields() { return std::tie(ticket, who, tiers, apps, window, settings); }
};

// From now on this account is of this tier, whatever its tokens say; empty: of its tokens' tier.
struct SetAccountTier {
  std::uint64_t ticket = 0;
  std::string who;
  AccountId account;
  std::string tier;
  auto fields() { return std::tie(ticket, who, account, tier); }
};

// No token with this id is good any more (`token_id`), or none of this account's that was issued
// before `issued_before`. Forgotten at `forget_at`, when all such tokens have expired.
struct RevokeToken {
  std::uint64_t ticket = 0;
  std::string who;
  std::string token_id;
  AccountId account;
  Instant issued_before{};
  Instant forget_at{};
  auto fields() { return std::tie(ticket, who, token_id, account, issued_before, forget_at); }
};

// Whether a node, by name, gets new leases.
struct SetDraining {
  std::uint64_t ticket = 0;
  std::string who;
  std::string node;
  bool draining = false;
  auto fields() { return std::tie(ticket, who, node, draining); }
};

struct Announce {
  std::uint64_t ticket = 0;
  std::string who;
  std::string text;  // empty: the announcement is over
  auto fields() { return std::tie(ticket, who, text); }
};

// Credits for an account: so much more from now on or, if `amount` is negative, less. It happens
// once for each `id`, which the operator's client makes as it makes a request's.
struct GrantCredits {
  std::uint64_t ticket = 0;
  std::string who;
  RequestId id;
  AccountId account;
  GpuTime amount;
  std::string why;
  auto fields() { return std::tie(ticket, who, id, account, amount, why); }
};

// What an account has used of the window that it has open: so much more or, if `amount` is
// negative, less. Once for each `id`.
struct AdjustQuota {
  std::uint64_t ticket = 0;
  std::string who;
  RequestId id;
  AccountId account;
  GpuTime amount;
  std::string why;
  auto fields() { return std::tie(ticket, who, id, account, amount, why); }
};

// The answer to each of the seven above: durable now. `changes` is empty if all was so already; an
// `id` that is known has its first answer.
struct Changed {
  std::uint64_t ticket = 0;
  Errc error{};  // ledger_unavailable, overloaded (a table is full), bad_request, or 0; of an `id`
                 // also id_expired, id_reused, quota_exceeded
  std::string detail;
  std::vector<Change> changes;
  std::int64_t want = 0;  // in unit_of(error)
  std::int64_t have = 0;
  auto fields() { return std::tie(ticket, error, detail, changes, want, have); }
};

struct StandingQuery {
  std::uint64_t ticket = 0;
  auto fields() { return std::tie(ticket); }
};

struct AccountTier {
  AccountId account;
  std::string tier;
  auto fields() { return std::tie(account, tier); }
};

struct Revocation {
  std::string token_id;
  AccountId account;
  Instant issued_before{};
  Instant forget_at{};
  auto fields() { return std::tie(token_id, account, issued_before, forget_at); }
};

// What operators have set and what holds until they set it otherwise. The answer to StandingQuery,
// and sent unasked (ticket 0) after every change of it.
struct Standing {
  std::uint64_t ticket = 0;
  std::vector<AccountTier> tiers;
  std::vector<Revocation> revoked;
  std::vector<std::string> draining;
  std::string announcement;
  auto fields() { return std::tie(ticket, tiers, revoked, draining, announcement); }
};

// A page of accounts in order of their names, or the one named `account`.
struct AccountsQuery {
  std::uint64_t ticket = 0;
  AccountId account;
  AccountId after;
  std::uint32_t limit = 0;
  auto fields() { return std::tie(ticket, account, after, limit); }
};

struct AccountsFound {
  std::uint64_t ticket = 0;
  std::vector<Balance> accounts;
  bool more = false;
  auto fields() { return std::tie(ticket, accounts, more); }
};

// Every invariant of design 2.6 over the ledger's state.
struct AuditQuery {
  std::uint64_t ticket = 0;
  auto fields() { return std::tie(ticket); }
};

struct Audited {
  std::uint64_t ticket = 0;
  std::vector<std::string> findings;  // empty: everything holds
  std::uint64_t sequence = 0;         // of the last record
  std::uint64_t digest = 0;           // of the state after it
  std::uint64_t accounts = 0;
  std::uint64_t open_holds = 0;
  auto fields() { return std::tie(ticket, findings, sequence, digest, accounts, open_holds); }
};

// ---- Console -> broker, and the answers ---------------------------------------------------------

struct NodesQuery {
  std::uint64_t ticket = 0;
  auto fields() { return std::tie(ticket); }
};

struct NodesFound {
  std::uint64_t ticket = 0;
  std::vector<NodeView> nodes;
  auto fields() { return std::tie(ticket, nodes); }
};

// Open jobs in order of arrival, from the one after `after` on.
struct QueueQuery {
  std::uint64_t ticket = 0;
  JobId after;
  std::uint32_t limit = 0;
  auto fields() { return std::tie(ticket, after, limit); }
};

struct QueueFound {
  std::uint64_t ticket = 0;
  std::vector<QueueEntry> jobs;
  std::uint64_t waiting = 0;  // queued jobs in all
  bool more = false;
  auto fields() { return std::tie(ticket, jobs, waiting, more); }
};

// Cancel anybody's job; `who` stands in its receipt.
struct OperatorCancel {
  std::uint64_t ticket = 0;
  std::string who;
  JobId job;
  auto fields() { return std::tie(ticket, who, job); }
};

struct CancelTaken {
  std::uint64_t ticket = 0;
  Errc error{};  // job_unknown, or 0: its end is on the way
  JobState state{};
  AccountId account;
  auto fields() { return std::tie(ticket, error, state, account); }
};

// The nodes, by name, that get no leases: all of them, replacing the earlier set.
struct DrainNodes {
  std::vector<std::string> nodes;
  auto fields() { return std::tie(nodes); }
};

// Forget a node that is lost: it is not waited for any more. A worker of this name may join again.
struct RemoveNode {
  std::uint64_t ticket = 0;
  std::string node;
  auto fields() { return std::tie(ticket, node); }
};

struct NodeRemoved {
  std::uint64_t ticket = 0;
  Errc error{};  // 0, bad_request: no such node, or forbidden: it is not lost
  auto fields() { return std::tie(ticket, error); }
};

// The slots of this node that it took out itself are to be tried again.
struct ResumeNode {
  std::string node;
  auto fields() { return std::tie(node); }
};

// ---- Session <-> console: the operator's view, whole
// ---------------------------------------------

struct OverviewQuery {
  SessionId session;
  std::uint64_t query = 0;
  Caller caller;
  auto fields() { return std::tie(session, query, caller); }
};

struct OverviewFound {
  SessionId session;
  std::uint64_t query = 0;
  Errc error{};  // forbidden, overloaded or timed_out, or 0
  std::string detail;
  Shared<Overview> overview;
  auto fields() { return std::tie(session, query, error, detail, overview); }
};

// A request was refused, whoever found why.
struct RefusalNoted {
  Errc code{};
  auto fields() { return std::tie(code); }
};

}  // namespace gpupool
