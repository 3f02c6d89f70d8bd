#pragma once
// Values that several messages carry: who calls, what is asked for, balances, refusals, receipts.

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "base/amount.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/shared.h"
#include "base/time.h"
#include "config/config.h"

namespace gpupool {

// How the pool recognised who is asking. Every answer that costs or refuses says so.
struct Caller {
  AccountId account;
  std::string tier;
  std::string recognised_by;  // "token for ada, key k1" or "network address 192.0.2.7"
  bool is_operator = false;
  Instant expires = Instant::never();  // of the token
  std::string token_id;                // the token's "jti"; empty: it has none

  auto fields() { return std::tie(account, tier, recognised_by, is_operator, expires, token_id); }
};

struct Argument {
  std::string key;
  std::string value;
  auto fields() { return std::tie(key, value); }
};

// What a client asks for. Its packed bytes are the body that a request id stands for.
struct JobRequest {
  std::string app;
  std::string size;       // empty: the app's
  Duration declared{};    // 0: the app's default
  Duration max_wait{};    // 0: any; otherwise refuse if a later start must be promised
  bool detached = false;  // goes on in the queue without its client
  std::vector<Argument> arguments;

  auto fields() { return std::tie(app, size, declared, max_wait, detached, arguments); }
};

// A request that is too large for its hold's record: it lies beside the records until its job is
// over, and these bytes' hash, which the record has, says that it is the one.
struct BlobRef {
  std::string hash;  // BLAKE2b-256 of the packed request, 64 hexadecimal digits; empty: no blob
  std::int64_t bytes = 0;
  auto fields() { return std::tie(hash, bytes); }
};

// The longest duration that would be admitted now at a size; 0 if none.
struct Fit {
  std::string size;
  std::uint32_t factor = 1;
  Duration longest{};
  bool offered = true;  // false: the pool has no such shape
  auto fields() { return std::tie(size, factor, longest, offered); }
};

// What past runs say about the next one (actors/learned.h). `runs` of this account, or of all where
// it has too few of its own, took `longest` at most; of all it is what 99 of 100 took.
struct Advice {
  std::string app;  // empty: nothing is known
  std::uint32_t runs = 0;
  bool own = false;
  Duration longest{};
  Duration declare{};      // enough for such a run; 0: no less than what is declared anyway
  Duration first_held{};   // of an app with duration = "auto": what is held at first
  std::uint64_t fits = 0;  // so many such jobs can be paid for now, one after the other
  auto fields() { return std::tie(app, runs, own, longest, declare, first_held, fits); }
};

// Credits that an account shares with the others of its group, while that is on.
struct GroupCredits {
  AccountId account;  // "group:workshop"; empty: it is in none now
  GpuTime credits;    // what is held of them included
  GpuTime held;
  Instant until = Instant::never();
  auto fields() { return std::tie(account, credits, held, until); }
};

// An account's quota at one moment. left = max(0, allowance - used - held) of the current window.
struct Balance {
  AccountId account;
  std::string tier;
  GpuTime allowance;
  GpuTime used;
  GpuTime held;
  GpuTime left;
  GpuTime longest;          // the tier's longest cost of one request
  Instant window_opened{};  // 0: no window is open; a fixed one is there whether used or not
  Instant resets_at{};      // 0: no window is open; the next hold opens one
  Instant held_until{};     // when the earliest open hold is sure to be closed; 0: nothing is held
  std::uint32_t open_jobs = 0;
  std::uint32_t jobs_max = 0;
  std::vector<Fit> fits;
  Instant at{};          // ledger time of this balance
  GpuTime credits;       // beyond quota, whatever the window; what is held of them included
  GpuTime credits_held;  // credits parts of open holds
  Advice advice;         // about the app in question, or the one that the account used last
  GroupCredits group;    // the first of its groups that has any free, else the first

  auto fields() {
    return std::tie(account, tier, allowance, used, held, left, longest, window_opened, resets_at,
                    held_until, open_jobs, jobs_max, fits, at, credits, credits_held, advice,
                    group);
  }
};

// Why a request was not admitted, with every number behind it. `sentence` and `hint` are made from
// the other fields by actors/describe.h, once, before the refusal leaves the pool.
struct Refusal {
  Errc code{};
  std::int64_t want = 0;  // in unit_of(code)
  std::int64_t have = 0;
  RequestId request;
  std::string app;
  std::string size;
  std::uint32_t factor = 1;
  Duration declared{};
  GpuTime cost;
  std::string recognised_by;
  Balance balance;
  std::string detail;
  std::string sentence;
  std::string hint;
  Duration first_held{};  // less than `declared`: what `cost` is of, to be extended later

  auto fields() {
    return std::tie(code, want, have, request, app, size, factor, declared, cost, recognised_by,
                    balance, detail, sentence, hint, first_held);
  }
};

enum class Outcome : std::uint8_t { succeeded = 1, failed = 2, expired = 3, cancelled = 4 };
enum class JobState : std::uint8_t { queued = 1, starting = 2, running = 3, ended = 4 };

// A stored result: its content address, size and type, and the node that keeps it.
struct ResultRef {
  std::string hash;  // SHA-256, lower-case hex; empty: no result
  std::int64_t bytes = 0;
  std::string media_type;
  NodeId node;
  auto fields() { return std::tie(hash, bytes, media_type, node); }
};

// What the caller of an external app gets with its lease: where its process may compute, and what
// it shows with `allow` and `release`. Whoever has the token has the lease.
struct Grant {
  SlotIndex slot;
  std::string device;  // for CUDA_VISIBLE_DEVICES: a UUID, or a number
  std::string token;
  bool idle = false;  // a process of the same task is still there, and may be used again
  auto fields() { return std::tie(slot, device, token, idle); }
};

// A process of this machine, as no other one is named as long as this boot lasts.
struct LocalProcess {
  std::int32_t pid = 0;
  std::uint64_t started = 0;  // clock ticks since boot
  auto fields() { return std::tie(pid, started); }
  friend bool operator==(const LocalProcess&, const LocalProcess&) = default;
};

// The account of one finished job. charged + given_back = held, always.
struct Receipt {
  JobId job;
  RequestId request;
  AccountId account;
  std::string tier;
  std::string app;
  std::string size;
  std::uint32_t factor = 1;
  Duration declared{};
  Instant admitted_at{};
  Instant promise{};    // the latest start promised last
  Instant leased_at{};  // of the last attempt; 0: never leased
  Instant ended_at{};
  Duration ran{};  // actual time of the run that was delivered or ended
  GpuTime held;
  GpuTime charged;
  GpuTime given_back;
  GpuTime left;  // after this settle, in the window of the hold if that is still open
  Outcome outcome{};
  Errc cause{};  // 0 unless the outcome has a cause
  std::string detail;
  std::uint32_t attempts = 0;  // leases that this job had
  std::string node;            // name of the node of the last attempt
  ResultRef result;
  ResultRef log;               // what the run wrote, if anything
  GpuTime held_credits;        // how much of `held` were credits
  GpuTime charged_credits;     // how much of `charged` were credits
  std::int32_t exit_code = 0;  // of a command that ended by itself
  std::int32_t signal = 0;     // that ended a command; 0: none
  AccountId credits_from;      // whose the credits were: a group's; empty: its own

  auto fields() {
    return std::tie(job, request, account, tier, app, size, factor, declared, admitted_at, promise,
                    leased_at, ended_at, ran, held, charged, given_back, left, outcome, cause,
                    detail, attempts, node, result, log, held_credits, charged_credits, exit_code,
                    signal, credits_from);
  }
};

// The durable record of an admitted job, and everything needed to queue it again after a restart.
struct Hold {
  JobId job;
  RequestId request;
  std::uint64_t body_hash = 0;
  AccountId account;
  std::string tier;
  Shared<JobRequest> body;  // as a record: without arguments if they lie in a blob
  std::string partition;
  std::uint32_t slots = 1;
  std::uint32_t factor = 1;
  Duration declared{};
  Duration occupancy{};
  std::uint32_t tier_rank = 0;
  std::uint32_t quota_band = 0;  // 0 to 7: left after this hold / allowance in eighths
  Instant promise{};
  GpuTime quota_part;
  GpuTime credits_part;
  Instant window_opened{};
  Instant admitted_at{};
  std::string recognised_by;
  Instant window_ends{};   // of the window that opened then
  Duration learned{};      // what was held at first, to be extended; 0: all of `declared`
  Shared<BlobRef> blob;    // of the request, if it is a large one
  std::string files;       // SHA-256 of the upload that it works on; empty: none
  AccountId credits_from;  // who pays the credits part: a group; empty: the account itself

  const AccountId& credits_account() const {
    return credits_from == AccountId{} ? account : credits_from;
  }
  auto fields() {
    return std::tie(job, request, body_hash, account, tier, body, partition, slots, factor,
                    declared, occupancy, tier_rank, quota_band, promise, quota_part, credits_part,
                    window_opened, admitted_at, recognised_by, window_ends, learned, blob, files,
                    credits_from);
  }
};

// One thing that was changed by somebody: a tier, an app, an account, a node, a token, what is
// announced, the rule of windows, or another setting that quota or turns depend on. `subject` is
// its name ("free", "user:ada", "node-1"), `field` what of it; `before` is empty for what is new,
// `after` for what is gone.
enum class ChangeKind : std::uint8_t {
  tier = 1,
  app = 2,
  account = 3,
  node = 4,
  token = 5,
  announcement = 6,
  window = 7,
  size = 8,
  rate = 9,
  group = 10,
  reservation = 11,
  identity = 12
};

struct Change {
  Instant at{};
  std::string who;  // "operator user:root", "configuration at start", "configuration reloaded"
  ChangeKind kind{};
  std::string subject;
  std::string field;
  std::string before;
  std::string after;
  std::string why;  // the operator's reason, where the command has one
  auto fields() { return std::tie(at, who, kind, subject, field, before, after, why); }
};

// What a cell of a table holds; its text is the machine's form, the reader makes it readable.
enum class CellKind : std::uint8_t {
  text = 1,
  count = 2,     // an integer
  duration = 3,  // milliseconds
  amount = 4,    // milliseconds of quota
  instant = 5,   // milliseconds since 1970, 0: none
  flag = 6       // "0" or "1"
};

struct Column {
  std::string name;  // snake_case, the key in JSON
  CellKind kind = CellKind::text;
  auto fields() { return std::tie(name, kind); }
};

// An answer of the console: what `gpupool accounts`, `nodes` or `queue` prints.
struct Table {
  std::string title;
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;
  std::string note;  // one sentence for people; empty: none
  std::string more;  // what to give as --after for the rows that follow; empty: these are all
  auto fields() { return std::tie(title, columns, rows, note, more); }
};

}  // namespace gpupool
