#pragma once
// Audit: reads a journal record by record and says whether the books add up. It keeps books of its
// own, plainly, from the rules of design 2 and not from the code that follows them, and compares
// the ledger's with them at the end. It judges what records say and never trusts it: one that the
// ledger could not have written is a finding, and from there on only digests, order and times are
// looked at. Pure; one thread.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/ledger/batch.h"
#include "actors/ledger/ledger.h"

namespace gpupool {

struct AuditReport {
  std::uint64_t records = 0;
  Instant first{};  // times of the first and the last record
  Instant last{};
  std::uint64_t holds = 0;  // opened
  std::uint64_t settled = 0;
  std::uint64_t open = 0;
  std::uint64_t extensions = 0;  // of open holds, and of those that were settled since
  std::uint64_t blobs = 0;       // requests of open holds that lie beside the records
  std::uint64_t accounts = 0;
  std::uint64_t orders = 0;      // changes by operators and configurations
  std::uint64_t measured = 0;    // quota holds that were measured against their tier's allowance
  std::uint64_t unmeasured = 0;  // those that are older than the first recorded terms
  std::uint64_t windowless = 0;  // holds whose window could not be judged: no rule was known
  std::uint64_t digest = 0;      // of the rebuilt state
  bool rebuilt = false;          // every record could be replayed, and the state was compared
  std::vector<std::string> findings;  // the first ones, at most findings_max
  std::uint64_t more_findings = 0;    // how many more there are
  std::uint64_t beyond_scope = 0;     // differences that were not asked for
  Digest history{};                   // of the last record: it vouches for all before it
};

// Which differences are told. Records that are damaged or could not have been written are told
// always: nothing that follows them can be judged.
struct AuditScope {
  Instant since{};    // of records before this, none
  AccountId account;  // empty: everybody's
};

class Audit {
 public:
  static constexpr std::size_t findings_max = limits::table_rows_max;

  // `window`: the rule of windows until one is on record, if it is known; `config` has it then too.
  Audit(const Config& config, std::optional<WindowConfig> window, AuditScope scope = {});

  void read(const StoredRecord& stored);
  // After the last record: the open holds whose requests lie beside the records, and those requests
  // (empty: it is not there). None where the records could not be judged to their end.
  std::vector<JobId> blobs_wanted() const;
  void read_blob(JobId job, std::string_view bytes);
  AuditReport finish();

 private:
  struct OpenHold {
    AccountId account;
    RequestId request;
    GpuTime quota;
    GpuTime credits;
    GpuTime declared;  // what it may hold at most
    std::uint32_t factor = 1;
    std::uint32_t extensions = 0;
    Instant window{};
    Shared<BlobRef> blob;
    AccountId credits_account{};  // who pays its credits
  };
  struct Sums {
    GpuTime used;
    GpuTime held;
    std::uint64_t open = 0;
    Instant ends{};  // 0: not known
  };
  struct Book {
    std::map<Instant, Sums> windows;  // by their opening
    Instant current{};                // the newest; 0: it was forgotten
    Instant latest{};                 // the newest there ever was
    Instant latest_ends{};            // 0: not known
    GpuTime credits;
    GpuTime credits_held;
    std::string tier;  // that its caller came with last
  };

  // A finding that the ledger cannot be replayed over, and one that it can.
  void broken(const std::string& what);
  void differs(const std::string& what);
  void find(const std::string& what);
  bool require(bool holds, const std::string& what);

  void judge(const EpochRaised& raised);
  void judge(const HoldOpened& opened);
  void judge(const LeaseNoted& noted);
  void judge(const JobRequeued& requeued);
  void judge(const PromiseRestated& restated);
  void judge(const HoldSettled& settled);
  void judge(const TermsSet& set);
  void judge(const AccountTierSet& set);
  void judge(const TokenRevoked&) { ++report_.orders; }
  void judge(const DrainingSet&) { ++report_.orders; }
  void judge(const AnnouncementSet&) { ++report_.orders; }
  void judge(const CreditsGranted& granted);
  void judge(const QuotaAdjusted& adjusted);
  void judge(const HoldExtended& extended);
  template <class Order>
  bool is_sound_order(const Order& order, GpuTime before, const char* what);
  static void forget_address(const AccountId& account, Instant latest, Book& book);
  bool is_well_formed(const Hold& hold);
  bool is_new_request(const Hold& hold);
  bool has_credits(const Hold& hold);
  void enter(const Hold& hold);
  void judge_window(const Hold& hold, const Book& book);
  void measure(const AccountId& account, const std::string& tier, const Sums& sums,
               const Parts& taken);
  const std::string& tier_of(const AccountId& account) const;
  void judge_charge(const HoldSettled& settled, const OpenHold& hold);
  void forget_requests();
  void compare();

  AccountId account_of(const RecordBody& body) const;

  std::optional<WindowTerms> window_;  // the rule that holds, as far as it is known
  const AuditScope scope_;
  Ledger ledger_;
  AuditReport report_;
  bool is_broken_ = false;
  std::uint64_t sequence_ = 0;  // of the record that is looked at
  Instant at_{};
  Instant before_{};     // of the record before it
  AccountId concerned_;  // by the record that is looked at; empty: nobody alone
  Epoch epoch_;
  std::map<JobId, OpenHold> open_;
  std::map<AccountId, Book> books_;
  std::set<std::pair<RequestId, AccountId>> requests_;  // of the last 48 hours
  std::set<RequestId> orders_;                          // of grants and adjustments; likewise
  std::optional<std::map<std::string, GpuTime>> allowances_;
  std::map<AccountId, std::string> account_tiers_;
};

}  // namespace gpupool
