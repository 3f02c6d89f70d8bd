#pragma once
// What happens to a cluster, drawn from a seed and done to it: kill -9, stopped processes, links
// that are down, one-way or slow, partitions, clocks that jump, a full disk. The drawing is pure:
// the same seed and number give the same episode. One thread.

#include <sys/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/prng.h"
#include "base/time.h"
#include "tests/cluster/checker.h"
#include "tests/cluster/hosts.h"

namespace gpupool::test {

enum class FaultKind : std::uint8_t {
  kill,           // kill -9 of a host's program, which starts again when the fault is over
  stop,           // SIGSTOP, and SIGCONT
  kill_executor,  // kill -9
  stop_executor,
  link_down,
  one_way,    // nftables drops what comes, or what goes
  slow,       // 200 ms each way and 5 % loss, through programs/packet_relay.cpp
  partition,  // the hosts and the clients in two groups that don't hear of each other
  clock,      // the wall clock of one process jumps, and back
  full_disk   // of the database
};
inline constexpr std::size_t fault_kinds = 10;

struct Fault {
  FaultKind kind{};
  std::string host;             // "leader" and "standby" are found out when it happens
  std::set<std::string> peers;  // one_way: of whom nothing is heard; partition: the other group
  bool incoming = true;         // one_way
  std::int64_t seconds = 0;     // clock
  std::uint64_t choice = 0;     // of an executor; seed of a relay
  Duration at{};                // since the episode began
  Duration lasts{};
};

std::string describe(const Fault& fault);

// The faults of one episode. Any ten in a row have one of every kind at least.
std::vector<Fault> draw_episode(std::uint64_t seed, std::uint64_t episode);

class Nemesis {
 public:
  explicit Nemesis(Hosts& hosts) : hosts_(hosts) {}
  ~Nemesis() { heal(); }
  Nemesis(const Nemesis&) = delete;
  Nemesis& operator=(const Nemesis&) = delete;

  // Does all of them at their times, in order; they may overlap. Returns what it did, as it went.
  std::vector<std::string> strike(std::vector<Fault> faults);
  // Whatever was done to it, nothing of it is left.
  void heal();
  // When nodes' workers were stopped, by the host's CLOCK_MONOTONIC.
  const std::vector<Pause>& pauses() const { return pauses_; }

 private:
  std::string begin(Fault& fault, std::size_t number);
  void end(const Fault& fault, std::size_t number);
  void stop(const std::string& host);
  void go_on(const std::string& host);
  enum class Deaf : std::uint8_t { to_others, others_to_it, both };
  void cut(const std::set<std::string>& ours, const std::set<std::string>& others,
           std::size_t number, Deaf deaf);
  void start_relay(const std::string& host, std::uint64_t seed);
  void end_relay(const std::string& host);

  Hosts& hosts_;
  std::map<std::string, pid_t> relays_;
  std::map<std::size_t, pid_t> stopped_executors_;  // by their fault
  std::map<std::string, Instant> stopped_;
  std::vector<Pause> pauses_;
};

}  // namespace gpupool::test
