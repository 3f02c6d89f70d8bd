// Episodes: customers keep a cluster busy, the nemesis hurts it, the load stops, everything heals,
// and the checker compares what clients, executors and the ledger say.
#include "tests/cluster/episodes.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <set>

#include "actors/ledger/journal_postgres.h"
#include "base/clock.h"
#include "config/limits.h"
#include "tests/cluster/checker.h"
#include "tests/cluster/customers.h"
#include "tests/cluster/nemesis.h"
#include "tests/cluster/pace.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

constexpr int customers_count = 4;
constexpr Duration start_patience = seconds(90);
constexpr Duration heal_patience = seconds(90);
constexpr Duration end_patience = seconds(90);

std::unique_ptr<Hosts>& shared_cluster() {
  static std::unique_ptr<Hosts> hosts;
  return hosts;
}

// All pages of an account's receipts.
std::vector<Receipt> receipts_of(const Hosts& hosts, const AccountId& account) {
  std::vector<Receipt> all;
  const auto client = hosts.connect(account.text.substr(5), 1);
  for (JobId before{};;) {
    const auto page = client->receipts(before, limits::receipts_page_max);
    if (!page) throw std::runtime_error("no receipts: " + page.error().detail);
    all.insert(all.end(), page->receipts.begin(), page->receipts.end());
    if (!page->more) return all;
    before = page->receipts.back().job;
  }
}

PostgresPlace ledger_of(const Hosts& hosts) {
  std::ifstream file(hosts.folder() / "cluster" / "ledger.password");
  std::string password;
  std::getline(file, password);
  return {.conninfo = "host=" + Hosts::address_of("database") + " dbname=ledger user=gpupool",
          .password = password,
          .schema = "gpupool",
          .pool = ""};
}

void read_journal(const Hosts& hosts, const std::set<AccountId>& accounts, Evidence& evidence) {
  auto journal = JournalPostgres::open_to_read(ledger_of(hosts));
  if (!journal) throw std::runtime_error("no journal: " + journal.error().detail);
  std::set<JobId> jobs;
  const Status read = (*journal)->replay([&](const Record& record) {
    if (const auto* opened = std::get_if<HoldOpened>(&record.body);
        opened && accounts.contains(opened->hold->account)) {
      evidence.holds.push_back(*opened->hold);
      jobs.insert(opened->hold->job);
    }
    if (const auto* settled = std::get_if<HoldSettled>(&record.body);
        settled && jobs.contains(settled->job))
      evidence.settles.push_back(*settled);
    return ok();
  });
  if (!read) throw std::runtime_error("the journal can't be read: " + read.error().detail);
}

// " (quota_exceeded 3)"; nothing if nobody was refused.
std::string refusals_of(const std::vector<std::unique_ptr<Customer>>& customers) {
  std::map<Errc, int> counts;
  for (const auto& customer : customers)
    for (const Asked& asked : customer->asked())
      if (asked.refused) ++counts[*asked.refused];
  std::string text;
  for (const auto& [code, count] : counts)
    text += (text.empty() ? " (" : ", ") + std::string(name_of(code)) + " " + std::to_string(count);
  return text.empty() ? text : text + ")";
}

class Episode {
 public:
  Episode(Hosts& hosts, std::uint64_t number)
      : hosts_(hosts), number_(number), rng_(Prng(plan().seed).fork("load " + name())) {}

  Verdict run() {
    const Instant start = boot_time();
    const Pace pace(hosts_.folder());
    std::vector<std::unique_ptr<Customer>> customers;
    for (int i = 0; i < customers_count; ++i)
      customers.push_back(
          std::make_unique<Customer>(hosts_, "e" + name() + "-" + std::to_string(i), rng_.next()));
    Nemesis nemesis(hosts_);
    for (const std::string& deed : nemesis.strike(draw_episode(plan().seed, number_)))
      std::cout << "    " << deed << "\n";
    for (auto& customer : customers) customer->stop_asking();
    nemesis.heal();
    const Instant healed = boot_time();
    const bool well = hosts_.wait_until_well(heal_patience);
    const Duration recovery = boot_time() - healed;
    const bool ended = wait_until(end_patience, [&] {
      return std::all_of(customers.begin(), customers.end(),
                         [](const auto& customer) { return customer->is_done(); });
    });
    const Duration drained = boot_time() - healed;
    for (auto& customer : customers) customer->join();
    Verdict verdict = well ? examine(customers, nemesis, {pace.longest()}) : Verdict{};
    if (!well) verdict.differences.push_back("the cluster is not well after it healed");
    if (!ended) {
      verdict.differences.push_back("clients wait for an end after it healed");
      for (const auto& customer : customers)
        verdict.differences.push_back(customer->account().text + ":" + customer->diary());
    }
    std::cout << "    " << verdict.acknowledged << " acknowledged, " << verdict.refused
              << " refused" << refusals_of(customers) << ", " << verdict.delivered << " charged ("
              << verdict.across << " across nodes), " << verdict.lost_runs
              << " lost runs; well after " << recovery << ", all ended after " << drained
              << ", measures " << verdict.widest << " apart at most, by " << pace.longest()
              << " held up, " << (boot_time() - start).ms / 1000 << " s in all" << std::endl;
    return verdict;
  }

  std::string name() const { return std::to_string(number_); }

 private:
  Verdict examine(const std::vector<std::unique_ptr<Customer>>& customers, const Nemesis& nemesis,
                  const Bounds& bounds) const {
    Evidence evidence;
    std::vector<std::string> more;
    std::set<AccountId> accounts;
    for (const auto& customer : customers) {
      const auto asked = customer->asked();
      evidence.asked.insert(evidence.asked.end(), asked.begin(), asked.end());
      accounts.insert(customer->account());
      evidence.receipts[customer->account()] = receipts_of(hosts_, customer->account());
      if (!customer->trouble().empty()) more.push_back(customer->trouble());
    }
    read_journal(hosts_, accounts, evidence);
    std::set<JobId> jobs;
    for (const Hold& hold : evidence.holds) jobs.insert(hold.job);
    for (const std::string& node : Hosts::nodes())
      for (const SeenRun& run : read_runs(node, hosts_.runs_of(node), more))
        if (jobs.contains(run.job)) evidence.runs.push_back(run);
    evidence.pauses = nemesis.pauses();
    evidence.audit = hosts_.audit();
    Verdict verdict = judge(evidence, bounds);
    verdict.differences.insert(verdict.differences.end(), more.begin(), more.end());
    return verdict;
  }

  Hosts& hosts_;
  const std::uint64_t number_;
  Prng rng_;
};

}  // namespace

Plan& plan() {
  static Plan plan;
  return plan;
}

Hosts& cluster() {
  auto& hosts = shared_cluster();
  if (!hosts) {
    hosts = std::make_unique<Hosts>();
    if (!hosts->wait_until_well(start_patience)) {
      const auto kept = hosts->keep_logs("start");
      throw std::runtime_error("the cluster does not start; its logs are in " + kept.string());
    }
  }
  return *hosts;
}

void end_cluster() { shared_cluster().reset(); }

TEST_CASE("Whatever happens to a cluster, acknowledged jobs are charged once for what they ran") {
  const Plan& wish = plan();
  Hosts& hosts = cluster();
  std::size_t acknowledged = 0;
  std::size_t across = 0;
  // Half of all episodes have no charged run on two nodes. Ten or more go on until one had.
  const auto goes_on = [&](std::uint64_t done) {
    return done < wish.episodes || (across == 0 && wish.episodes >= 10 && done < 3 * wish.episodes);
  };
  for (std::uint64_t i = wish.first; goes_on(i - wish.first); ++i) {
    std::cout << "episode " << i << ", seed " << wish.seed << std::endl;
    const Verdict verdict = Episode{hosts, i}.run();
    acknowledged += verdict.acknowledged;
    across += verdict.across;
    std::string all;
    for (const std::string& one : verdict.differences) all += "\n  " + one;
    if (all.empty()) continue;
    const auto kept = hosts.keep_logs(std::to_string(wish.seed) + "-" + std::to_string(i));
    FAIL("episode " << i << ":" << all << "\nrepeat: cluster_test --seed " << wish.seed
                    << " --first " << i << " --episodes 1\nlogs: " << kept.string());
  }
  CHECK(acknowledged > wish.episodes);
  CHECK((across > 0 || wish.episodes < 10));
}

}  // namespace gpupool::test
