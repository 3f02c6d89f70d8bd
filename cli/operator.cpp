#include "cli/operator.h"

#include "actors/describe.h"
#include "actors/request_id.h"
#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/say.h"
#include "cli/views.h"

namespace gpupool {
namespace {

// The console's own refusals are whole sentences about a command, not about a job.
bool is_of_console(const Error& error) {
  const Errc code = error.code;
  return !error.detail.empty() &&
         (code == Errc::quota_exceeded || code == Errc::id_expired || code == Errc::id_reused ||
          code == Errc::bad_request || code == Errc::forbidden || code == Errc::job_unknown ||
          code == Errc::overloaded || code == Errc::ledger_unavailable);
}

Result<Table> ask_console(const Connection& connection, std::vector<std::string> words) {
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return client.error();
  const InterruptGuard interrupts(**client);
  return (*client)->operate(std::move(words));
}

ExitCode show(const Connection& connection, const Table& table) {
  print(connection.json ? text_of(json_of(table)) : table_view(style_of(1), table));
  return ExitCode::done;
}

}  // namespace

ExitCode say_console_error(const Connection& connection, const Error& error) {
  if (!is_of_console(error)) return say_error(connection, error);
  if (connection.json) return say_refusal(connection, refusal_by_console(error));
  const Style style = style_of(2);
  print_error(coloured(style, Colour::red, "refused: " + std::string(name_of(error.code))) +
              "\n  " + wrapped(style, printable(error.detail), 2) + "\n");
  return exit_code_of(error.code);
}

Refusal refusal_by_console(const Error& error) {
  return {.code = error.code,
          .want = error.want,
          .have = error.have,
          .detail = error.detail,
          .sentence = error.detail};
}

std::vector<std::string> words_of(const std::string& command, const OperatorOptions& options) {
  std::vector<std::string> words{command};
  words.insert(words.end(), options.names.begin(), options.names.end());
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {option, value});
  };
  add("--after", options.after);
  add("--limit", options.limit);
  add("--give-back", options.give_back);
  add("--charge", options.charge);
  add("--why", options.why);
  add("--id", options.id);
  if (options.take_back) words.emplace_back("--take-back");
  if (options.from_token) words.emplace_back("--from-token");
  if (options.clear) words.emplace_back("--clear");
  return words;
}

ExitCode operate(const Connection& connection, const std::string& command,
                 const OperatorOptions& options) {
  const Result<Table> table = ask_console(connection, words_of(command, options));
  if (!table) return say_console_error(connection, table.error());
  return show(connection, *table);
}

ExitCode operate_once(const Connection& connection, const std::string& command,
                      OperatorOptions options) {
  if (options.id.empty())
    options.id = format_request_id(make_request_id(wall_time(), {draw_random(), draw_random()}));
  const Result<Table> table = ask_console(connection, words_of(command, options));
  if (table) return show(connection, *table);
  Error error = table.error();
  // Whatever was sent may have been carried out; with its id it happens once all the same.
  if (error.code == Errc::outcome_unknown || error.code == Errc::timed_out ||
      error.code == Errc::not_connected || error.code == Errc::interrupted)
    error.detail += (error.detail.empty() ? "" : "; ") +
                    ("the same order again, which happens once: add --id " + options.id);
  return say_console_error(connection, error);
}

ExitCode audit_pool(const Connection& connection) {
  const Result<Table> table = ask_console(connection, {"audit"});
  if (!table) return say_console_error(connection, table.error());
  show(connection, *table);
  return table->rows.empty() ? ExitCode::done : ExitCode::audit_differs;
}

ExitCode changes(const Connection& connection, const ChangesOptions& options) {
  Instant since;
  if (!options.since.empty()) {
    const Result<Instant> moment = parse_since(options.since, wall_time());
    if (!moment) return say_usage_error(connection, moment.error());
    since = *moment;
  }
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  const InterruptGuard interrupts(**client);
  const Result<ChangesAnswer> answer = (*client)->changes(since, options.limit);
  if (!answer) return say_error(connection, answer.error());
  print(connection.json ? text_of(json_of(*answer)) : changes_view(style_of(1), *answer));
  return ExitCode::done;
}

}  // namespace gpupool
