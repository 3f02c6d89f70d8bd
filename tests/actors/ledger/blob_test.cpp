// Requests that are too large for a record: beside it while their job is open, whole for whoever
// runs them, and no part of what a restart has to trust blindly.

#include "actors/ledger/blob.h"

#include "actors/ledger/audit.h"
#include "actors/ledger/journal_memory.h"
#include "base/pack.h"
#include "config/limits.h"
#include "tests/actors/ledger/ledger_bench.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");

JobRequest request_of(std::size_t prompt_bytes) {
  return {
      .app = "emoji", .size = "large", .arguments = {{"prompt", std::string(prompt_bytes, 'p')}}};
}

// A request whose packed bytes are so many.
JobRequest request_of_packed(std::size_t bytes) {
  JobRequest request = request_of(bytes);
  request = request_of(2 * bytes - pack(request).size());
  REQUIRE(pack(request).size() == bytes);
  return request;
}

Reserve large_wish(std::uint64_t number, std::size_t prompt_bytes = 10'000) {
  Reserve large = wish(ada, noon, number, seconds(10));
  large.body = request_of(prompt_bytes);
  return large;
}

// A ledger with its journal, as the ledger's shell has them.
struct Shell {
  explicit Shell(JournalMemory& journal, const std::optional<Snapshot>& snapshot = {})
      : commits(config, journal), recovered(commits.recover(snapshot)) {}
  Effects commit_of(const std::vector<ToLedger>& messages) {
    return committed(commits, messages, noon);
  }
  Leading lead() { return reply<Leading>(commit_of({Lead{}})); }

  const Config config = default_config();
  GroupCommit commits;
  const Status recovered;
};

AuditReport audited(JournalMemory& journal) {
  const Config config = default_config();
  Audit audit(config, config.window);
  REQUIRE(journal.read([&audit](const StoredRecord& stored) {
    audit.read(stored);
    return ok();
  }));
  for (const JobId job : audit.blobs_wanted()) audit.read_blob(job, *journal.blob(job));
  return audit.finish();
}

}  // namespace

TEST_CASE("A request of 4,096 packed bytes stands in its record, one of 4,097 beside it") {
  const auto most = static_cast<std::size_t>(limits::request_inline_bytes_max);
  CHECK(blob_of(request_of_packed(most)).empty());
  CHECK(blob_of(request_of_packed(most + 1)).size() == most + 1);
  JobRequest many = request_of(0);
  many.arguments.resize(450,
                        {"key", ""});  // whose upper bound is above it, and whose bytes are not
  CHECK(pack(many).size() < most);
  CHECK(blob_of(many).empty());
}

TEST_CASE("Who asked and who leads next get a large request whole; its record has the outline") {
  JournalMemory journal;
  Shell shell(journal);
  shell.lead();
  const Reserve large = large_wish(1);
  const Held held = reply<Held>(shell.commit_of({large}));
  shell.commit_of({wish(ada, noon, 2, seconds(10))});
  CHECK(pack(*held.hold->body) == pack(*large.body));
  CHECK(held.hold->blob->bytes == static_cast<std::int64_t>(pack(*large.body).size()));
  for (const std::string& batch : journal.batches()) CHECK(batch.size() < 2'000);
  CHECK(journal.blobs().size() == 1);

  Shell restarted(journal);
  REQUIRE(restarted.recovered);
  CHECK(restarted.commits.ledger().state_digest() == shell.commits.ledger().state_digest());
  const Leading leading = restarted.lead();
  REQUIRE(leading.open.size() == 2);
  CHECK(pack(*leading.open[0].hold) == pack(*held.hold));
  CHECK(leading.open[1].hold->blob->hash.empty());
}

TEST_CASE("A snapshot has the outlines, and gives the requests back all the same") {
  JournalMemory journal;
  Shell shell(journal);
  shell.lead();
  const Held held = reply<Held>(shell.commit_of({large_wish(1)}));
  const auto frozen = shell.commits.freeze();
  REQUIRE(frozen);
  RowWriter rows;
  frozen->ledger->write_state(rows);
  Snapshot snapshot{.at = frozen->at, .state = rows.take()};
  CHECK(snapshot.state.size() < 5'000);
  Shell restarted(journal, std::move(snapshot));
  REQUIRE(restarted.recovered);
  CHECK(restarted.commits.snapshot_used());
  CHECK(pack(*restarted.lead().open.at(0).hold) == pack(*held.hold));
}

TEST_CASE("A large request goes with the settle of its job, and with the receipt all is told") {
  JournalMemory journal;
  Shell shell(journal);
  shell.lead();
  shell.commit_of({large_wish(1), large_wish(2)});
  CHECK(journal.blobs().size() == 2);
  const Settle settle{.epoch = {1}, .job = {2}, .outcome = Outcome::succeeded, .ran = seconds(4)};
  const JobDone done = done_of(reply<Settled>(shell.commit_of({settle})));
  CHECK(done.receipt.app == "emoji");
  CHECK(done.receipt.size == "large");
  CHECK(done.receipt.charged == GpuTime{4'000});
  CHECK(journal.blobs().size() == 1);
  CHECK(journal.blobs().contains(JobId{3}));
  CHECK(audited(journal).findings.empty());
  CHECK(audited(journal).blobs == 1);
}

TEST_CASE("A refused batch leaves no request, and a settle from the reserve takes one along") {
  JournalMemory journal;
  journal.set_reserve(1);
  Shell shell(journal);
  shell.lead();
  shell.commit_of({large_wish(1)});
  journal.set_fault(JournalFault::refused);
  const Effects sent =
      shell.commit_of({large_wish(2), Settle{.epoch = {1}, .job = {2}, .ran = seconds(1)}});
  REQUIRE(find_reply<NotHeld>(sent) != nullptr);
  CHECK(find_reply<NotHeld>(sent)->refusal.code == Errc::ledger_unavailable);
  CHECK(find_reply<Settled>(sent) != nullptr);
  CHECK(journal.blobs().empty());
  journal.set_fault(JournalFault::none);
  CHECK(pack(*reply<Held>(shell.commit_of({large_wish(2)})).hold->body) ==
        pack(*large_wish(2).body));
  CHECK(journal.blobs().size() == 1);
}

TEST_CASE("The same large request under its id gets its first answer and lies there once") {
  JournalMemory journal;
  Shell shell(journal);
  shell.lead();
  const JobId job = reply<Held>(shell.commit_of({large_wish(1)})).hold->job;
  CHECK(reply<AlreadyHeld>(shell.commit_of({large_wish(1)})).job == job);
  CHECK(journal.blobs().size() == 1);
}

TEST_CASE("A commit takes in so many bytes of large requests and then ends") {
  JournalMemory journal;
  Shell shell(journal);
  shell.lead();
  std::uint64_t taken = 0;
  while (!shell.commits.full()) {
    Reserve large = large_wish(++taken, 32'000);
    large.caller = caller("user:" + std::to_string(taken));
    shell.commits.take(noon, large);
    REQUIRE(taken < 1'000);
  }
  CHECK(taken == limits::ledger_batch_blob_bytes_max / 32'000);
  REQUIRE(shell.commits.commit(noon, {}));
  CHECK_FALSE(shell.commits.full());
  CHECK(journal.blobs().size() == taken);
}

TEST_CASE("So many open jobs may have large requests, and a settle makes room") {
  const Config config = default_config();
  Ledger ledger(config, {.blobs_max = 2});
  ledger.step(noon, Lead{});
  const auto ask = [&ledger](std::uint64_t number) {
    return ledger.step(noon, large_wish(number));
  };
  const JobId first = reply<Held>(ask(1)).hold->job;
  CHECK(find_reply<Held>(ask(2)) != nullptr);
  const Refusal refusal = reply<NotHeld>(ask(3)).refusal;
  CHECK(refusal.code == Errc::overloaded);
  CHECK(refusal.want == 3);
  CHECK(refusal.have == 2);
  CHECK(refusal.detail == "with a request of more than 4096 bytes");
  CHECK(find_reply<Held>(ledger.step(noon, wish(ada, noon, 4, seconds(10)))) != nullptr);
  ledger.step(noon, Settle{.epoch = {1}, .job = first, .ran = seconds(1)});
  CHECK(find_reply<Held>(ask(3)) != nullptr);
  CHECK(ledger.check_invariants().empty());
}

TEST_CASE("A missing or changed large request ends the start and names its job") {
  JournalMemory journal;
  {
    Shell shell(journal);
    shell.lead();
    shell.commit_of({large_wish(1)});
  }
  std::string& bytes = journal.blobs().at(JobId{2});
  const std::string before = bytes;
  bytes[bytes.size() / 2] ^= 1;
  const Status changed = Shell(journal).recovered;
  CHECK(changed.error().code == Errc::journal_corrupt);
  CHECK(changed.error().detail ==
        "the request of job 2, 10030 bytes beside the records, is not as it was written");
  CHECK(audited(journal).findings ==
        std::vector<std::string>{"record 2: after it: the request of job 2, beside the records, is "
                                 "not as it was written"});
  bytes = before;
  CHECK(Shell(journal).recovered);
  journal.blobs().clear();
  const Status missing = Shell(journal).recovered;
  CHECK(missing.error().code == Errc::journal_corrupt);
  CHECK(missing.error().detail ==
        "the request of job 2, 10030 bytes beside the records, is missing");
  CHECK(audited(journal).findings ==
        std::vector<std::string>{"record 2: after it: the request of job 2, beside the records, is "
                                 "missing"});
}
