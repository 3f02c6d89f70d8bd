// What leaves the ledger leaves after its commit, and a refused commit leaves no trace.

#include "actors/ledger/group_commit.h"

#include "actors/ledger/journal_memory.h"
#include "ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob");
const ClockStamp stamp{.wall = noon, .boot = {5'000}, .boot_id = "boot-1"};

struct Shell {
  explicit Shell(JournalMemory& journal) : commits(config, journal) { REQUIRE(commits.recover()); }

  std::vector<Send> commit(Instant now = noon) { return commit_of({}, now); }
  std::vector<Send> commit_of(const std::vector<ToLedger>& messages, Instant now = noon) {
    auto effects = committed(commits, messages, now);
    CHECK(effects.journal.empty());
    CHECK_FALSE(commits.waiting());
    CHECK(commits.ledger().check_invariants().empty());
    return std::move(effects.send);
  }

  Config config = default_config();
  GroupCommit commits;
};

template <class Message>
const Message& at(const std::vector<Send>& sent, std::size_t place) {
  REQUIRE(place < sent.size());
  const Message* found = message_in<Message>(sent[place].message);
  REQUIRE(found != nullptr);
  return *found;
}

QuotaQuery quota_of(const Caller& who) { return {.session = {1}, .query = 1, .caller = who}; }

}  // namespace

TEST_CASE("A batch is one append and its answers keep their order") {
  JournalMemory journal;
  Shell shell(journal);
  CHECK_FALSE(shell.commits.waiting());
  shell.commit_of({Lead{}});
  const auto sent = shell.commit_of({wish(ada, noon, 1), quota_of(ada), wish(bob, noon, 2)});
  CHECK(journal.batches().size() == 2);
  CHECK(journal.tail()->sequence == 3);
  REQUIRE(sent.size() == 3);
  CHECK(at<Held>(sent, 0).hold->job == JobId{2});
  CHECK(at<QuotaFound>(sent, 1).answer.balance.held == GpuTime{60'000});
  CHECK(at<Held>(sent, 2).hold->job == JobId{3});
}

TEST_CASE("Questions alone need no append") {
  JournalMemory journal;
  Shell shell(journal);
  CHECK(shell.commit_of({quota_of(ada)}).size() == 1);
  CHECK(journal.batches().empty());
}

TEST_CASE("A cleanly refused batch leaves no trace and every admission is answered") {
  JournalMemory journal;
  Shell shell(journal);
  shell.commit_of({Lead{}, wish(ada, noon, 1)});
  const std::uint64_t digest = shell.commits.ledger().state_digest();
  journal.set_fault(JournalFault::refused);
  const auto sent = shell.commit_of(
      {wish(ada, noon, 2), quota_of(ada), Settle{.epoch = {1}, .job = {2}, .ran = seconds(5)},
       wish(ada, noon, 1), wish(bob, noon, 3, seconds(4'000)), Lead{}});
  CHECK(shell.commits.ledger().state_digest() == digest);
  REQUIRE(shell.commits.refusal());
  REQUIRE(sent.size() == 4);
  const Refusal& refusal = at<NotHeld>(sent, 0).refusal;
  CHECK(refusal.code == Errc::ledger_unavailable);
  CHECK(refusal.detail == shell.commits.refusal()->detail);
  CHECK(refusal.cost == GpuTime{60'000});
  CHECK(refusal.balance.held == GpuTime{60'000});
  CHECK(at<QuotaFound>(sent, 1).answer.balance.held == GpuTime{60'000});
  CHECK(at<AlreadyHeld>(sent, 2).job == JobId{2});
  CHECK_FALSE(at<AlreadyHeld>(sent, 2).closed);
  CHECK(at<NotHeld>(sent, 3).refusal.code == Errc::illegal_duration);
}

TEST_CASE("A refusal for quota that only an undone hold caused is not given") {
  JournalMemory journal;
  Shell shell(journal);
  shell.commit_of({Lead{}});
  journal.set_fault(JournalFault::refused);
  const auto sent =
      shell.commit_of({wish(ada, noon, 1, seconds(180)), wish(ada, noon, 2, seconds(60)),
                       ExplainQuery{.account = ada.account, .request = id_at(noon, 2)}});
  CHECK(at<NotHeld>(sent, 1).refusal.code == Errc::ledger_unavailable);
  CHECK(at<NotHeld>(sent, 1).refusal.balance.left == GpuTime{210'000});
  for (const Refusal& refusal : at<StoryAsked>(sent, 2).refusals)
    CHECK(refusal.code != Errc::quota_exceeded);
}

TEST_CASE("On a full disk the reserve takes settles, and nothing else") {
  JournalMemory journal;
  journal.set_reserve(1);
  Shell shell(journal);
  shell.commit_of({Lead{}, wish(ada, noon, 1)});
  const Settle settle{.epoch = {1}, .job = {2}, .ran = seconds(5)};
  const Leased leased{.epoch = {1}, .job = {2}, .attempt = 1};
  journal.set_fault(JournalFault::refused);
  const auto sent = shell.commit_of({wish(bob, noon, 2), leased, settle, quota_of(ada)});
  REQUIRE(shell.commits.refusal());
  REQUIRE(sent.size() == 4);
  CHECK(at<Settled>(sent, 0).settled.charged_quota == GpuTime{5'000});
  CHECK(at<NotHeld>(sent, 1).refusal.code == Errc::ledger_unavailable);
  CHECK(at<LedgerRefused>(sent, 2).code == Errc::job_unknown);  // settled by then
  CHECK(at<QuotaFound>(sent, 3).answer.balance.used == GpuTime{5'000});
  CHECK(journal.tail()->sequence == 3);
  Shell restarted(journal);
  CHECK(restarted.commits.ledger().state_digest() == shell.commits.ledger().state_digest());
}

TEST_CASE("When the reserve is used up, settles wait like everything else") {
  JournalMemory journal;
  journal.set_reserve(1);
  Shell shell(journal);
  shell.commit_of({Lead{}, wish(ada, noon, 1), wish(ada, noon, 2)});
  journal.set_fault(JournalFault::refused);
  CHECK(shell.commit_of({Settle{.epoch = {1}, .job = {2}}}).size() == 1);
  CHECK(shell.commit_of({Settle{.epoch = {1}, .job = {3}}}).empty());
  journal.set_fault(JournalFault::none);
  CHECK(shell.commit_of({Settle{.epoch = {1}, .job = {3}}}).size() == 1);
}

TEST_CASE("When the journal writes again, the pool goes on where it was") {
  JournalMemory journal;
  Shell shell(journal);
  shell.commit_of({Lead{}, wish(ada, noon, 1)});
  const Settle settle{.epoch = {1}, .job = {2}, .ran = seconds(5)};
  journal.set_fault(JournalFault::refused);
  CHECK(shell.commit_of({settle}).empty());
  journal.set_fault(JournalFault::none);
  const auto sent = shell.commit_of({settle, wish(ada, noon, 2)});
  CHECK_FALSE(shell.commits.refusal());
  CHECK(at<Settled>(sent, 0).settled.charged_quota == GpuTime{5'000});
  CHECK(at<Held>(sent, 1).hold->job == JobId{4});
  Shell restarted(journal);
  CHECK(restarted.commits.ledger().state_digest() == shell.commits.ledger().state_digest());
}

TEST_CASE("A commit in doubt answers nothing; a restart reads what was written") {
  for (const auto fault : {JournalFault::in_doubt_written, JournalFault::in_doubt_lost}) {
    JournalMemory journal;
    {
      Shell shell(journal);
      shell.commit_of({Lead{}});
      journal.set_fault(fault);
      shell.commits.take(noon, wish(ada, noon, 1));
      const auto effects = shell.commits.commit(noon, stamp);
      REQUIRE_FALSE(effects);
      CHECK(effects.error().code == Errc::outcome_unknown);
    }
    journal.set_fault(JournalFault::none);
    Shell restarted(journal);
    // The client asks again with its id: one hold in either case.
    Reserve again = wish(ada, noon, 1);
    again.epoch = {2};
    const auto sent = restarted.commit_of({Lead{}, again, quota_of(ada)});
    CHECK(at<QuotaFound>(sent, sent.size() - 1).answer.balance.held == GpuTime{60'000});
    CHECK(at<QuotaFound>(sent, sent.size() - 1).answer.balance.open_jobs == 1);
  }
}

TEST_CASE("A batch does not grow beyond its maximum") {
  JournalMemory journal;
  Shell shell(journal);
  for (std::int64_t i = 0; i < limits::ledger_batch_max; ++i) {
    REQUIRE_FALSE(shell.commits.full());
    shell.commits.take(noon, quota_of(ada));
  }
  CHECK(shell.commits.full());
  CHECK(shell.commit().size() == static_cast<std::size_t>(limits::ledger_batch_max));
}

TEST_CASE("A batch that was torn is gone whole, and its request is admitted when it comes again") {
  JournalMemory journal;
  Shell(journal).commit_of({Lead{}, wish(ada, noon, 1)});
  for (const std::uint64_t bytes : {0U, 1U, 40U, 300U}) {
    Shell shell(journal);
    const std::uint64_t digest = shell.commits.ledger().state_digest();
    shell.commits.take(noon, wish(ada, noon, 2));
    shell.commits.take(noon, Settle{.epoch = {1}, .job = {2}, .ran = seconds(5)});
    journal.set_fault(JournalFault::torn);
    journal.tear_at(bytes);
    const auto commit = shell.commits.commit(noon, stamp);
    REQUIRE_FALSE(commit);  // no answer leaves, and the process ends
    CHECK(commit.error().code == Errc::outcome_unknown);
    journal.set_fault(JournalFault::none);
    journal.restart();
    CHECK(Shell(journal).commits.ledger().state_digest() == digest);
  }
  Shell again(journal);
  CHECK(at<Held>(again.commit_of({wish(ada, noon, 2)}), 0).hold->job == JobId{3});
}
