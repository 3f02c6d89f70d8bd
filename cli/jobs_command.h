#pragma once
// The commands about jobs of any app: `submit` takes one to its end or leaves it in the queue,
// `wait` follows some that are there, `logs` shows what a run wrote, `result` fetches what it made.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/connection.h"
#include "cli/exit_code.h"
#include "net/json_output.h"

namespace gpupool {

struct SubmitOptions {
  std::string app;
  std::vector<std::string> arguments;  // key=value
  std::string size;
  std::string duration_s;  // as typed
  std::string max_wait_s;
  std::string request;  // an earlier request's id, to ask again; empty: a new one
  std::string output;   // where the result goes; empty: it stays in the pool
  bool detach = false;
};
ExitCode submit(const Connection& connection, const SubmitOptions& options);

ExitCode wait(const Connection& connection, const std::vector<std::string>& jobs);

struct LogsOptions {
  std::string job;
  bool follow = false;  // until the run is over
};
ExitCode logs(const Connection& connection, const LogsOptions& options);

struct ResultOptions {
  std::string job;
  std::string output;  // a file, "-" for standard output; empty: a new name in this folder
};
ExitCode result(const Connection& connection, const ResultOptions& options);

// "key=value"; bad_request without a key or "=".
Result<Argument> parse_argument(const std::string& text);
// Why a job that is over has no result.
Error no_result_of(const Receipt& receipt);
// An error about one job of several, for programs: with its number.
Json json_of_failed(JobId job, const Error& error);
// ".png" for "image/png"; ".bin" for what nobody knows.
std::string extension_of(const std::string& media_type);

// Streams a result into its file, which appears only if it is whole and its hash is the receipt's.
Status save_result(Client& client, const Receipt& receipt, const std::filesystem::path& path);

}  // namespace gpupool
