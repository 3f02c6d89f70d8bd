// Measures the ledger: its core alone, and durable holds and settles through its actor, beside what
// the disk and a plain database can do. 10,000 accounts, requests of 200 bytes; an operation is a
// hold or a settle. Prints one JSON object; bench/run takes the turns and makes the table.

#include <sqlite3.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <memory>

#include "actors/ledger/history_actor.h"
#include "actors/ledger/history_sqlite.h"
#include "actors/ledger/journal_sqlite.h"
#include "actors/ledger/ledger_actor.h"
#include "actors/ledger/open_journal.h"
#include "actors/ledger/snapshot_file.h"
#include "base/clock.h"
#include "base/prng.h"
#include "bench/measure.h"

namespace gpupool {
namespace {

using bench::Clock;
using bench::Rate;
using bench::us_since;

constexpr std::size_t account_count = 10'000;
constexpr Duration declared = seconds(60);

[[noreturn]] void give_up(const std::string& why) { bench::give_up("bench_ledger", why); }

Config bench_config() {
  Config config = default_config();
  config.tiers = {{.name = "bench",
                   .allowance = {1'000'000'000'000},
                   .longest = {300'000},
                   .jobs_max = 1'000'000}};
  return config;
}

// Requests that a broker has found good. A run of the same seed makes the same ones.
class Wishes {
 public:
  explicit Wishes(std::uint64_t seed) : random_(seed) {}

  Reserve next(Instant now) {
    const std::uint64_t account = random_.below(account_count);
    return {.ticket = ++ticket_,
            .epoch = {1},
            .caller = {.account = {"user:" + std::to_string(account)},
                       .tier = "bench",
                       .recognised_by = "token for user " + std::to_string(account) + ", key k1"},
            .request = {.high = (static_cast<std::uint64_t>(now.ms) << 16U) | 0x7000U,
                        .low = random_.next() | 0x8000'0000'0000'0000U},
            .body = JobRequest{.app = "emoji",
                               .size = "large",
                               .declared = declared,
                               .arguments = {{"prompt", prompt_}}},
            .body_hash = 7,
            .partition = "default",
            .size = "large",
            .declared = declared,
            .occupancy = declared + seconds(37),
            .app_longest = seconds(300),
            .promise = now + seconds(100)};
  }

  static Settle settle_of(JobId job, Instant now) {
    return {.epoch = {1},
            .job = job,
            .outcome = Outcome::succeeded,
            .ran = seconds(4),
            .attempt = 1,
            .leased_at = now,
            .node = "node-1",
            .result =
                ResultRef{.hash = std::string(64, 'a'), .bytes = 9'000, .media_type = "image/png"}};
  }

 private:
  Prng random_;
  std::uint64_t ticket_ = 0;
  const std::string prompt_ = std::string(160, 'p');  // 200 bytes, packed
};

const Held& held_in(const Send& send) {
  const auto* to = std::get_if<ToBroker>(&send.message);
  const auto* held = to == nullptr ? nullptr : std::get_if<Held>(to);
  if (held == nullptr) give_up("a hold was refused");
  return *held;
}

void clear(Effects& effects) {
  effects.journal.clear();
  effects.send.clear();
}

// Of this thread, so that other programs on the machine do not count.
double cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// ---- The core alone --------------------------------------------------------------------------

// Rounds of 256 holds and their settles, as one batch each; CPU time, without what it takes to make
// the requests and to throw the answers away.
nlohmann::json measure_core(double for_seconds) {
  const Config config = bench_config();
  Ledger ledger(config);
  Wishes wishes(1);
  Instant now{1'800'000'000'000};
  ledger.step(now, Lead{});
  constexpr std::size_t batch = 256;
  Effects effects;  // kept from batch to batch, as a group commit does
  double counted_us = 0;
  std::uint64_t operations = 0;
  std::uint64_t jobs = 0;
  const auto begin = Clock::now();
  while (us_since(begin) < for_seconds * 1e6) {
    now = now + milliseconds(20);
    std::vector<ToLedger> reserves;
    for (std::size_t i = 0; i < batch; ++i) reserves.emplace_back(wishes.next(now));
    std::vector<JobId> held;
    held.reserve(batch);
    double begun_us = cpu_us();
    ledger.begin_batch();
    for (const ToLedger& reserve : reserves) ledger.step(now, reserve, effects);
    ledger.keep_batch();
    counted_us += cpu_us() - begun_us;
    for (const Send& send : effects.send) held.push_back(held_in(send).hold->job);
    clear(effects);
    std::vector<ToLedger> settles;
    for (const JobId job : held) settles.emplace_back(Wishes::settle_of(job, now));
    begun_us = cpu_us();
    ledger.begin_batch();
    for (const ToLedger& settle : settles) ledger.step(now, settle, effects);
    ledger.keep_batch();
    counted_us += cpu_us() - begun_us;
    clear(effects);
    operations += 2 * batch;
    jobs += batch;
  }
  return {{"ops_per_s", static_cast<double>(operations) / counted_us * 1e6}, {"jobs", jobs}};
}

// What a program without rules, records, answers or undo would do, in three hash maps: an id is
// taken once, a job is open until its settle, two numbers an account.
nlohmann::json measure_map(double for_seconds) {
  struct Balance {
    std::int64_t used = 0;
    std::int64_t held = 0;
  };
  std::unordered_map<std::string, Balance> balances;
  std::unordered_map<std::uint64_t, std::uint64_t> ids;
  std::unordered_map<std::uint64_t, Balance*> open;
  Prng random(1);
  std::uint64_t job = 0;
  constexpr std::size_t batch = 256;
  double counted_us = 0;
  std::uint64_t operations = 0;
  const auto begin = Clock::now();
  while (us_since(begin) < for_seconds * 1e6) {
    std::vector<std::string> accounts;
    for (std::size_t i = 0; i < batch; ++i)
      accounts.push_back("user:" + std::to_string(random.below(account_count)));
    const double begun_us = cpu_us();
    for (const std::string& account : accounts) {
      if (!ids.emplace(random.next(), ++job).second) continue;
      Balance& balance = balances[account];
      balance.held += declared.ms;
      open.emplace(job, &balance);
    }
    for (std::size_t i = 0; i < batch; ++i) {
      const auto closed = open.extract(job - i);
      closed.mapped()->held -= declared.ms;
      closed.mapped()->used += seconds(4).ms;
    }
    counted_us += cpu_us() - begun_us;
    operations += 2 * batch;
  }
  return {{"ops_per_s", static_cast<double>(operations) / counted_us * 1e6}};
}

// ---- Through the actor -----------------------------------------------------------------------

// Takes the broker's place: keeps so many commands under way, each job's hold followed by its
// settle, and measures from a command to its answer. A Tick begins it, once answers find it.
class Driver : public BrokerHandle::base {
 public:
  struct Plan {
    std::size_t outstanding = 1;
    double seconds = 5;
    std::promise<Rate>* done = nullptr;
  };
  Driver(caf::actor_config& config, LedgerHandle ledger, Plan plan)
      : BrokerHandle::base(config), ledger_(std::move(ledger)), plan_(plan), wishes_(1) {}

 private:
  behavior_type make_behavior() override {
    return {[this](const Envelope<ToBroker>& envelope) {
      if (done_) return;
      if (std::holds_alternative<Tick>(envelope.message)) return ask(Lead{.ticket = 1});
      if (std::holds_alternative<Leading>(envelope.message)) {
        begin_ = Clock::now();
        for (std::size_t i = 0; i < plan_.outstanding; ++i) hold();
      } else if (const auto* held = std::get_if<Held>(&envelope.message)) {
        note(asked_holds_, held->ticket);
        asked_settles_.emplace(held->hold->job.value, Clock::now());
        ask(Wishes::settle_of(held->hold->job, wall_time()));
      } else if (const auto* settled = std::get_if<Settled>(&envelope.message)) {
        note(asked_settles_, settled->settled.job.value);
        hold();
      } else {
        give_up("the ledger refused a command");
      }
      end_when_due();
    }};
  }

  template <class Command>
  void ask(Command command) {
    send(ledger_, Envelope<ToLedger>{ToLedger{std::move(command)}});
  }
  void hold() {
    Reserve wish = wishes_.next(wall_time());
    asked_holds_.emplace(wish.ticket, Clock::now());
    ask(std::move(wish));
  }
  void note(std::unordered_map<std::uint64_t, Clock::time_point>& asked, std::uint64_t key) {
    const auto found = asked.find(key);
    latencies_.push_back(us_since(found->second));
    asked.erase(found);
  }
  void end_when_due() {
    if (!warm_ && us_since(begin_) > 5e5) {  // the first half second is not counted
      warm_ = true;
      latencies_.clear();
      begin_ = Clock::now();
    }
    if (!warm_ || us_since(begin_) < plan_.seconds * 1e6) return;
    done_ = true;
    plan_.done->set_value(bench::rate_of(std::move(latencies_), us_since(begin_) / 1e6));
    quit();
  }

  const LedgerHandle ledger_;
  const Plan plan_;
  Wishes wishes_;
  bool warm_ = false;
  bool done_ = false;
  Clock::time_point begin_;
  std::unordered_map<std::uint64_t, Clock::time_point> asked_holds_;
  std::unordered_map<std::uint64_t, Clock::time_point> asked_settles_;
  std::vector<double> latencies_;
};

struct SystemConfig : caf::actor_system_config {
  SystemConfig() {
    announce_messages(*this);
    set("scheduler.max-threads", std::size_t{1});
    set("scheduler.policy", caf::atom("sharing"));  // as the daemon: the other one polls when idle
  }
};

// Waits until it is gone, with all that it refers to.
template <class Handle>
void end(caf::actor_system& system, const Handle& actor) {
  caf::scoped_actor self(system);
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  self->wait_for(actor);
}

// A SQLite file, or "postgres:" and a conninfo.
std::unique_ptr<Journal> journal_at(const std::string& place) {
  constexpr std::string_view postgres = "postgres:";
  Config config = bench_config();
  config.ledger = {.path = place, .reserve_bytes = 0};
  if (place.starts_with(postgres)) {
    config.ledger.journal = JournalKind::postgres;
    config.ledger.postgres = place.substr(postgres.size());
  }
  auto candidate = enter_for_journal(config, [](const Error& error) { give_up(error.detail); });
  if (!candidate) give_up(candidate.error().detail);
  auto journal = (*candidate)->look();
  if (!journal) give_up(journal.error().detail);
  if (*journal == nullptr) give_up("another process leads: " + (*candidate)->leader());
  return std::move(*journal);
}

// `history`: a file for it, beside the journal.
nlohmann::json measure_actor(const std::string& place, const std::string& history,
                             std::size_t outstanding, double for_seconds) {
  const auto journal = journal_at(place);
  const LiveConfig live{bench_config()};
  SystemConfig settings;
  caf::actor_system system{settings};
  auto directory = std::make_shared<Directory>();
  auto commits = std::make_unique<GroupCommit>(live.current(), *journal);
  if (const auto recovered = commits->recover(); !recovered) give_up(recovered.error().detail);
  std::uint64_t count = 0;
  const LedgerEvents events{.stamp =
                                [&count] {
                                  ++count;
                                  return ClockStamp{
                                      .wall = wall_time(), .boot = boot_time(), .boot_id = "bench"};
                                },
                            .refused = [](const Error& error) { give_up(error.detail); },
                            .in_doubt = [](const Error& error) { give_up(error.detail); }};
  const Surroundings around{live, wall_time, directory};
  directory->set_ledger(spawn_ledger(system, around, events, std::move(commits)));
  auto store = HistorySqlite::open(history);
  if (!store) give_up(store.error().detail);
  spawn_history(system, around,
                {.trouble = [](const Error& error) { give_up(error.detail); }, .rebuilt = [] {}},
                std::move(*store));
  std::promise<Rate> done;
  directory->set_broker(system.spawn<Driver>(
      directory->ledger(),
      Driver::Plan{.outstanding = outstanding, .seconds = for_seconds, .done = &done}));
  caf::anon_send(directory->broker(), Envelope<ToBroker>{Tick{}});
  const Rate rate = done.get_future().get();
  end(system, directory->history());
  end(system, directory->ledger());
  directory->clear();
  nlohmann::json json = bench::json_of(rate, "ops");
  json["commits"] = count;
  return json;
}

// ---- What it keeps ---------------------------------------------------------------------------

std::int64_t resident_bytes() {
  std::int64_t pages = 0;
  std::int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// How long a snapshot of all this takes to be on the disk, and to be a ledger again.
nlohmann::json measure_snapshot(const Config& config, const Ledger& ledger,
                                const std::string& path) {
  const auto written = Clock::now();
  RowWriter rows;
  ledger.write_state(rows);
  const double copied_s = us_since(written) / 1e6;
  if (const auto kept = write_snapshot(path, {.at = {}, .state = rows.take()}, "bench"); !kept)
    give_up(kept.error().detail);
  const double write_s = us_since(written) / 1e6;
  const auto begin = Clock::now();
  const auto snapshot = read_snapshot(path, "bench");
  if (!snapshot || !*snapshot) give_up("the snapshot can't be read");
  Ledger again(config);
  RowReader reader((*snapshot)->state);
  if (!again.read_state(reader) || again.account_count() != ledger.account_count())
    give_up("the snapshot is another ledger");
  return {{"copy_s", copied_s},
          {"write_s", write_s},
          {"start_s", us_since(begin) / 1e6},
          {"bytes", std::filesystem::file_size(path)}};
}

// Accounts with an open window and one receipt each, what each of them takes, and their snapshot.
nlohmann::json weigh_accounts(std::uint64_t count, const std::string& snapshot) {
  const Config config = bench_config();
  Ledger ledger(config);
  Wishes wishes(1);
  Instant now{1'800'000'000'000};
  ledger.step(now, Lead{});
  const std::int64_t before = resident_bytes();
  for (std::uint64_t account = 0; account < count; ++account) {
    Reserve wish = wishes.next(now);
    wish.caller.account = {"user:" + std::to_string(account)};
    const Effects effects = ledger.step(now, std::move(wish));
    ledger.step(now, Wishes::settle_of(held_in(effects.send.back()).hold->job, now));
  }
  const auto bytes = static_cast<double>(resident_bytes() - before);
  nlohmann::json weighed{{"accounts", ledger.account_count()},
                         {"bytes_per_account", bytes / static_cast<double>(count)}};
  if (!snapshot.empty()) weighed["snapshot"] = measure_snapshot(config, ledger, snapshot);
  return weighed;
}

// Writes so many records as the actor would, then measures how long a start takes to read them.
nlohmann::json measure_start(const std::string& path, std::uint64_t records) {
  const Config config = bench_config();
  Instant now{1'800'000'000'000};
  const ClockStamp stamp{.wall = now, .boot = {1}, .boot_id = "bench"};
  {
    auto journal = JournalSqlite::open(path);
    if (!journal) give_up(journal.error().detail);
    GroupCommit commits(config, **journal);
    Wishes wishes(1);
    commits.take(now, Lead{});
    if (!commits.commit(now, stamp)) give_up("the lead was refused");
    while (commits.ledger().last_sequence() < records) {
      // Ids older than 48 h are forgotten on the way: of 1.5 million at most, there is room for 2.
      now = now + seconds(60);
      for (int i = 0; i < 512; ++i) commits.take(now, wishes.next(now));
      auto held = commits.commit(now, stamp);
      if (!held) give_up(held.error().detail);
      for (const Send& send : held->send)
        commits.take(now, Wishes::settle_of(held_in(send).hold->job, now));
      if (!commits.commit(now, stamp)) give_up("a settle was refused");
    }
  }
  auto journal = JournalSqlite::open(path);
  if (!journal) give_up(journal.error().detail);
  GroupCommit commits(config, **journal);
  const auto begin = Clock::now();
  if (const auto recovered = commits.recover(); !recovered) give_up(recovered.error().detail);
  return {{"records", commits.ledger().last_sequence()},
          {"start_s", us_since(begin) / 1e6},
          {"disk_bytes", std::filesystem::file_size(path)},
          {"resident_bytes", resident_bytes()}};
}

// ---- A plain database ------------------------------------------------------------------------

// SQLite with a row of 300 bytes a command and so many commands in each transaction: no ledger, no
// answers, one thread.
nlohmann::json measure_sqlite_rows(const std::string& path, std::size_t batch, double for_seconds) {
  sqlite3* database = nullptr;
  const auto execute = [&database](const char* sql) {
    if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
      give_up(sqlite3_errmsg(database));
  };
  if (sqlite3_open(path.c_str(), &database) != SQLITE_OK) give_up("cannot open " + path);
  execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
  execute("CREATE TABLE commands (number INTEGER PRIMARY KEY, body BLOB NOT NULL)");
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(database, "INSERT INTO commands (body) VALUES (?1)", -1, &insert, nullptr);
  const std::string body(300, 'b');
  std::vector<double> latencies;
  const auto begin = Clock::now();
  while (us_since(begin) < for_seconds * 1e6) {
    const auto at = Clock::now();
    execute("BEGIN IMMEDIATE");
    for (std::size_t i = 0; i < batch; ++i) {
      sqlite3_bind_blob(insert, 1, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
      if (sqlite3_step(insert) != SQLITE_DONE) give_up(sqlite3_errmsg(database));
      sqlite3_reset(insert);
    }
    execute("COMMIT");
    latencies.insert(latencies.end(), batch, us_since(at));
  }
  const Rate rate = bench::rate_of(std::move(latencies), us_since(begin) / 1e6);
  sqlite3_finalize(insert);
  sqlite3_close(database);
  return bench::json_of(rate, "ops");
}

int run(const std::vector<std::string>& words) {
  if (words.size() == 2 && words[0] == "core") {
    std::cout << measure_core(std::atof(words[1].c_str())) << "\n";
  } else if (words.size() == 2 && words[0] == "map") {
    std::cout << measure_map(std::atof(words[1].c_str())) << "\n";
  } else if (words.size() == 5 && words[0] == "actor") {
    std::cout << measure_actor(words[1], words[2], std::stoul(words[3]),
                               std::atof(words[4].c_str()))
              << "\n";
  } else if ((words.size() == 2 || words.size() == 3) && words[0] == "accounts") {
    std::cout << weigh_accounts(std::stoul(words[1]), words.size() == 3 ? words[2] : "") << "\n";
  } else if (words.size() == 3 && words[0] == "start") {
    std::cout << measure_start(words[1], std::stoul(words[2])) << "\n";
  } else if (words.size() == 4 && words[0] == "sqlite-rows") {
    std::cout << measure_sqlite_rows(words[1], std::stoul(words[2]), std::atof(words[3].c_str()))
              << "\n";
  } else if (words.size() == 3 && words[0] == "fdatasync") {
    std::cout << bench::json_of(bench::measure_fdatasync(words[1], std::atof(words[2].c_str())),
                                "syncs")
              << "\n";
  } else {
    std::cerr << "usage: bench_ledger core SECONDS\n"
                 "       bench_ledger map SECONDS\n"
                 "       bench_ledger actor FILE|postgres:CONNINFO HISTORY OUTSTANDING SECONDS\n"
                 "       bench_ledger accounts COUNT [SNAPSHOT-FILE]\n"
                 "       bench_ledger start FILE RECORDS\n"
                 "       bench_ledger sqlite-rows FILE BATCH SECONDS\n"
                 "       bench_ledger fdatasync FOLDER SECONDS\n";
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace gpupool

int main(int count, char** words) { return gpupool::run({words + 1, words + count}); }
