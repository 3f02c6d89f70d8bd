#pragma once
// A simulated operator beside the real console: commands at random, some twice and some wrong,
// questions, and a configuration that is reloaded with other terms. It keeps its own list of what
// stands, made from the answers it got, and checks that the ledger says the same; so nobody else
// changes what stands: clients with an operator's token ask the real console only for what changes
// none of it. It lives in the broker's process: what it waited for dies with it, and then it asks
// what stands.

#include <functional>
#include <map>
#include <set>
#include <string>

#include "actors/messages.h"
#include "base/prng.h"
#include "tests/sim/checks.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"

namespace gpupool::sim {

class Operator {
 public:
  // Nothing happens while there is no pool.
  struct Console {
    std::function<void(const ToLedger&)> to_ledger;
    std::function<void(const ToBroker&)> to_broker;
  };

  Operator(Schedule& schedule, const Plan& plan, Prng rng, Console console);

  void start() { act_later(); }
  void pool_started();
  void pool_died();
  // Answers to its own questions, which no other can be taken for, and what stands.
  static bool is_for_operator(const ToConsole& message);
  void hear(const ToConsole& message);

  // No new commands from now on, and every node works again.
  void settle_down() { settling_ = true; }
  bool at_rest() const { return known_ && draining_.empty(); }

 private:
  static constexpr std::uint64_t first_ticket = 1'000'000'000;

  void act_later();
  void act();
  void set_tier();
  void grant();
  void adjust();
  template <class Command>
  void order_once(Command command);
  void revoke();
  void drain(const std::string& node, bool draining);
  void ask();
  void configure(const std::string& who);
  void reload();
  void command(const ToLedger& message, std::uint64_t ticket);
  std::string draw_account();

  void on(const Tick&) {}
  void on(const Operate&) {}
  void on(const Changed& changed);
  void on(const Standing& standing);
  void on(const AccountsFound& found);
  void on(const Audited& audited);
  void on(const NodesFound&) {}
  void on(const QueueFound&) {}
  void on(const CancelTaken&) {}
  void on(const NodeRemoved&) {}
  void on(const ConfigReloaded&) {}
  void on(const PoolPulse&) {}
  void on(const LedgerPulse&) {}
  void on(const RefusalNoted&) {}
  void on(const OverviewQuery&) {}

  // What a command that took effect made of what stands.
  template <class Command>
  void took_effect(const Command&) {}
  void took_effect(const SetAccountTier& command);
  void took_effect(const SetDraining& command);
  void took_effect(const Announce& command) { announcement_ = command.text; }
  void answered_once(const ToLedger& command, const Changed& changed);

  Schedule& schedule_;
  const Plan& plan_;
  Prng rng_;
  const Console console_;
  Config config_;  // as it was read last
  bool settling_ = false;
  std::uint64_t tickets_ = first_ticket;
  std::map<std::uint64_t, ToLedger> waiting_;
  std::vector<ToLedger> ordered_;              // grants and adjustments, to be sent again
  std::map<RequestId, std::string> answered_;  // what each of them changed
  // What stands, once it is known in this process.
  bool known_ = false;
  std::map<std::string, std::string> tiers_;
  std::set<std::string> draining_;
  std::string announcement_;
};

}  // namespace gpupool::sim
