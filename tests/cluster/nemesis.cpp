#include "tests/cluster/nemesis.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "tests/system/pool_process.h"

extern char** environ;

namespace gpupool::test {
namespace {

constexpr int faults_max = 3;
constexpr Duration first_at = seconds(1);
constexpr Duration last_at = seconds(6);
constexpr Duration shortest = milliseconds(500);
constexpr Duration longest = seconds(8);
// Room that a full disk still has, beside what the server has set aside for its log.
constexpr std::int64_t rest_of_disk = 0;
constexpr const char* relay_delay_ms = "200";
constexpr const char* relay_loss_percent = "5";

constexpr std::array<const char*, fault_kinds> names{
    "kill -9", "SIGSTOP",   "kill -9 an executor", "SIGSTOP an executor", "link down",
    "one way", "slow link", "partition",           "clock step",          "full disk"};

Instant monotonic() { return read_clock(CLOCK_MONOTONIC); }

std::string list_of(const std::set<std::string>& hosts) {
  std::string text;
  for (const std::string& host : hosts) text += (text.empty() ? "" : " ") + host;
  return text;
}

template <class List>
const std::string& one_of(Prng& rng, const List& list) {
  return list[rng.below(list.size())];
}

std::vector<std::string> everybody() {
  std::vector<std::string> all = Hosts::all();
  all.emplace_back("client");
  return all;
}

void draw_peers(Prng& rng, Fault& fault) {
  const auto all = everybody();
  if (fault.kind == FaultKind::one_way) {
    fault.incoming = rng.one_in(2);
    if (rng.one_in(2)) {
      fault.peers = {all.begin(), all.end()};
    } else {
      fault.peers = {one_of(rng, all)};
    }
    fault.peers.erase(fault.host);
    if (fault.peers.empty()) fault.peers = {"client"};
    return;
  }
  // Two groups, both with somebody.
  do {
    fault.peers.clear();
    for (const std::string& host : all)
      if (rng.one_in(2)) fault.peers.insert(host);
  } while (fault.peers.empty() || fault.peers.size() == all.size());
}

Fault draw_fault(Prng& rng, FaultKind kind) {
  static const std::vector<std::string> programs{"leader", "standby", "node-1", "node-2",
                                                 "database"};
  static const std::vector<std::string> daemons{"leader", "standby", "node-1", "node-2"};
  Fault fault{.kind = kind};
  fault.at = milliseconds(rng.between(first_at.ms, last_at.ms));
  fault.lasts = milliseconds(rng.between(shortest.ms, longest.ms));
  fault.choice = rng.next();
  switch (kind) {
    case FaultKind::kill:
    case FaultKind::stop:
      fault.host = one_of(rng, programs);
      break;
    case FaultKind::kill_executor:
    case FaultKind::stop_executor:
      fault.host = one_of(rng, Hosts::nodes());
      break;
    case FaultKind::link_down:
    case FaultKind::slow:
      fault.host = one_of(rng, programs);
      break;
    case FaultKind::one_way:
      fault.host = one_of(rng, Hosts::all());
      draw_peers(rng, fault);
      break;
    case FaultKind::partition:
      draw_peers(rng, fault);
      break;
    case FaultKind::clock:
      fault.host = one_of(rng, daemons);
      fault.seconds = rng.between(10, 3'000) * (rng.one_in(2) ? 1 : -1);
      break;
    case FaultKind::full_disk:
      fault.host = "database";
      break;
  }
  return fault;
}

}  // namespace

std::string describe(const Fault& fault) {
  std::ostringstream text;
  text << names.at(static_cast<std::size_t>(fault.kind));
  if (fault.kind == FaultKind::partition) {
    text << " (" << list_of(fault.peers) << ") from the others";
  } else {
    text << " " << fault.host;
    if (fault.kind == FaultKind::one_way)
      text << (fault.incoming ? " hears nothing of (" : " is not heard by (")
           << list_of(fault.peers) << ")";
    if (fault.kind == FaultKind::clock) text << " by " << fault.seconds << " s";
  }
  text << ", at " << fault.at.ms << " ms for " << fault.lasts.ms << " ms";
  return text.str();
}

std::vector<Fault> draw_episode(std::uint64_t seed, std::uint64_t episode) {
  const Prng whole(seed);
  // A deck for every ten episodes, so that all kinds come.
  std::array<std::size_t, fault_kinds> deck{};
  std::iota(deck.begin(), deck.end(), std::size_t{0});
  Prng shuffle = whole.fork("deck " + std::to_string(episode / fault_kinds));
  for (std::size_t i = deck.size(); i > 1; --i) std::swap(deck[i - 1], deck[shuffle.below(i)]);

  Prng rng = whole.fork("episode " + std::to_string(episode));
  std::vector<Fault> faults{draw_fault(rng, static_cast<FaultKind>(deck[episode % fault_kinds]))};
  for (auto more = rng.below(faults_max); more > 0; --more)
    faults.push_back(draw_fault(rng, static_cast<FaultKind>(rng.below(fault_kinds))));
  return faults;
}

std::vector<std::string> Nemesis::strike(std::vector<Fault> faults) {
  struct Deed {
    Duration at{};
    std::size_t fault = 0;
    bool begins = true;
  };
  std::vector<Deed> deeds;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    deeds.push_back({faults[i].at, i, true});
    deeds.push_back({faults[i].at + faults[i].lasts, i, false});
  }
  std::stable_sort(deeds.begin(), deeds.end(),
                   [](const Deed& a, const Deed& b) { return a.at < b.at; });
  const Instant start = boot_time();
  std::vector<std::string> told;
  for (const Deed& deed : deeds) {
    const Duration ahead = start + deed.at - boot_time();
    if (ahead > Duration{}) std::this_thread::sleep_for(std::chrono::milliseconds(ahead.ms));
    Fault& fault = faults[deed.fault];
    if (deed.begins)
      told.push_back(begin(fault, deed.fault));
    else
      end(fault, deed.fault);
  }
  return told;
}

std::string Nemesis::begin(Fault& fault, std::size_t number) {
  std::string asked = fault.host;
  if (fault.host == "leader" || fault.host == "standby") {
    const std::string leader = hosts_.leader().empty() ? "broker-1" : hosts_.leader();
    const bool leads = fault.host == "leader";
    fault.host = (leader == "broker-1") == leads ? "broker-1" : "broker-2";
  }
  switch (fault.kind) {
    case FaultKind::kill:
      hosts_.kill_and_hold(fault.host);
      break;
    case FaultKind::stop:
      stop(fault.host);
      break;
    case FaultKind::kill_executor:
      hosts_.signal_executor(fault.host, fault.choice, SIGKILL);
      break;
    case FaultKind::stop_executor:
      stopped_executors_[number] = hosts_.signal_executor(fault.host, fault.choice, SIGSTOP);
      break;
    case FaultKind::link_down:
      (void)run_command(Hosts::inside("switch", {"ip", "link", "set", "dev", fault.host, "down"}));
      break;
    case FaultKind::one_way:
      cut({fault.host}, fault.peers, number, fault.incoming ? Deaf::to_others : Deaf::others_to_it);
      break;
    case FaultKind::slow:
      start_relay(fault.host, fault.choice);
      break;
    case FaultKind::partition: {
      const auto all = everybody();
      std::set<std::string> others{all.begin(), all.end()};
      for (const std::string& host : fault.peers) others.erase(host);
      cut(fault.peers, others, number, Deaf::both);
      cut(others, fault.peers, number, Deaf::both);
      break;
    }
    case FaultKind::clock:
      hosts_.step_clock(fault.host, fault.seconds);
      break;
    case FaultKind::full_disk:
      hosts_.fill_disk(rest_of_disk);
      break;
  }
  return describe(fault) + (asked == fault.host ? "" : " (" + asked + ")");
}

void Nemesis::end(const Fault& fault, std::size_t number) {
  const std::string table = "fault" + std::to_string(number);
  switch (fault.kind) {
    case FaultKind::kill:
      hosts_.release(fault.host);
      break;
    case FaultKind::stop:
      go_on(fault.host);
      break;
    case FaultKind::kill_executor:
      break;
    case FaultKind::stop_executor:
      if (const pid_t pid = stopped_executors_[number]; pid > 0) ::kill(pid, SIGCONT);
      break;
    case FaultKind::link_down:
      (void)run_command(Hosts::inside("switch", {"ip", "link", "set", "dev", fault.host, "up"}));
      break;
    case FaultKind::one_way:
    case FaultKind::partition:
      for (const std::string& host : Hosts::all())
        (void)run_command(Hosts::inside(host, {"nft", "delete", "table", "inet", table}));
      break;
    case FaultKind::slow:
      end_relay(fault.host);
      break;
    case FaultKind::clock:
      hosts_.step_clock(fault.host, 0);
      break;
    case FaultKind::full_disk:
      hosts_.free_disk();
      break;
  }
}

void Nemesis::stop(const std::string& host) {
  stopped_.emplace(host, monotonic());
  hosts_.signal(host, SIGSTOP);
}

void Nemesis::go_on(const std::string& host) {
  hosts_.signal(host, SIGCONT);
  const auto found = stopped_.find(host);
  if (found == stopped_.end()) return;
  pauses_.push_back({host, found->second, monotonic()});
  stopped_.erase(found);
}

// Each of ours drops what comes from the others, or what goes to them, or both.
void Nemesis::cut(const std::set<std::string>& ours, const std::set<std::string>& others,
                  std::size_t number, Deaf deaf) {
  std::string addresses;
  for (const std::string& host : others)
    addresses += (addresses.empty() ? "" : ", ") + Hosts::address_of(host);
  const std::string table = "inet fault" + std::to_string(number);
  std::string rules = "add table " + table;
  const auto drop = [&](const std::string& hook, const std::string& field) {
    rules += "; add chain " + table + " " + hook + " { type filter hook " + hook +
             " priority 0; }; add rule " + table + " " + hook + " ip " + field + " { " + addresses +
             " } drop";
  };
  if (deaf != Deaf::others_to_it) drop("input", "saddr");
  if (deaf != Deaf::to_others) drop("output", "daddr");
  for (const std::string& host : ours) {
    if (host == "client") continue;  // the others don't hear it
    const CommandEnd done = run_command(Hosts::inside(host, {"nft", rules}));
    if (done.exit_code != 0) throw std::runtime_error("nft on " + host + ": " + done.output);
  }
}

void Nemesis::start_relay(const std::string& host, std::uint64_t seed) {
  if (relays_.contains(host)) return;
  std::vector<std::string> command =
      Hosts::inside("switch", {program("gpupool-packet-relay").string(), host, "bridge",
                               relay_delay_ms, relay_loss_percent, std::to_string(seed)});
  std::vector<char*> words;
  for (std::string& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawnp(&pid, words[0], nullptr, nullptr, words.data(), environ) != 0)
    throw std::runtime_error("cannot start the relay");
  relays_[host] = pid;
}

void Nemesis::end_relay(const std::string& host) {
  const auto found = relays_.find(host);
  if (found == relays_.end()) return;
  ::kill(found->second, SIGTERM);
  if (!wait_until(seconds(5), [&] { return waitpid(found->second, nullptr, WNOHANG) != 0; })) {
    ::kill(found->second, SIGKILL);
    waitpid(found->second, nullptr, 0);
  }
  relays_.erase(found);
}

void Nemesis::heal() {
  for (const auto& [fault, pid] : stopped_executors_)
    if (pid > 0) ::kill(pid, SIGCONT);
  stopped_executors_.clear();
  while (!relays_.empty()) end_relay(std::string(relays_.begin()->first));
  hosts_.free_disk();
  for (const std::string& host : Hosts::all()) {
    go_on(host);
    hosts_.step_clock(host, 0);
    (void)run_command(Hosts::inside(host, {"nft", "flush", "ruleset"}));
    (void)run_command(
        Hosts::inside("switch", {"ip", "link", "set", "dev", host, "master", "bridge", "up"}));
    hosts_.release(host);
  }
}

}  // namespace gpupool::test
