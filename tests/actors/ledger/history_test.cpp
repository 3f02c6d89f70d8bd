// The history: one contract for every store, then how it follows the journal and what it answers
// when it cannot.
#include "actors/ledger/history.h"

#include <filesystem>
#include <fstream>
#include <memory>

#include "actors/ledger/group_commit.h"
#include "actors/ledger/history_memory.h"
#include "actors/ledger/history_sqlite.h"
#include "actors/ledger/journal_memory.h"
#include "ledger_bench.h"
#include "tests/folder.h"

using namespace gpupool;
using namespace gpupool::bench;

namespace {

const Caller ada = caller("user:ada");
const Caller bob = caller("user:bob");
const ClockStamp stamp{.wall = noon, .boot = {5'000}, .boot_id = "boot-1"};

std::unique_ptr<HistorySqlite> opened(const std::string& path) {
  auto store = HistorySqlite::open(path);
  INFO((store ? std::string() : store.error().detail));
  REQUIRE(store);
  return std::move(*store);
}

HistoryJob job_of(std::uint64_t number, const std::string& account, Outcome outcome) {
  return {.receipt = {.job = {number},
                      .account = {account},
                      .ran = seconds(2),
                      .held = {60'000},
                      .charged = {2'000},
                      .outcome = outcome,
                      .detail = "of job " + std::to_string(number)},
          .story = {{.at = noon, .kind = MomentKind::admitted, .words = "token"}}};
}

AccountDay day_of(const std::string& account, Instant day, std::int64_t charged) {
  return {.account = {account},
          .usage = {.day = day,
                    .jobs = 1,
                    .succeeded = 1,
                    .ran = {charged},
                    .held = {60'000},
                    .charged = {charged}}};
}

JournalTail mark_at(std::uint64_t sequence) {
  JournalTail mark{.sequence = sequence, .at = noon};
  mark.digest.fill(static_cast<char>(sequence));
  return mark;
}

void keep_to_the_contract(HistoryStore& store) {
  CHECK(store.mark()->sequence == 0);
  const Instant monday{noon.ms - noon.ms % 86'400'000};
  const Instant tuesday = monday + hours(24);
  REQUIRE(store.turn(
      {.jobs = {job_of(1, "user:ada", Outcome{}), job_of(2, "user:bob", Outcome::succeeded),
                job_of(3, "user:ada", Outcome::failed)},
       .days = {day_of("user:bob", monday, 2'000), day_of("user:ada", monday, 100)},
       .mark = mark_at(7)}));
  CHECK(store.mark()->sequence == 7);
  CHECK(store.mark()->digest == mark_at(7).digest);
  REQUIRE(store.open_jobs()->size() == 1);
  CHECK(store.open_jobs()->front().receipt.job == JobId{1});
  // A job that is told again replaces what was known; a day is added to.
  REQUIRE(store.turn({.jobs = {job_of(1, "user:ada", Outcome::succeeded)},
                      .days = {day_of("user:ada", monday, 900), day_of("user:ada", tuesday, 5)},
                      .mark = mark_at(9)}));
  CHECK(store.open_jobs()->empty());
  const auto receipts = store.receipts({"user:ada"}, {}, 10);
  REQUIRE(receipts->size() == 2);
  CHECK(receipts->at(0).job == JobId{3});
  CHECK(receipts->at(1).detail == "of job 1");
  CHECK(store.receipts({"user:ada"}, {3}, 10)->size() == 1);
  CHECK(store.receipts({"user:ada"}, {}, 1)->size() == 1);
  CHECK(store.receipts({"user:eve"}, {}, 10)->empty());
  const auto days = store.days({"user:ada"}, {}, 10);
  REQUIRE(days->size() == 2);
  CHECK(days->at(0).day == tuesday);
  CHECK(days->at(1).charged == GpuTime{1'000});
  CHECK(days->at(1).jobs == 2);
  CHECK(store.days({"user:ada"}, tuesday, 10)->size() == 1);
  CHECK(store.job({2})->value().story.front().words == "token");
  CHECK_FALSE(store.job({99})->has_value());
  REQUIRE(store.clear());
  CHECK(store.mark()->sequence == 0);
  CHECK_FALSE(store.job({2})->has_value());
  CHECK(store.days({"user:ada"}, {}, 10)->empty());
}

// A ledger with its journal and a history that follows it, message by message.
class Pool {
 public:
  explicit Pool(HistoryStore& history_store, JournalMemory& its_journal)
      : journal(its_journal), store(history_store) {
    REQUIRE(commits.recover());
    hand_over(history.step(Tick{}));
  }

  // To the ledger, committed, and all that follows from it.
  void take(ToLedger message) {
    commits.take(now, std::move(message));
    auto answers = commits.commit(now, stamp);
    REQUIRE(answers);
    hand_over(std::move(*answers));
  }

  void hand_over(Effects effects) {
    for (Send& send : effects.send) {
      if (auto* to = std::get_if<ToLedger>(&send.message)) {
        take(std::move(*to));
      } else if (auto* asked = std::get_if<ToHistory>(&send.message)) {
        if (held_back)
          waiting.push_back(std::move(*asked));
        else
          hand_over(history.step(*asked));
      } else {
        heard.push_back(send);
      }
    }
  }

  void let_go() {
    held_back = false;
    for (const ToHistory& message : std::exchange(waiting, {})) hand_over(history.step(message));
  }

  // A job of ada's, and its end.
  JobId run(Duration ran) {
    take(wish(ada, now, ++number));
    const JobId job = last<ToBroker, Held>().hold->job;
    take(Settle{.epoch = epoch(), .job = job, .outcome = Outcome::succeeded, .ran = ran});
    return job;
  }
  void lead() { take(Lead{.ticket = 1}); }
  Epoch epoch() const { return commits.ledger().epoch(); }

  template <class Variant, class Message>
  const Message& last() {
    for (auto it = heard.rbegin(); it != heard.rend(); ++it)
      if (const auto* to = std::get_if<Variant>(&it->message))
        if (const auto* message = std::get_if<Message>(to)) return *message;
    FAIL("no such message");
    throw 0;
  }
  ReceiptsFound receipts() {
    take(ReceiptsQuery{.session = {1}, .query = ++number, .account = ada.account});
    return last<ToSession, ReceiptsFound>();
  }

  Config config = config_with_allowance(seconds(2'000'000));
  JournalMemory& journal;
  HistoryStore& store;
  GroupCommit commits{config, journal};
  History history{store};
  Instant now = noon;
  std::vector<Send> heard;
  bool held_back = false;  // what is for the history waits
  std::vector<ToHistory> waiting;
  std::uint64_t number = 0;
};

}  // namespace

TEST_CASE("Every store of the history keeps the contract") {
  HistoryMemory memory;
  keep_to_the_contract(memory);
  const Folder folder;
  keep_to_the_contract(*opened(folder.file()));
}

TEST_CASE("A history file is there again after it was closed") {
  const Folder folder;
  REQUIRE(opened(folder.file())
              ->turn({.jobs = {job_of(1, "user:ada", Outcome{})}, .days = {}, .mark = mark_at(4)}));
  const auto again = opened(folder.file());
  CHECK(again->mark()->sequence == 4);
  CHECK(again->open_jobs()->size() == 1);
  CHECK(HistorySqlite::open(folder.file()).error().code == Errc::journal_locked);
}

TEST_CASE("A damaged history file is made anew, another program's is left alone") {
  const Folder folder;
  REQUIRE(opened(folder.file())->turn({.jobs = {}, .days = {}, .mark = mark_at(4)}));
  {
    std::fstream file(folder.file(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << std::string(3'000, '\x5a');
  }
  CHECK(opened(folder.file())->mark()->sequence == 0);
  std::ofstream(folder.file(), std::ios::trunc) << std::string(8'192, 'x');
  CHECK(HistorySqlite::open(folder.file()).error().code == Errc::file_malformed);
  CHECK(HistorySqlite::remove(folder.file()).error().code == Errc::file_malformed);
  CHECK(std::filesystem::file_size(folder.file()) == 8'192);
}

TEST_CASE("A question is answered from no state older than itself, however far the history lags") {
  JournalMemory journal;
  HistoryMemory store;
  Pool pool(store, journal);
  pool.lead();
  const JobId first = pool.run(seconds(2));
  CHECK(pool.receipts().answer.receipts.front().job == first);
  pool.held_back = true;
  const JobId second = pool.run(seconds(3));
  pool.take(ReceiptsQuery{.session = {1}, .query = 77, .account = ada.account});
  CHECK(pool.last<ToSession, ReceiptsFound>().answer.query != 77);
  pool.let_go();
  const auto found = pool.last<ToSession, ReceiptsFound>();
  CHECK(found.answer.query == 77);
  CHECK(found.answer.receipts.front().job == second);
  CHECK(found.answer.receipts.front().charged == GpuTime{3'000});
}

TEST_CASE("What nobody asks for is read a page at a time, and a question brings the rest") {
  JournalMemory journal;
  HistoryMemory store;
  Pool pool(store, journal);
  pool.lead();
  for (int i = 0; i < 5; ++i) pool.run(seconds(1));
  CHECK(store.mark()->sequence == 0);
  CHECK(pool.receipts().answer.receipts.size() == 5);
  const std::uint64_t asked = store.mark()->sequence;
  CHECK(asked == pool.commits.ledger().last_sequence());
  std::uint64_t records = 0;
  while (store.mark()->sequence == asked) {
    pool.run(milliseconds(1));
    records = pool.commits.ledger().last_sequence() - asked;
    REQUIRE(std::cmp_less_equal(records, limits::history_page_records));
  }
  CHECK(std::cmp_equal(records, limits::history_page_records));
  CHECK(store.open_jobs()->empty());
}

TEST_CASE("The receipt that the history tells is the one that the settle was answered with") {
  JournalMemory journal;
  HistoryMemory store;
  Pool pool(store, journal);
  pool.lead();
  const JobId job = pool.run(seconds(2));
  const Receipt told = done_of(pool.last<ToBroker, Settled>()).receipt;
  CHECK(pack(pool.receipts().answer.receipts.front()) == pack(told));
  // A settle that is repeated, and a request, get it again.
  pool.take(Settle{.epoch = pool.epoch(), .job = job, .outcome = Outcome::failed});
  CHECK(pack(pool.last<ToBroker, SettledBefore>().done->receipt) == pack(told));
  pool.take(wish(ada, pool.now, 1));
  CHECK(pack(pool.last<ToBroker, AlreadyHeld>().done->receipt) == pack(told));
  CHECK(pool.last<ToBroker, AlreadyHeld>().closed);
  pool.take(Settle{.epoch = pool.epoch(), .job = {4'711}, .outcome = Outcome::failed});
  CHECK(pool.last<ToBroker, LedgerRefused>().code == Errc::job_unknown);
}

TEST_CASE("Usage adds up day by day, newest first") {
  JournalMemory journal;
  HistoryMemory store;
  Pool pool(store, journal);
  pool.lead();
  for (const Duration ran : {seconds(2), seconds(3)}) pool.run(ran);
  pool.now = pool.now + hours(24);
  pool.run(seconds(7));
  pool.take(UsageQuery{.session = {1}, .query = 5, .account = ada.account, .limit = 1});
  UsageAnswer usage = pool.last<ToSession, UsageFound>().answer;
  REQUIRE(usage.days.size() == 1);
  CHECK(usage.more);
  CHECK(usage.days[0].charged == GpuTime{7'000});
  pool.take(UsageQuery{.session = {1}, .query = 5, .account = ada.account});
  usage = pool.last<ToSession, UsageFound>().answer;
  REQUIRE(usage.days.size() == 2);
  CHECK_FALSE(usage.more);
  CHECK(usage.days[1].charged == GpuTime{5'000});
  CHECK(usage.days[1].jobs == 2);
  CHECK(usage.days[1].held == GpuTime{120'000});
  pool.take(UsageQuery{.session = {1}, .query = 5, .account = bob.account});
  CHECK(pool.last<ToSession, UsageFound>().answer.days.empty());
}

TEST_CASE("A restart goes on where the store is, and a lost store is read from the journal again") {
  JournalMemory journal;
  HistoryMemory store;
  JobId job;
  {
    Pool pool(store, journal);
    pool.lead();
    pool.run(seconds(2));
    pool.take(wish(ada, pool.now, 50));
    job = pool.last<ToBroker, Held>().hold->job;
  }
  for (const bool is_lost : {false, true}) {
    if (is_lost) REQUIRE(store.clear());
    Pool pool(store, journal);
    CHECK(pool.history.applied() == pool.commits.ledger().last_sequence());
    CHECK(pool.history.rebuilds() == 0);
    CHECK(pool.receipts().answer.receipts.size() == 1);
    CHECK(store.open_jobs()->front().receipt.job == job);
  }
}

TEST_CASE("A store of another journal is made anew before anything is answered from it") {
  HistoryMemory store;
  JournalMemory other;
  {
    Pool pool(store, other);
    pool.lead();
    for (int i = 0; i < 5; ++i) pool.run(seconds(9));
    pool.receipts();  // which brings it up to here
  }
  // Shorter than what the store has seen, as long, and longer.
  for (const int jobs : {1, 5, 8}) {
    HistoryMemory copy;
    REQUIRE(copy.turn(
        {.jobs = {job_of(2, "user:ada", Outcome::succeeded)}, .days = {}, .mark = *store.mark()}));
    JournalMemory journal;
    HistoryMemory scratch;
    {
      Pool pool(scratch, journal);
      pool.now = noon + seconds(1);
      pool.lead();
      for (int i = 0; i < jobs; ++i) pool.run(seconds(1));
    }
    Pool pool(copy, journal);
    INFO("jobs " << jobs);
    CHECK(pool.history.rebuilds() == 1);
    const auto found = pool.receipts();
    CHECK(std::cmp_equal(found.answer.receipts.size(), jobs));
    CHECK(found.answer.receipts.back().charged == GpuTime{1'000});
  }
}

TEST_CASE("While its store fails the history says so, and it answers again when that is over") {
  JournalMemory journal;
  HistoryMemory store;
  Pool pool(store, journal);
  pool.lead();
  const JobId job = pool.run(seconds(2));
  store.set_failing(true);
  pool.run(seconds(3));
  CHECK(pool.receipts().error == Errc::history_unavailable);
  CHECK(pool.history.trouble());
  pool.take(ReceiptQuery{.session = {1}, .query = 1, .account = ada.account, .job = job});
  CHECK(pool.last<ToSession, ReceiptFound>().error == Errc::history_unavailable);
  pool.take(ExplainQuery{.session = {1}, .query = 1, .account = ada.account, .job = job});
  CHECK(pool.last<ToSession, Explained>().error == Errc::history_unavailable);
  pool.take(UsageQuery{.session = {1}, .query = 1, .account = ada.account});
  CHECK(pool.last<ToSession, UsageFound>().error == Errc::history_unavailable);
  // A request is told to ask again, a settle gets no answer rather than a wrong one.
  const auto heard = pool.heard.size();
  pool.take(Settle{.epoch = pool.epoch(), .job = job, .outcome = Outcome::failed});
  CHECK(pool.heard.size() == heard);
  pool.take(wish(ada, pool.now, 1));
  CHECK_FALSE(pool.last<ToBroker, AlreadyHeld>().closed);
  store.set_failing(false);
  CHECK(pool.receipts().error == Errc{});
  CHECK(pool.receipts().answer.receipts.size() == 2);
  CHECK_FALSE(pool.history.trouble());
}

TEST_CASE("A store that could not be read is read again by the next question, with nothing new") {
  JournalMemory journal;
  HistoryMemory store;
  Pool pool(store, journal);
  pool.lead();
  const JobId job = pool.run(seconds(2));
  store.set_failing(true);
  CHECK(pool.receipts().error == Errc::history_unavailable);
  CHECK(pool.history.trouble());
  store.set_failing(false);
  const auto found = pool.receipts();
  CHECK(found.error == Errc{});
  REQUIRE(found.answer.receipts.size() == 1);
  CHECK(found.answer.receipts.front().job == job);
  CHECK_FALSE(pool.history.trouble());
}

TEST_CASE("A journal that is damaged is not read past the damage, and questions are told so") {
  JournalMemory journal;
  HistoryMemory store;
  {
    HistoryMemory scratch;
    Pool pool(scratch, journal);
    pool.lead();
    for (int i = 0; i < 3; ++i) pool.run(seconds(1));
  }
  Pool pool(store, journal);
  REQUIRE(store.clear());
  History history(store);
  history.step(Tick{});
  std::vector<std::string> batches = *journal.batches_after(0, std::size_t{1} << 20U);
  batches[2][batches[2].size() - 40] ^= 1;
  history.step(JournalRead{.batches = batches});
  REQUIRE(history.trouble());
  CHECK(history.trouble()->code == Errc::journal_corrupt);
  CHECK(history.applied() == 0);
}
