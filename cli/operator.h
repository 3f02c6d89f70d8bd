#pragma once
// What an operator asks and orders through the console, and what everybody may ask: what was
// changed since when. Each gives its words to the pool, prints the table and ends.

#include <cstdint>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/exit_code.h"

namespace gpupool {

// A command's words as CLI11 has sorted them; what is empty was not given.
struct OperatorOptions {
  std::vector<std::string> names;  // in their places
  std::string after;
  std::string limit;
  std::string give_back;
  std::string charge;
  std::string why;
  std::string id;  // of an order that happens once
  bool from_token = false;
  bool clear = false;
  bool take_back = false;
};

struct ChangesOptions {
  std::string since;  // as typed; empty: all that is remembered
  std::uint32_t limit = 50;
};

// {"accounts", "ada", "--limit", "5"}.
std::vector<std::string> words_of(const std::string& command, const OperatorOptions& options);

ExitCode operate(const Connection& connection, const std::string& command,
                 const OperatorOptions& options);
// What the console said against a command, in its own words: those of an admission speak of apps.
ExitCode say_console_error(const Connection& connection, const Error& error);
Refusal refusal_by_console(const Error& error);
// An order that happens once for its id, which is made here unless an earlier one is given again.
ExitCode operate_once(const Connection& connection, const std::string& command,
                      OperatorOptions options);
// Asks the pool to check its ledger; audit_differs if it finds something.
ExitCode audit_pool(const Connection& connection);
ExitCode changes(const Connection& connection, const ChangesOptions& options);

}  // namespace gpupool
