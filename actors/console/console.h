#pragma once
// The console: everything that an operator asks and orders, as words, and the configuration's terms
// on their way into the ledger. A pure state machine: it owns the questions that it has asked
// ledger and broker for operators, what operators have set (Standing), which it passes on to broker
// and gateway, and what broker, ledger and sessions tell of the last day (PoolHistory). Always
// holds: a command of somebody who is no operator reaches nobody; each Operate is answered once,
// with a table or an error that says what to do; the questions are bounded and none is older than
// console_answer_limit; what it remembers of the pool is bounded, too. One thread (console_actor).

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <variant>

#include "actors/console/command_line.h"
#include "actors/console/pool_history.h"
#include "actors/effects.h"

namespace gpupool {

// A question to ledger or broker without an answer for so long is given up; below what clients and
// sessions wait for theirs. A command is then outcome_unknown, a question timed_out.
inline constexpr Duration console_answer_limit = seconds(8);
inline constexpr std::size_t console_questions_max = 1'024;

// No token lives longer (`gpupool token mint` makes none), so a revocation is kept for so long.
inline constexpr Duration token_life_max = hours(24) * 366 * 10;

class Console {
 public:
  // `config` outlives the console, as does every one given to use().
  explicit Console(const Config& config) : config_(&config) {}
  void use(const Config& config) { config_ = &config; }

  // Tells the ledger the terms that hold, and asks what operators have set.
  Effects start(Instant now);
  Effects step(Instant now, const ToConsole& message);

  const Standing& standing() const { return standing_; }
  std::size_t open_questions() const { return questions_.size(); }

 private:
  struct AccountsAsked {};
  struct AuditAsked {};
  struct QueueAsked {};
  struct NodesAsked {
    std::string after;
  };
  struct RemoveAsked {
    std::string node;
  };
  struct CancelAsked {
    JobId job;
  };
  // A change of a node's drain waits for the nodes, so that a wrong name is noticed.
  struct DrainAsked {
    std::string node;
    bool draining = false;
  };
  // What the answer is called, and its note if something changed and if nothing had to.
  struct ChangeAsked {
    std::string title;
    std::string done;
    std::string already;
  };
  using Purpose = std::variant<AccountsAsked, AuditAsked, QueueAsked, NodesAsked, CancelAsked,
                               DrainAsked, ChangeAsked, RemoveAsked>;

  // Who commands, from where.
  struct Operator {
    SessionId session;
    std::uint64_t query = 0;
    std::string who;
  };
  struct Question {
    Operator from;
    Purpose purpose;
    Instant due{};
  };

  // One command: its grammar, what it is for, and what it does. Any Error is its answer.
  struct Command {
    std::string_view name;
    std::string_view about;
    Grammar grammar;
    Status (Console::*run)(const Operator&, const Grammar&, const CommandLine&);
  };
  static const std::vector<Command>& commands();

  // Who waits for the whole view, and what there is of it so far. Ticket 0: it is there.
  struct Looker {
    SessionId session;
    std::uint64_t query = 0;
  };
  struct Looking {
    std::uint64_t nodes = 0;
    std::uint64_t queue = 0;
    Instant due{};
    Overview view{};
    PoolPulse present{};  // nodes and slots, counted in it
  };

  // console_commands.cpp
  Status run(const Operate& operate);
  Status accounts(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status tier(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status check_group(const Grammar& grammar, const AccountId& account) const;
  Status grant(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status adjust(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status apps(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status nodes(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status queue(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status drain(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status resume(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status remove(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status cancel(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status announce(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status audit(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status revoke(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status help(const Operator& from, const Grammar& grammar, const CommandLine& line);
  Status set_draining(const Question& question, const NodesFound& found);

  // console_overview.cpp
  void on(const PoolPulse& pulse);
  void on(const LedgerPulse& pulse);
  void on(const RefusalNoted& noted);
  void on(const OverviewQuery& query);
  bool looks_at(const NodesFound& found);
  bool looks_at(const QueueFound& found);
  void see_if_whole();
  void give_up_looking();
  void show(const Looker& looker);
  void answer(const Looker& looker, const Error& error);
  static Error operators_only(const Caller& caller);

  void on(const Tick& tick);
  void on(const Operate& operate);
  void on(const Changed& changed);
  void on(const Standing& standing);
  void on(const AccountsFound& found);
  void on(const Audited& audited);
  void on(const NodesFound& found);
  void on(const QueueFound& found);
  void on(const CancelTaken& taken);
  void on(const NodeRemoved& removed);
  void on(const ConfigReloaded& reloaded);

  // Asks `role` and remembers for whom; overloaded if too many questions wait already.
  template <class Message>
  Status ask(const Operator& from, Purpose purpose, Message message);
  // Ends a question and gives it; empty if the answer is too late or to another question.
  template <class Wanted>
  std::optional<Question> take(std::uint64_t ticket);
  void answer(const Operator& to, Table table);
  void answer(const Operator& to, const Error& error);
  static Error given_up(const Question& question);

  // Something that the ledger is told or asked until it has answered, ever less often.
  struct Repeated {
    ToLedger message;
    std::uint64_t ticket = 0;
    Instant due{};
    Duration pause{};
  };
  void configure(const std::string& who);
  void repeat(Repeated& repeated);
  Effects take_effects();

  const Config* config_;
  Instant now_{};
  Effects out_;
  std::uint64_t last_ticket_ = 0;
  std::map<std::uint64_t, Question> questions_;
  std::optional<Repeated> configuring_;    // until the ledger has the terms
  std::optional<Repeated> asks_standing_;  // until it has said what operators have set
  Standing standing_;
  Instant started_{};
  PoolHistory history_;
  AuditSeen audit_;  // the last one
  std::optional<Looking> looking_;
  std::vector<Looker> lookers_;
  Shared<Overview> seen_;  // the last whole view
};

}  // namespace gpupool
