// What an operator can type: the table of commands, and one function for each.
#include <algorithm>

#include "actors/console/console.h"
#include "actors/console/tables.h"
#include "actors/describe.h"
#include "actors/session/request_shape.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::uint32_t page = 50;  // rows of an answer, if --limit says nothing else

}  // namespace

Error Console::operators_only(const Caller& caller) {
  return {.code = Errc::forbidden,
          .detail = "only operators may, and " + caller.account.text + ", recognised by " +
                    caller.recognised_by +
                    ", is none; an operator's token is made with `gpupool token mint --user NAME "
                    "--role operator` and given with --token-file or GPUPOOL_TOKEN"};
}

const std::vector<Console::Command>& Console::commands() {
  static const std::vector<Command> all{
      {"accounts",
       "who has used the pool, and what they have left",
       {"accounts [NAME] [--after ACCOUNT] [--limit N]", 0, 1, {"--after", "--limit"}, {}},
       &Console::accounts},
      {"tier",
       "the tiers, or the tier of one user from now on",
       {"tier [USER TIER | USER --from-token]", 0, 2, {}, {"--from-token"}},
       &Console::tier},
      {"grant",
       "credits for a user, or the taking back of some",
       {"grant USER AMOUNT --why TEXT [--take-back] --id UUID",
        2,
        2,
        {"--why", "--id"},
        {"--take-back"}},
       &Console::grant},
      {"adjust",
       "what a user has used of the open window",
       {"adjust USER --give-back AMOUNT | --charge AMOUNT --why TEXT --id UUID",
        1,
        1,
        {"--give-back", "--charge", "--why", "--id"},
        {}},
       &Console::adjust},
      {"apps", "what the pool can run", {"apps", 0, 0, {}, {}}, &Console::apps},
      {"nodes",
       "the nodes, their slots and what runs there",
       {"nodes [--after NODE]", 0, 0, {"--after"}, {}},
       &Console::nodes},
      {"queue",
       "every job that is not over, in order of arrival",
       {"queue [--after JOB] [--limit N]", 0, 0, {"--after", "--limit"}, {}},
       &Console::queue},
      {"drain",
       "give a node no new leases; what runs there goes on",
       {"drain NODE", 1, 1, {}, {}},
       &Console::drain},
      {"resume", "give a node leases again", {"resume NODE", 1, 1, {}, {}}, &Console::resume},
      {"remove",
       "forget a node that is lost and does not come back",
       {"remove NODE", 1, 1, {}, {}},
       &Console::remove},
      {"cancel", "end anybody's job", {"cancel JOB", 1, 1, {}, {}}, &Console::cancel},
      {"announce",
       "tell everybody something, until it is cleared",
       {"announce TEXT... | --clear",
        0,
        static_cast<std::size_t>(limits::operate_words_max),
        {},
        {"--clear"}},
       &Console::announce},
      {"audit", "check every invariant of the ledger", {"audit", 0, 0, {}, {}}, &Console::audit},
      {"revoke",
       "refuse a token, or all tokens that a user has now",
       {"revoke --token ID | --user NAME", 0, 0, {"--token", "--user"}, {}},
       &Console::revoke},
      {"help", "this list", {"help", 0, 0, {}, {}}, &Console::help},
  };
  return all;
}

void Console::on(const Operate& operate) {
  if (const Status done = run(operate); !done)
    answer(Operator{.session = operate.session, .query = operate.query, .who = {}}, done.error());
}

Status Console::run(const Operate& operate) {
  if (!operate.caller.is_operator) return operators_only(operate.caller);
  if (Status shape = check_words(operate.words); !shape) return shape;
  const auto command = std::find_if(commands().begin(), commands().end(), [&](const Command& one) {
    return one.name == operate.words.front();
  });
  if (command == commands().end()) {
    std::vector<std::string> names;
    for (const Command& one : commands()) names.emplace_back(one.name);
    return Error{.code = Errc::bad_request,
                 .detail = "there is no such command; there are " + list_of(names)};
  }
  const Result<CommandLine> line =
      parse_command(command->grammar, {operate.words.begin() + 1, operate.words.end()});
  if (!line) return line.error();
  const Operator from{.session = operate.session,
                      .query = operate.query,
                      .who = "operator " + operate.caller.account.text};
  return (this->*command->run)(from, command->grammar, *line);
}

template <class Message>
Status Console::ask(const Operator& from, Purpose purpose, Message message) {
  if (questions_.size() >= console_questions_max)
    return Error{.code = Errc::overloaded,
                 .detail = std::to_string(questions_.size()) +
                           " commands of operators wait for their answer, which is the most; try "
                           "again in " +
                           seconds_text(console_answer_limit)};
  message.ticket = ++last_ticket_;
  questions_[message.ticket] = {
      .from = from, .purpose = std::move(purpose), .due = now_ + console_answer_limit};
  if constexpr (std::is_constructible_v<ToLedger, Message>) {
    out_.to(to_ledger(), ToLedger{std::move(message)});
  } else {
    out_.to(to_broker(), ToBroker{std::move(message)});
  }
  return ok();
}

// ---- Accounts and tiers ------------------------------------------------------------------------

Status Console::accounts(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const Result<std::uint32_t> limit = parse_limit(grammar, line, page);
  if (!limit) return limit.error();
  AccountsQuery query{.limit = *limit};
  if (!line.names.empty()) {
    const Result<AccountId> account = parse_account_or_group(grammar, line.names.front());
    if (!account) return account.error();
    query.account = *account;
  }
  if (line.has("--after")) {
    const Result<AccountId> after = parse_account_or_group(grammar, line.value("--after"));
    if (!after) return after.error();
    query.after = *after;
  }
  return ask(from, AccountsAsked{}, std::move(query));
}

Status Console::tier(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const bool from_token = line.has("--from-token");
  if (line.names.empty() && !from_token) {
    answer(from, table_of_tiers(*config_, standing_));
    return ok();
  }
  if (line.names.size() != (from_token ? 1U : 2U))
    return misused(grammar, "a user needs one tier, or --from-token");
  const Result<AccountId> account = parse_account(grammar, line.names.front());
  if (!account) return account.error();
  const std::string tier = from_token ? "" : line.names[1];
  if (!from_token && config_->tier(tier) == nullptr) {
    std::vector<std::string> names;
    for (const TierConfig& one : config_->tiers) names.push_back(one.name);
    return misused(grammar, "this pool has no tier of that name; its tiers are " + list_of(names));
  }
  const std::string source =
      from_token ? "the tier of its tokens" : "tier " + tier + ", whatever its tokens say";
  return ask(from,
             ChangeAsked{.title = "tier",
                         .done = account->text + " has " + source +
                                 ", from now on; holds that are open stay as they are",
                         .already = account->text + " has " + source + " already"},
             SetAccountTier{.who = from.who, .account = *account, .tier = tier});
}

// A group that nobody configured would keep what it is given from everybody.
Status Console::check_group(const Grammar& grammar, const AccountId& account) const {
  if (!account.text.starts_with("group:")) return ok();
  std::string names;
  for (const GroupConfig& group : config_->groups) {
    if (group.account() == account.text) return ok();
    names += (names.empty() ? "group:" : ", group:") + group.name;
  }
  return misused(grammar, "the configuration has no " + account.text +
                              (names.empty() ? "; it has no [[groups]]" : "; it has " + names));
}

Status Console::grant(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const Result<AccountId> account = parse_account_or_group(grammar, line.names[0]);
  if (!account) return account.error();
  if (!line.has("--take-back"))
    if (const Status known = check_group(grammar, *account); !known) return known;
  const Result<GpuTime> amount = parse_amount(grammar, line.names[1]);
  if (!amount) return amount.error();
  if (line.value("--why").empty()) return misused(grammar, "--why is needed: the user can read it");
  const Result<RequestId> id = parse_order_id(grammar, line);
  if (!id) return id.error();
  const bool takes_back = line.has("--take-back");
  return ask(from,
             ChangeAsked{.title = "grant",
                         .done = seconds_text(*amount) + " of credits were " +
                                 (takes_back ? "taken back from " : "granted to ") + account->text,
                         .already = ""},
             GrantCredits{.who = from.who,
                          .id = *id,
                          .account = *account,
                          .amount = takes_back ? GpuTime{} - *amount : *amount,
                          .why = line.value("--why")});
}

Status Console::adjust(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const Result<AccountId> account = parse_account(grammar, line.names.front());
  if (!account) return account.error();
  const bool gives_back = line.has("--give-back");
  if (gives_back == line.has("--charge"))
    return misused(grammar, "either --give-back or --charge is needed");
  const Result<GpuTime> amount =
      parse_amount(grammar, line.value(gives_back ? "--give-back" : "--charge"));
  if (!amount) return amount.error();
  if (line.value("--why").empty()) return misused(grammar, "--why is needed: the user can read it");
  const Result<RequestId> id = parse_order_id(grammar, line);
  if (!id) return id.error();
  return ask(from,
             ChangeAsked{.title = "adjust",
                         .done = seconds_text(*amount) + " of this window's quota were " +
                                 (gives_back ? "given back to " : "charged to ") + account->text,
                         .already = ""},
             AdjustQuota{.who = from.who,
                         .id = *id,
                         .account = *account,
                         .amount = gives_back ? GpuTime{} - *amount : *amount,
                         .why = line.value("--why")});
}

Status Console::apps(const Operator& from, const Grammar&, const CommandLine&) {
  answer(from, table_of_apps(*config_));
  return ok();
}

// ---- Nodes and jobs ----------------------------------------------------------------------------

Status Console::nodes(const Operator& from, const Grammar&, const CommandLine& line) {
  return ask(from, NodesAsked{line.value("--after")}, NodesQuery{});
}

Status Console::queue(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const Result<std::uint32_t> limit = parse_limit(grammar, line, page);
  if (!limit) return limit.error();
  QueueQuery query{.limit = *limit};
  if (line.has("--after")) {
    const Result<JobId> after = parse_job_number(grammar, line.value("--after"));
    if (!after) return after.error();
    query.after = *after;
  }
  return ask(from, QueueAsked{}, query);
}

Status Console::drain(const Operator& from, const Grammar&, const CommandLine& line) {
  return ask(from, DrainAsked{.node = line.names.front(), .draining = true}, NodesQuery{});
}

Status Console::resume(const Operator& from, const Grammar&, const CommandLine& line) {
  return ask(from, DrainAsked{.node = line.names.front(), .draining = false}, NodesQuery{});
}

// The nodes are known now: a name that none of them has, and that no drain names, is a mistake.
Status Console::set_draining(const Question& question, const NodesFound& found) {
  const auto& wish = *std::get_if<DrainAsked>(&question.purpose);
  const auto node = std::find_if(found.nodes.begin(), found.nodes.end(),
                                 [&](const NodeView& one) { return one.name == wish.node; });
  const bool drains_already = std::find(standing_.draining.begin(), standing_.draining.end(),
                                        wish.node) != standing_.draining.end();
  if (node == found.nodes.end() && !drains_already) {
    std::vector<std::string> names;
    constexpr std::size_t names_shown = 5;
    for (const NodeView& one : found.nodes)
      if (names.size() < names_shown) names.push_back(one.name);
    const std::size_t more = found.nodes.size() - names.size();
    return Error{.code = Errc::bad_request,
                 .detail = "this pool knows no node of that name; its nodes are " + list_of(names) +
                           (more > 0 ? " and " + std::to_string(more) + " more" : "") +
                           " (`gpupool nodes`)"};
  }
  const bool away = node == found.nodes.end() || node->state == NodeState::lost;
  const auto busy = away ? 0
                         : std::count_if(node->slots.begin(), node->slots.end(),
                                         [](const SlotView& slot) { return bool{slot.job}; });
  const std::string is_away = away ? "; it is away now, and this holds when it is back" : "";
  std::string runs;
  if (busy == 1) runs = "; one of its slots has a job, which goes on to its end";
  if (busy > 1)
    runs = "; " + std::to_string(busy) + " of its slots have jobs, which go on to their end";
  const bool has_some_out =
      !away && std::any_of(node->slots.begin(), node->slots.end(),
                           [](const SlotView& one) { return !one.why.empty(); });
  const std::string tries = has_some_out ? " and tries the slots again that it took out" : "";
  const std::string state =
      wish.node + (wish.draining ? " gets no new leases" + runs : " gets leases" + tries) + is_away;
  const std::string title = wish.draining ? "drain" : "resume";
  if (!wish.draining && !away) out_.to(to_broker(), ToBroker{ResumeNode{wish.node}});
  return ask(question.from,
             ChangeAsked{.title = title, .done = state, .already = state + ", as before"},
             SetDraining{.who = question.from.who, .node = wish.node, .draining = wish.draining});
}

Status Console::remove(const Operator& from, const Grammar&, const CommandLine& line) {
  return ask(from, RemoveAsked{line.names.front()}, RemoveNode{.node = line.names.front()});
}

Status Console::cancel(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const Result<JobId> job = parse_job_number(grammar, line.names.front());
  if (!job) return job.error();
  return ask(from, CancelAsked{*job}, OperatorCancel{.who = from.who, .job = *job});
}

// ---- The pool as a whole -----------------------------------------------------------------------

Status Console::announce(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  const bool clear = line.has("--clear");
  if (clear != line.names.empty())
    return misused(grammar, clear ? "--clear stands alone" : "there is no text");
  std::string text;
  for (const std::string& word : line.names) text += (text.empty() ? "" : " ") + word;
  if (!clear && text.find_first_not_of(' ') == std::string::npos)
    return misused(grammar, "the text has nothing but spaces");
  if (std::cmp_greater(text.size(), limits::announcement_bytes_max))
    return misused(grammar, "the text has " + std::to_string(text.size()) + " bytes, at most " +
                                std::to_string(limits::announcement_bytes_max) + " are allowed");
  return ask(from,
             ChangeAsked{.title = "announce",
                         .done = clear ? "nothing is announced any more"
                                       : "every client is told, now or when it connects",
                         .already = clear ? "nothing was announced" : "this is announced already"},
             Announce{.who = from.who, .text = text});
}

Status Console::audit(const Operator& from, const Grammar&, const CommandLine&) {
  return ask(from, AuditAsked{}, AuditQuery{});
}

Status Console::revoke(const Operator& from, const Grammar& grammar, const CommandLine& line) {
  if (line.has("--token") == line.has("--user"))
    return misused(grammar, "either a token or a user is needed");
  RevokeToken revocation{
      .who = from.who, .issued_before = now_, .forget_at = now_ + token_life_max};
  ChangeAsked purpose{.title = "revoke"};
  if (line.has("--token")) {
    revocation.token_id = line.value("--token");
    if (std::cmp_greater(revocation.token_id.size(), limits::account_bytes_max))
      return misused(grammar, "a token's id has at most " +
                                  std::to_string(limits::account_bytes_max) +
                                  " bytes; `gpupool token inspect` shows it as \"jti\"");
    if (revocation.token_id.find(' ') != std::string::npos)
      return misused(grammar,
                     "a token's id has no spaces; `gpupool token inspect` shows it as \"jti\"");
    purpose.done = "the token with this id is refused from now on";
    purpose.already = "it was refused already";
  } else {
    const Result<AccountId> account = parse_account(grammar, line.value("--user"));
    if (!account) return account.error();
    revocation.account = *account;
    purpose.done = "tokens of " + account->text + " that were issued before " + utc_text(now_) +
                   " are refused from now on; later ones are good";
    purpose.already = "they were refused already";
  }
  return ask(from, std::move(purpose), std::move(revocation));
}

Status Console::help(const Operator& from, const Grammar&, const CommandLine&) {
  Table table{.title = "help", .columns = {{"usage"}, {"about"}}};
  for (const Command& command : commands())
    table.rows.push_back({std::string(command.grammar.usage), std::string(command.about)});
  answer(from, std::move(table));
  return ok();
}

}  // namespace gpupool
