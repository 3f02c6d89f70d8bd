// The offline audit: what adds up, what does not, and that no row can make it believe or abort.

#include "actors/ledger/audit.h"

#include <functional>

#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob", "pro");

// As a version wrote them that recorded neither the rule of windows nor their ends.
std::vector<Record> without_windows(std::vector<Record> records) {
  for (Record& record : records) {
    if (auto* set = std::get_if<TermsSet>(&record.body)) set->window = {};
    if (auto* opened = std::get_if<HoldOpened>(&record.body)) {
      Hold hold = opened->hold;
      hold.window_ends = {};
      opened->hold = hold;
    }
  }
  return records;
}

// One batch a record, each with good digests.
std::vector<std::string> batches_of(const std::vector<Record>& records) {
  std::vector<std::string> batches;
  JournalTail end;
  for (const Record& record : records) batches.push_back(encode_batch({&record, 1}, {}, end));
  return batches;
}

void read(Audit& audit, const std::vector<std::string>& batches) {
  JournalTail end;
  for (const std::string& batch : batches)
    REQUIRE(read_batch(batch, end, [&audit](const StoredRecord& stored) {
      audit.read(stored);
      return ok();
    }));
}

// A byte of the only record's body: its digest is the last 32.
void damage(std::string& batch) { batch[batch.size() - 33] ^= 1; }

// Two accounts, an old and a new window, a requeue, a change of tier and of terms.
struct Story {
  Story() {
    bench.step(terms_of(bench.config));
    first = bench.hold(ada, seconds(100)).job;
    bench.step(Leased{.epoch = {1}, .job = first, .attempt = 1, .node = {3}, .node_name = "n"});
    bench.step(Requeue{.epoch = {1}, .job = first, .attempt = 1, .promise = noon + seconds(9)});
    bench.step(Restate{.epoch = {1}, .job = first, .promise = noon + seconds(19), .reason = "r"});
    bench.settle(first, seconds(60));
    bench.step(SetAccountTier{.who = "operator user:root", .account = ada.account, .tier = "pro"});
    second = bench.hold(ada, seconds(250)).job;
    bench.now = noon + hours(25);
    bench.settle(bench.hold(bob, seconds(30)).job, Duration{});
    bench.settle(bench.hold(ada, seconds(20)).job, seconds(5));
    bench.settle(second, seconds(20));
    last = bench.hold(bob, seconds(40)).job;
  }

  AuditReport audit(const std::vector<std::string>& batches,
                    std::optional<WindowConfig> window = WindowConfig{}) const {
    Audit audit(bench.config, window);
    read(audit, batches);
    return audit.finish();
  }
  std::vector<std::string> batches() const { return batches_of(bench.records); }
  // The findings after `edit` changed the first record that holds a Body, digests and all.
  template <class Body>
  std::vector<std::string> forged(const std::function<void(Body&)>& edit) const {
    std::vector<Record> records = bench.records;
    for (Record& record : records) {
      auto* body = std::get_if<Body>(&record.body);
      if (body == nullptr) continue;
      edit(*body);
      break;
    }
    return audit(batches_of(records)).findings;
  }

  LedgerBench bench;
  JobId first;
  JobId second;
  JobId last;
};

// Of 70 s a window: 10 s used and given back in part, 600 s granted; a hold of 90 s is 60 s of
// quota and 30 s of credits, and one of 20 s is extended twice.
struct PaidStory {
  PaidStory() : bench(config_with_allowance(seconds(70))) {
    bench.step(terms_of(bench.config));
    bench.settle(bench.hold(ada, seconds(10)).job, seconds(10));
    bench.changed(GrantCredits{.ticket = 2,
                               .who = "operator user:root",
                               .id = id_at(noon, 900),
                               .account = ada.account,
                               .amount = {600'000},
                               .why = "for the workshop"});
    Reserve learned = wish(ada, noon, 901, seconds(80));
    learned.learned = seconds(20);
    const JobId job = reply<Held>(bench.step(learned)).hold->job;
    bench.step(Extend{.epoch = {1}, .job = job, .number = 1, .by = {20'000}});
    bench.step(Extend{.epoch = {1}, .job = job, .number = 2, .by = {30'000}});
    bench.settle(job, seconds(65));
    bench.hold(ada, seconds(90));
    bench.changed(AdjustQuota{.ticket = 3,
                              .who = "operator user:root",
                              .id = id_at(noon, 902),
                              .account = ada.account,
                              .amount = {-4'000},
                              .why = "an outage"});
  }
  AuditReport audit_of(const std::vector<Record>& records) const {
    Audit audit(bench.config, std::nullopt);
    read(audit, batches_of(records));
    return audit.finish();
  }
  AuditReport audit() const { return audit_of(bench.records); }
  template <class Body>
  std::vector<std::string> forged(const std::function<void(Body&)>& edit) const {
    std::vector<Record> records = bench.records;
    for (Record& record : records)
      if (auto* body = std::get_if<Body>(&record.body)) {
        edit(*body);
        break;
      }
    return audit_of(records).findings;
  }

  LedgerBench bench;
};

bool says(const std::vector<std::string>& findings, const std::string& words) {
  REQUIRE_FALSE(findings.empty());
  INFO(findings.front());
  return findings.front().find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("A journal as the ledger wrote it adds up, and its state is the ledger's") {
  const Story story;
  const AuditReport report = story.audit(story.batches());
  CHECK(report.findings == std::vector<std::string>{});
  CHECK(report.rebuilt);
  CHECK(report.records == story.bench.records.size());
  CHECK(report.first == noon);
  CHECK(report.last == noon + hours(25));
  CHECK(report.holds == 5);
  CHECK(report.settled == 4);
  CHECK(report.open == 1);
  CHECK(report.accounts == 2);
  CHECK(report.orders == 2);
  CHECK(report.measured == 5);
  CHECK(report.unmeasured == 0);
  CHECK(report.digest == story.bench.ledger.state_digest());
}

TEST_CASE("An empty journal adds up") {
  const Story story;
  const AuditReport report = story.audit({});
  CHECK(report.findings.empty());
  CHECK(report.records == 0);
}

TEST_CASE("Holds from before the first terms on record cannot be measured, and the audit says so") {
  LedgerBench bench;
  bench.hold(ada);
  Audit audit(bench.config, std::nullopt);
  read(audit, batches_of(bench.records));
  const AuditReport report = audit.finish();
  CHECK(report.findings.empty());
  CHECK(report.measured == 0);
  CHECK(report.unmeasured == 1);
}

TEST_CASE("Every changed byte, lost batch and step back in time is found at its record") {
  const Story story;
  for (std::size_t i = 0; i < story.batches().size(); ++i) {
    const std::string record = "record " + std::to_string(i + 1) + ": ";
    std::vector<std::string> batches = story.batches();
    damage(batches[i]);
    AuditReport report = story.audit(batches);
    CHECK(says(report.findings, record + "is not as it was written"));
    CHECK_FALSE(report.rebuilt);
    CHECK(report.records == batches.size());  // the rest was read all the same
    if (i + 1 == batches.size()) continue;    // a lost end shows in the journal's own tail
    batches = story.batches();
    batches.erase(batches.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK(says(story.audit(batches).findings, "is missing"));
  }
  std::vector<Record> records = story.bench.records;
  records[3].at = records[3].at - milliseconds(1);
  CHECK(says(story.audit(batches_of(records)).findings, "record 4: its time"));
}

TEST_CASE("History that was written anew from one record on is found where it joins the old") {
  const Story story;
  std::vector<std::string> batches = story.batches();
  std::vector<Record> records = story.bench.records;
  std::size_t place = 0;
  while (!std::holds_alternative<PromiseRestated>(records[place].body)) ++place;
  std::get<PromiseRestated>(records[place].body).reason = "another";
  // It fits the records before it; the next one was chained to the honest one.
  batches[place] = batches_of(records)[place];
  CHECK(says(story.audit(batches).findings,
             "record " + std::to_string(place + 2) + ": is not as it was written, or not what"));
}

TEST_CASE("Two damaged records are two findings") {
  const Story story;
  std::vector<std::string> batches = story.batches();
  damage(batches[2]);
  damage(batches[5]);
  const auto findings = story.audit(batches).findings;
  REQUIRE(findings.size() == 2);
  CHECK(findings[0].substr(0, 9) == "record 3:");
  CHECK(findings[1].substr(0, 9) == "record 6:");
}

TEST_CASE("A record of a kind that this program does not know is said to be one") {
  const Story story;
  Audit audit(story.bench.config, story.bench.config.window);
  audit.read({.sequence = 1, .at = noon, .body = "\x92\x63\xc0"});  // alternative 99
  CHECK(says(audit.finish().findings, "record 1: is of a kind that this gpupool cannot read"));
}

TEST_CASE("A forged record with a good digest is found by the books it breaks") {
  const Story story;
  const auto hold = [&story](const std::function<void(Hold&)>& edit) {
    return story.forged<HoldOpened>([&edit](HoldOpened& opened) {
      Hold forged = opened.hold;
      edit(forged);
      opened.hold = forged;
    });
  };
  const auto settle = [&story](const std::function<void(HoldSettled&)>& edit) {
    return story.forged<HoldSettled>(edit);
  };
  CHECK(says(hold([](Hold& h) { h.job = {77}; }), "calls itself job 77"));
  CHECK(says(hold([](Hold& h) { h.quota_part = {99'999}; }), "not the cost of its duration"));
  CHECK(says(hold([](Hold& h) { h.quota_part = {-1}; }), "negative"));
  CHECK(says(hold([](Hold& h) { h.declared = Duration{INT64_MAX}; }), "none that a pool can"));
  CHECK(says(hold([](Hold& h) { h.factor = 0; }), "none that a pool can"));
  CHECK(says(hold([](Hold& h) { h.credits_part = {INT64_MAX}; }), "parts"));
  CHECK(says(hold([](Hold& h) { h.request.high = 0; }), "too old"));
  CHECK(says(hold([](Hold& h) { h.window_opened = noon - hours(1); }), "window"));
  CHECK(says(hold([](Hold& h) { h.admitted_at = {}; }), "was not admitted when"));
  CHECK(says(settle([](HoldSettled& s) { s.job = {999}; }), "settles job 999"));
  CHECK(says(settle([](HoldSettled& s) { s.charged_quota = {100'001}; }), "were held"));
  CHECK(says(settle([](HoldSettled& s) { s.charged_quota = {-5}; }), "of quota"));
  CHECK(says(settle([](HoldSettled& s) { s.charged_quota = {59'999}; }), "instead of 60.0 s"));
  CHECK(says(settle([](HoldSettled& s) { s.ran = Duration{INT64_MAX}; }), "instead of 100.0 s"));
  CHECK(says(settle([](HoldSettled& s) { s.cause = Errc::node_lost; }), "the pool was at fault"));
  CHECK(says(story.forged<LeaseNoted>([](LeaseNoted& l) { l.job = {5}; }), "leases job 5"));
  CHECK(says(story.forged<JobRequeued>([](JobRequeued& r) { r.job = {5}; }), "queues job 5 again"));
  CHECK(says(story.forged<PromiseRestated>([](PromiseRestated& r) { r.job = {5}; }), "job 5"));
  CHECK(says(story.forged<EpochRaised>([](EpochRaised& e) { e.epoch = {}; }), "epoch"));
  CHECK(says(story.forged<AccountTierSet>([](AccountTierSet& s) { s.tier = "free"; }),
             "an operator had set tier free"));
  CHECK(says(story.forged<TermsSet>([](TermsSet& s) { s.tiers[1].allowance = {99'999}; }),
             "more than the 99.999 s of tier free"));
  CHECK(says(story.forged<TermsSet>([](TermsSet& s) { s.tiers.clear(); }), "did not have then"));
}

TEST_CASE("A scope tells the differences of one account or time, and counts the others") {
  const Story story;
  std::vector<Record> records = story.bench.records;
  for (Record& record : records)
    if (auto* settled = std::get_if<HoldSettled>(&record.body)) settled->cause = Errc::node_lost;
  const auto audit = [&](AuditScope scope) {
    Audit audit(story.bench.config, story.bench.config.window, std::move(scope));
    read(audit, batches_of(records));
    return audit.finish();
  };
  const AuditReport all = audit({});
  REQUIRE(all.findings.size() > 2);
  CHECK(all.beyond_scope == 0);
  const AuditReport of_bob = audit({.account = bob.account});
  CHECK(of_bob.findings.size() < all.findings.size());
  CHECK(of_bob.findings.size() + of_bob.beyond_scope == all.findings.size());
  const AuditReport late = audit({.since = noon + hours(1)});
  CHECK(late.findings.size() + late.beyond_scope == all.findings.size());
  CHECK(late.beyond_scope > 0);
  CHECK(audit({.since = noon + hours(99)}).findings.empty());
}

TEST_CASE("A hold that is settled twice or admitted twice is found") {
  const Story story;
  std::vector<Record> records = story.bench.records;
  Record again;
  for (const Record& record : records)
    if (std::holds_alternative<HoldSettled>(record.body)) again = record;
  again.sequence = records.size() + 1;
  again.at = records.back().at;
  records.push_back(again);
  CHECK(says(story.audit(batches_of(records)).findings, "settled before"));

  records.pop_back();
  Hold twice = std::get<HoldOpened>(records.back().body).hold;
  twice.job = {records.size() + 1};
  again.body = HoldOpened{.hold = twice};
  records.push_back(again);
  CHECK(says(story.audit(batches_of(records)).findings, "was admitted before"));
}

TEST_CASE("In a journal that does not say when windows end, their length is the configuration's") {
  const Story story;
  const auto batches = batches_of(without_windows(story.bench.records));
  const AuditReport unknown = story.audit(batches, std::nullopt);
  CHECK(unknown.findings.empty());
  CHECK(unknown.windowless == 5);
  CHECK(story.audit(batches).findings.empty());
  CHECK(story.audit(batches).windowless == 0);
  CHECK(says(story.audit(batches, WindowConfig{.length = hours(26)}).findings,
             "before the last one ended"));
  LedgerBench bench;
  bench.settle(bench.hold(ada, seconds(5)).job, seconds(5));
  bench.now = noon + hours(2);
  bench.hold(ada, seconds(5));
  Audit audit(bench.config, WindowConfig{.length = hours(1)});
  read(audit, batches_of(without_windows(bench.records)));
  CHECK(says(audit.finish().findings, "window had ended"));
}

TEST_CASE("With their rule on record, windows are judged without any configuration") {
  Story story;
  CHECK(story.audit(story.batches(), std::nullopt).windowless == 0);
  const auto hold = [&story](const std::function<void(Hold&)>& edit) {
    return story.forged<HoldOpened>([&edit](HoldOpened& opened) {
      Hold forged = opened.hold;
      edit(forged);
      opened.hold = forged;
    });
  };
  CHECK(says(hold([](Hold& h) { h.window_ends = noon + hours(25); }), "not the one of the rule"));
  CHECK(says(story.forged<TermsSet>([](TermsSet& s) { s.window.kind = WindowKind::fixed; }),
             "not the one of the rule"));
  CHECK(says(story.forged<TermsSet>([](TermsSet& s) { s.window.length = hours(-1); }),
             "none that a pool can have"));
}

TEST_CASE("A forged grant, adjustment or extension is found by the books it breaks") {
  const PaidStory story;
  CHECK(story.audit().findings == std::vector<std::string>{});
  CHECK(story.audit().extensions == 2);
  const auto grant = [&](const std::function<void(CreditsGranted&)>& edit) {
    return story.forged<CreditsGranted>(edit);
  };
  CHECK(says(grant([](CreditsGranted& g) { g.before = {5}; }), "had 0.005 s of credits"));
  CHECK(says(grant([](CreditsGranted& g) { g.after = {99'000}; }), "and has 99.0 s"));
  CHECK(says(grant([](CreditsGranted& g) { g.amount = {}; }), "no amount"));
  CHECK(says(grant([](CreditsGranted& g) { g.changes.front().who = ""; }), "does not say who"));
  CHECK(says(grant([](CreditsGranted& g) { g.changes.front().why = ""; }), "does not say who"));
  CHECK(says(grant([](CreditsGranted& g) { g.changes.clear(); }), "does not say who"));
  CHECK(says(grant([](CreditsGranted& g) { g.id = id_at(noon - hours(49), 1); }), "too old"));
  CHECK(says(grant([](CreditsGranted& g) {
               g.amount = {60'000};  // so that less is there than the hold took
               g.after = {60'000};
             }),
             "that were granted and free"));
  const auto adjust = [&](const std::function<void(QuotaAdjusted&)>& edit) {
    return story.forged<QuotaAdjusted>(edit);
  };
  CHECK(says(adjust([](QuotaAdjusted& a) { a.window_opened = noon - hours(3); }), "not open"));
  CHECK(says(adjust([](QuotaAdjusted& a) { a.before = {1}; }), "had 0.001 s used"));
  CHECK(says(adjust([](QuotaAdjusted& a) {
               a.amount = {-80'000};
               a.after = {-10'000};
             }),
             "more than was used"));
  CHECK(says(adjust([](QuotaAdjusted& a) {
               a.amount = {500'000};
               a.after = {570'000};
             }),
             "more than tier free allows"));
  const auto extend = [&](const std::function<void(HoldExtended&)>& edit) {
    return story.forged<HoldExtended>(edit);
  };
  CHECK(says(extend([](HoldExtended& e) { e.job = {77}; }), "extends the hold of job 77"));
  CHECK(says(extend([](HoldExtended& e) { e.number = 2; }), "does not follow 0"));
  CHECK(says(extend([](HoldExtended& e) { e.quota_part = {90'000}; }), "were not held"));
  CHECK(says(extend([](HoldExtended& e) { e.quota_part = {-1}; }), "were not held"));
  CHECK(says(extend([](HoldExtended& e) { e.tier = "pro"; }), "instead of tier free"));
  CHECK(says(extend([](HoldExtended& e) { e.quota_part = {25'000}; }), "more than the 70.0 s"));
  CHECK(says(extend([](HoldExtended& e) {
               e.credits_part = e.quota_part;
               e.quota_part = {};
             }),
             "of quota left"));
}

TEST_CASE("A grant that is on record twice is found") {
  const PaidStory story;
  std::vector<Record> records = story.bench.records;
  for (const Record& record : story.bench.records)
    if (const auto* granted = std::get_if<CreditsGranted>(&record.body)) {
      CreditsGranted again = *granted;
      again.before = {600'000};
      again.after = {1'200'000};
      records.push_back(
          {.sequence = records.size() + 1, .at = records.back().at, .body = std::move(again)});
    }
  CHECK(says(story.audit_of(records).findings, "was given before"));
}

TEST_CASE("Findings are counted beyond the most that are told") {
  const Story story;
  Audit audit(story.bench.config, story.bench.config.window);
  for (std::size_t i = 0; i < Audit::findings_max + 5; ++i)
    audit.read({.sequence = i + 1, .at = noon, .intact = false});
  const AuditReport report = audit.finish();
  CHECK(report.findings.size() == Audit::findings_max);
  CHECK(report.more_findings == 5);
}

TEST_CASE("A time beyond the year 9999 is a finding, and nothing is reckoned with it") {
  const Story story;
  std::vector<Record> records = story.bench.records;
  records.back().at = Instant::never();
  const AuditReport report = story.audit(batches_of(records));
  REQUIRE(report.findings.size() == 1);
  CHECK(report.findings.front() ==
        "record " + std::to_string(records.size()) + ": its time is beyond the year 9999");
  CHECK_FALSE(report.rebuilt);
  CHECK(report.last == noon + hours(25));
}
