#pragma once
// How a command ends: its answer on standard output; an error or refusal on standard error, or with
// --json as one object on standard output; and the exit code that goes with it.

#include <string>

#include "actors/messages.h"
#include "cli/connection.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"
#include "net/json_output.h"

namespace gpupool {

void print(const std::string& text);
void print_error(const std::string& text);

// {"error": {...}} or one line.
ExitCode say_error(const Connection& connection, const Error& error);
// {"refused": {...}} or its view.
ExitCode say_refusal(const Connection& connection, const Refusal& refusal);
// A mistake in the command line: exit code 2.
ExitCode say_usage_error(const Connection& connection, const Error& error);

}  // namespace gpupool
