#include "cli/say.h"

#include <cstdio>

#include "actors/describe.h"
#include "cli/views.h"

namespace gpupool {
namespace {

// Where nothing answers at all; other failures to connect say themselves what to do.
std::string next_step(const Error& error) {
  if (error.code == Errc::job_unknown)
    return "  hint: gpupool jobs lists what is queued and running, gpupool receipts what is over\n";
  if (error.code != Errc::not_connected || !error.detail.starts_with("no pool answers")) return "";
  return "  hint: start one with gpupoold --config FILE, or name the right one with --endpoint or\n"
         "  GPUPOOL_ENDPOINT; of a pool with several brokers name all, with commas\n";
}

std::string error_line(const Error& error) {
  const Style style = style_of(2);
  return coloured(style, Colour::red, "error: " + std::string(name_of(error.code))) + "\n  " +
         wrapped(style, printable(describe(error)), 2) + "\n" + next_step(error);
}

// The codes of admission (the first hundred of errors.def) are refusals wherever they come from,
// e.g. from the greeting of a caller whose token has expired.
bool is_admission(Errc code) { return code >= Errc::bad_request && code < Errc::job_unknown; }

Refusal refusal_of(const Error& error) {
  Refusal refusal{.code = error.code, .want = error.want, .have = error.have};
  refusal.detail = error.detail;
  refusal.sentence = sentence_of(refusal);
  refusal.hint = hint_of(refusal);
  return refusal;
}

}  // namespace

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void print_error(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

ExitCode say_error(const Connection& connection, const Error& error) {
  if (is_admission(error.code)) return say_refusal(connection, refusal_of(error));
  if (connection.json) {
    print(text_of({{"error", json_of(error)}}));
  } else {
    print_error(error_line(error));
  }
  return exit_code_of(error.code);
}

ExitCode say_refusal(const Connection& connection, const Refusal& refusal) {
  if (connection.json) {
    print(text_of({{"refused", json_of(refusal)}}));
  } else {
    print_error(refusal_view(style_of(2), refusal));
  }
  return ExitCode::refused;
}

ExitCode say_usage_error(const Connection& connection, const Error& error) {
  if (connection.json) {
    print(text_of({{"error", json_of(error)}}));
  } else {
    print_error("gpupool: " + printable(error.detail.empty() ? describe(error) : error.detail) +
                "\n");
  }
  return ExitCode::usage;
}

}  // namespace gpupool
