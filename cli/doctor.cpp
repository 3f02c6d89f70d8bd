#include "cli/doctor.h"

#include <algorithm>
#include <cstdlib>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/build.h"
#include "cli/diagnosis.h"
#include "cli/follow_job.h"
#include "cli/say.h"

namespace gpupool {
namespace {

std::string endpoint_from(const std::string& endpoint) {
  const char* variable = std::getenv("GPUPOOL_ENDPOINT");
  if (variable && endpoint == variable) return "GPUPOOL_ENDPOINT";
  return endpoint == ClientOptions{}.endpoint ? "the default" : "--endpoint";
}

std::string token_from(const Connection& connection) {
  if (!connection.token_file.empty()) return "the file " + connection.token_file;
  return std::getenv("GPUPOOL_TOKEN") ? "GPUPOOL_TOKEN" : "";
}

// The app that the account used last: it tells whether the pool takes jobs at all. Empty: none yet.
std::string last_app(Client& client, const Evidence& evidence) {
  if (!*evidence.quota) return "";
  if (const std::string& app = (*evidence.quota)->balance.advice.app; !app.empty()) return app;
  const Result<ReceiptsAnswer> answer = client.receipts({}, 1);
  return answer && !answer->receipts.empty() ? answer->receipts.front().app : "";
}

void ask_pool(const Connection& connection, JobRequest body, Evidence& evidence) {
  const Result<std::unique_ptr<Client>> client = connect(connection);
  evidence.now = wall_time();
  if (!client) {
    evidence.unreachable = client.error();
    return;
  }
  const InterruptGuard interrupts(**client);
  evidence.welcome = (*client)->welcome();
  evidence.endpoint = (*client)->endpoint();
  evidence.quota = (*client)->quota();
  evidence.now = wall_time();
  if (body.app.empty()) {
    body.app = evidence.app = last_app(**client, evidence);
    evidence.is_last = true;
  }
  if (!body.app.empty()) evidence.quote = (*client)->quote(body);
}

std::string view_of(const Style& style, const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& one : findings) {
    const Colour colour = one.health == Health::good   ? Colour::green
                          : one.health == Health::bad  ? Colour::red
                          : one.health == Health::note ? Colour::yellow
                                                       : Colour::dim;
    text += coloured(style, colour, padded_right(std::string(word_of(one.health)), 8)) + " " +
            padded_right(one.name, 9) + " " + wrapped(style, printable(one.text), 19) + "\n";
    if (!one.next.empty()) text += "         -> " + wrapped(style, printable(one.next), 12) + "\n";
  }
  return text + wrapped(style, summary_of(findings), 0) + "\n";
}

Json json_of(const std::vector<Finding>& findings) {
  Json checks = Json::array();
  for (const Finding& one : findings)
    checks.push_back({{"name", one.name},
                      {"health", word_of(one.health)},
                      {"text", one.text},
                      {"next", one.next.empty() ? Json(nullptr) : Json(one.next)}});
  const Finding* problem = problem_of(findings);
  return {{"checks", std::move(checks)},
          {"problem", problem ? Json(problem->name) : Json(nullptr)},
          {"summary", summary_of(findings)}};
}

ExitCode code_of(const Finding* problem, const Evidence& evidence) {
  if (!problem) return ExitCode::done;
  if (evidence.unreachable) return exit_code_of(evidence.unreachable->code);
  return evidence.welcome ? ExitCode::refused : ExitCode::usage;
}

}  // namespace

ExitCode doctor(const Connection& connection, const DoctorOptions& options) {
  JobRequest body{.app = options.app, .size = options.size};
  if (const Status read = read_times({options.duration_s, ""}, body); !read)
    return say_usage_error(connection, read.error());
  Evidence evidence{.endpoint = connection.endpoint,
                    .endpoint_from = endpoint_from(connection.endpoint),
                    .token_from = token_from(connection),
                    .token = read_token(connection.token_file),
                    .build = build_string(),
                    .now = wall_time(),
                    .app = options.app};
  if (evidence.token) ask_pool(connection, body, evidence);
  const std::vector<Finding> findings = diagnose(evidence);
  print(connection.json ? text_of(json_of(findings)) : view_of(style_of(1), findings));
  return code_of(problem_of(findings), evidence);
}

}  // namespace gpupool
