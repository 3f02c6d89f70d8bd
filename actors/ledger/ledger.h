#pragma once
// Ledger: the quota state of a pool (design section 2), a pure state machine. It owns accounts with
// their windows and holds and the remembered request ids. What is over is not its business:
// receipts, stories and usage are read from the journal by its history (history.h), which answers
// questions about them, and tells the ledger what became of a closed job when a request or a settle
// is repeated. decide() is const and may refuse; apply() changes the state and cannot fail; step()
// is decide, then apply, then the answer. A restart applies the journal's records with the same
// apply(), and then is where it was: nothing that only a configuration or a clock knows enters the
// state, but for the length of windows in journals that are older than the recording of their ends.
// No clock, I/O, threads.
//
// The order in which a request is checked: the numbers of base/errors.def. The broker's verdict
// comes in Reserve::verdict and takes its place between the ledger's own checks, which are the tier
// (unauthenticated), id_expired, the known id (AlreadyHeld or id_reused), the app's tiers
// (forbidden), the tier's longest cost (illegal_duration), too_many_jobs, the table of ids and the
// number of large requests (both overloaded), and quota_exceeded.
//
// The terms that count are the recorded ones, so that no change of them takes effect before it is
// on record; until terms are recorded for the first time, the configuration's. A tier that an
// operator set for an account counts before the one that its caller comes with.
//
// A command of another epoch than the current one is answered LedgerRefused{stale_epoch}, a Reserve
// with job 0: that broker has lost the lead and everything that it waits for.

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "actors/effects.h"
#include "actors/learned.h"
#include "actors/ledger/account.h"
#include "actors/ledger/order_ids.h"
#include "actors/ledger/request_table.h"
#include "actors/ledger/row_table.h"
#include "actors/ledger/snapshot.h"
#include "actors/ledger/standing_orders.h"
#include "actors/ledger/undo_table.h"
#include "actors/ledger/window_rule.h"
#include "config/limits.h"

namespace gpupool {

// What a ledger keeps in memory at most; smaller in tests.
struct LedgerBounds {
  std::int64_t requests_max = limits::requests_max;
  std::int64_t refusals_max = limits::refusals_remembered_max;
  std::int64_t blobs_max = limits::blobs_max;
  OrderBounds orders = {};
  std::int64_t orders_remembered_max = limits::orders_remembered_max;
};

class Ledger {
 public:
  // `config` outlives the ledger, as does every one given to use().
  explicit Ledger(const Config& config, LedgerBounds bounds = {});
  void use(const Config& config) { config_ = &config; }

  // The state after this record, live or replayed. Its sequence follows the last one.
  void apply(const Record& record);

  // Effects: the records behind the answers, applied already and not yet durable, then the answers.
  // A `now` before the last record counts as the time of that record.
  Effects step(Instant now, const ToLedger& message);
  void step(Instant now, const ToLedger& message, Effects& effects);  // adds to what is there

  // A refusal of this request with the account's numbers at `now`, remembered for explain.
  NotHeld refuse(Instant now, const Reserve& reserve, const Error& why);
  Refusal refusal_of(Instant now, const Reserve& reserve, const Error& why) const;

  // Everything after begin_batch() can be undone, until it is kept (actors/ledger/group_commit.h).
  void begin_batch();
  void keep_batch();
  void undo_batch();

  // The whole state, for a snapshot (ledger_snapshot.cpp), and a new ledger's from it. False: these
  // rows are of no ledger, and this one must not be used.
  void write_state(RowWriter& out) const;
  bool read_state(RowReader& in);

  Balance balance(Instant now, const AccountId& account, const std::string& tier) const;
  const StandingOrders& orders() const { return orders_; }
  std::vector<OpenHold> open_holds() const;  // in order of arrival
  std::vector<Shared<Hold>> holds_with_blobs() const;
  // Likewise of those that work on an upload.
  std::vector<Shared<Hold>> holds_with_files() const;
  Epoch epoch() const { return core_.epoch; }
  std::uint64_t last_sequence() const { return core_.sequence; }
  Instant last_record() const { return core_.at; }
  const Account* account(const AccountId& id) const;  // nullptr: it has none here
  std::size_t account_count() const { return accounts_.size(); }
  std::size_t request_count() const { return requests_.size(); }

  // Every invariant of design 2.6 that the state alone can break, in words; empty: all hold. Walks
  // everything: for tests, the simulator and audits.
  std::vector<std::string> check_invariants() const;
  // Equal for equal states. Refusals are not state: they are not journaled.
  std::uint64_t state_digest() const;

 private:
  using AccountNumber = std::uint32_t;  // of its row

  struct AccountRow {
    AccountId id;
    Account account;
    auto fields() { return std::tie(id, account); }
    const AccountId& key() const { return id; }
    static std::uint64_t hash_of(const AccountId& id) { return IdHash{}(id); }
  };

  struct OpenJob {
    Shared<Hold> hold;
    AccountNumber account = 0;
    Instant promise{};
    std::uint32_t attempt = 0;   // the last one known: leased or lost
    std::uint32_t requeued = 0;  // the last one reported lost
    std::uint32_t losses = 0;    // how many were
    bool leased = false;
    Instant leased_at{};
    NodeId node;
    std::string node_name;
    Parts extended;                // what extensions added to the hold
    std::uint32_t extensions = 0;  // how many there were
    Parts held() const {
      return {hold->quota_part + extended.quota, hold->credits_part + extended.credits};
    }
    auto fields() {
      return std::tie(hold, promise, attempt, requeued, losses, leased, leased_at, node, node_name,
                      extended, extensions);
    }
    JobId key() const { return hold->job; }
    static std::uint64_t hash_of(JobId job) { return job.value; }
  };

  // What counts of a tier.
  struct TierLimits {
    GpuTime allowance;
    GpuTime longest;
    std::uint32_t rank = 0;
    std::uint32_t jobs_max = 0;
  };

  // The state that is not a table; small, so that a batch keeps a copy.
  struct Core {
    std::uint64_t sequence = 0;
    Instant at{};
    Epoch epoch;
    Instant forgotten_before{};  // ids made before this are remembered only while their job is open
    std::int64_t blobs = 0;      // open holds whose requests lie beside the records
    auto fields() { return std::tie(sequence, at, epoch, forgotten_before, blobs); }
  };

  // What a Reserve leads to: a hold, or the job that its id already has.
  struct Admission {
    JobId known;  // 0: the id is new
    TierLimits tier;
  };

  // An account that a refusal or a question is about, with the request's app if it named a known
  // one; without any, the one that the account used last.
  struct Question {
    const AccountId& account;
    const std::string& tier;
    Duration app_longest{};
    const std::string* app = nullptr;
    std::uint32_t factor = 1;
  };
  // Whose credits pay for what quota does not.
  struct Purse {
    AccountId group;  // empty: the account's own
    GpuTime free;
  };
  // A run that counts for what is learned.
  struct EndedRun {
    Shared<Hold> hold;
    Duration ran{};
  };

  // ledger.cpp: commands.
  void handle(Instant, const Tick&, Effects&) const {}
  // Its group commit answers these.
  void handle(Instant, const ReadJournal&, Effects&) const {}
  void handle(Instant, const StoreUpload&, Effects&) const {}
  void handle(Instant, const FetchFiles&, Effects&) const {}
  void handle(Instant now, const Lead& lead, Effects& effects);
  void handle(Instant now, const Reserve& asked, Effects& effects);
  void admit(Instant now, const Reserve& reserve, const Account* account, Effects& effects);
  void answer_again(Instant now, const Reserve& reserve, JobId job, Effects& effects) const;
  void handle(Instant now, const Leased& leased, Effects& effects);
  void handle(Instant now, const Requeue& requeue, Effects& effects);
  void handle(Instant now, const Restate& restate, Effects& effects);
  void handle(Instant now, const Settle& settle, Effects& effects);
  void handle(Instant now, const Recalled& recalled, Effects& effects) const;
  void record(Instant now, RecordBody body, Effects& effects);
  const OpenJob* job_of_command(Epoch epoch, JobId job, Effects& effects) const;

  // ledger_decide.cpp: admission and its numbers. `account` is the caller's, nullptr: it has none.
  Result<Admission> decide(Instant now, const Reserve& reserve, const Account* account) const;
  Result<TierLimits> tier_of_caller(const Reserve& reserve) const;
  Result<JobId> known_id(Instant now, const Reserve& reserve) const;  // 0: the id is new
  std::optional<Error> refused_terms(Instant now, const Reserve& reserve, const TierLimits& tier,
                                     const Account* account) const;
  Reserve within_tier(Instant now, const Reserve& reserve, const Account* account) const;
  bool table_is_full(Instant now) const;
  std::optional<Error> no_room_for(const JobRequest& request) const;
  Error tier_missing(const Caller& caller) const;
  std::optional<Error> app_closed_to(const std::string& app, const std::string& tier) const;
  static std::optional<Error> illegal_duration(const Reserve& reserve, const TierLimits& tier);
  static Duration longest_allowed(const TierLimits& tier, Duration app_longest,
                                  std::uint32_t factor);
  std::optional<Error> quota_missing(Instant now, const Reserve& reserve, const TierLimits& tier,
                                     const Account* account) const;
  Hold hold_for(Instant now, const Reserve& reserve, const TierLimits& tier,
                const Account* account) const;
  Purse purse_for(Instant now, const AccountId& account, GpuTime needed) const;
  GroupCredits group_credits(Instant now, const AccountId& account) const;
  bool shares(Instant now, const Hold& hold) const;
  HoldSettled settle_for(Instant now, const Settle& settle, const OpenJob& job) const;
  GpuTime left_after(Instant now, const Account& account, const Hold& hold,
                     const Closing& closing) const;
  WindowTerms window_rule() const;
  WindowSpan window_of_next_hold(Instant now, const Account* account) const;
  Instant end_of_window(const Hold& hold) const;
  Balance balance_for(Instant now, const Question& question) const;
  Advice advice_for(const Question& question, GpuTime payable) const;
  Instant held_until(const Account& account) const;

  // ledger_answers.cpp: questions.
  void handle(Instant now, const QuotaQuery& query, Effects& effects) const;
  void handle(Instant now, const ReceiptsQuery& query, Effects& effects) const;
  void handle(Instant now, const ReceiptQuery& query, Effects& effects) const;
  void handle(Instant now, const ExplainQuery& query, Effects& effects) const;
  void handle(Instant now, const UsageQuery& query, Effects& effects) const;
  void handle(Instant now, const QuoteQuery& query, Effects& effects) const;

  // ledger_orders.cpp: what operators set, what they ask, and what follows from it.
  void handle(Instant now, const Configure& command, Effects& effects);
  void handle(Instant now, const SetAccountTier& command, Effects& effects);
  void handle(Instant now, const RevokeToken& command, Effects& effects);
  void handle(Instant now, const SetDraining& command, Effects& effects);
  void handle(Instant now, const Announce& command, Effects& effects);
  void obey(Instant now, std::uint64_t ticket, StandingOrders::Decision decision, Effects& effects);
  void handle(Instant now, const Shapes& shapes, Effects& effects);
  void handle(Instant now, const StandingQuery& query, Effects& effects) const;
  void handle(Instant now, const AccountsQuery& query, Effects& effects) const;
  void handle(Instant now, const AuditQuery& query, Effects& effects) const;
  void handle(Instant now, const ChangesQuery& query, Effects& effects) const;
  std::optional<TierLimits> limits_of(const std::string& tier) const;
  std::vector<std::string> tier_names() const;
  const std::vector<std::string>* tiers_of_app(const std::string& app) const;
  const std::string& tier_of(const AccountId& account, const std::string& otherwise) const;
  std::string recognised_by(const Caller& caller) const;
  bool is_offered(const SizeConfig& size) const;

  // ledger_credits.cpp: what operators order once, by its id.
  void handle(Instant now, const GrantCredits& command, Effects& effects);
  void handle(Instant now, const AdjustQuota& command, Effects& effects);
  template <class Command>
  void obey_once(Instant now, const Command& command, Effects& effects);
  Result<RecordBody> decide(Instant now, const GrantCredits& command) const;
  Result<RecordBody> decide(Instant now, const AdjustQuota& command) const;
  void enact(const CreditsGranted& granted, Instant at);
  void enact(const QuotaAdjusted& adjusted, Instant at);

  // ledger_extend.cpp: more for an open job.
  void handle(Instant now, const Extend& extend, Effects& effects);
  Result<HoldExtended> decide(Instant now, const Extend& extend, const OpenJob& job) const;
  void enact(const HoldExtended& extended, Instant at);

  // ledger_apply.cpp: records.
  void enact(const EpochRaised& raised, Instant at);
  void enact(const HoldOpened& opened, Instant at);
  void enact(const LeaseNoted& noted, Instant at);
  void enact(const JobRequeued& requeued, Instant at);
  void enact(const PromiseRestated& restated, Instant at);
  void enact(const HoldSettled& settled, Instant at);
  Account& credits_account(const Hold& hold, AccountNumber own);
  void learn(const EndedRun& run) {
    learned_.note(run.hold->account, run.hold->body->app, run.ran);
  }
  template <class Order>
  void enact(const Order& order, Instant) {
    orders_.enact(order);
  }
  void forget_expired_ids(Instant at);
  static Instant forgettable_before(Instant now);
  void drop_ended_anonymous(Instant at);
  void drop_if_done(AccountNumber number, Instant at);

  // ledger_check.cpp: what must always hold.
  class Findings;
  std::map<AccountId, Account> check_open_jobs(Findings& findings) const;
  void check_accounts(Findings& findings, const std::map<AccountId, Account>& sums) const;
  static void check_windows(Findings& findings, const AccountId& id,
                            const Account::Windows& windows, const Account& sum);

  const Config* config_;
  LedgerBounds bounds_;
  Core core_;
  RowTable<AccountRow> accounts_;
  RowTable<OpenJob> open_;
  RequestTable requests_;
  // Anonymous accounts by the end of their latest window: when to look whether they can go.
  UndoTable<std::pair<Instant, AccountId>, std::monostate> anonymous_;
  StandingOrders orders_;
  OrderIds order_ids_;
  LearnedDurations learned_;
  std::vector<EndedRun> ended_runs_;  // in the batch: learned once it is kept
  bool in_batch_ = false;
  std::deque<Refusal> refusals_;  // the newest last
  // The sizes that there is a shape for. Not state: the broker says so again after every start.
  std::optional<std::vector<std::string>> shapes_;
  Core core_before_;  // the batch
  std::size_t refusals_in_batch_ = 0;
};

}  // namespace gpupool
