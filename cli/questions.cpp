#include "cli/questions.h"

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/say.h"
#include "cli/views.h"

namespace gpupool {
namespace {

// Connects, asks, and prints the answer for people or for programs.
template <class Ask, class View>
ExitCode ask(const Connection& connection, Ask question, View view) {
  const Result<std::unique_ptr<Client>> client = connect(connection);
  if (!client) return say_error(connection, client.error());
  const InterruptGuard interrupts(**client);
  const auto answer = question(**client);
  if (!answer) return say_error(connection, answer.error());
  print(connection.json ? text_of(json_of(*answer)) : view(style_of(1), *answer));
  return ExitCode::done;
}

}  // namespace

ExitCode quota(const Connection& connection) {
  return ask(
      connection, [](Client& client) { return client.quota(); }, quota_view);
}

ExitCode receipts(const Connection& connection, const ReceiptsOptions& options) {
  JobId before;
  if (!options.before.empty()) {
    const Result<JobId> job = parse_job(options.before);
    if (!job) return say_usage_error(connection, job.error());
    before = *job;
  }
  return ask(
      connection, [&](Client& client) { return client.receipts(before, options.limit); },
      receipts_view);
}

ExitCode usage(const Connection& connection, const UsageOptions& options) {
  Instant since;
  if (!options.since.empty()) {
    const Result<Instant> moment = parse_since(options.since, wall_time());
    if (!moment) return say_usage_error(connection, moment.error());
    since = *moment;
  }
  return ask(
      connection, [&](Client& client) { return client.usage(since, options.limit); }, usage_view);
}

ExitCode explain(const Connection& connection, const std::string& job_or_request) {
  const Result<JobOrRequest> wanted = parse_job_or_request(job_or_request);
  if (!wanted) return say_usage_error(connection, wanted.error());
  return ask(
      connection,
      [&](Client& client) {
        return wanted->job ? client.explain(wanted->job) : client.explain(wanted->request);
      },
      explain_view);
}

ExitCode jobs(const Connection& connection) {
  return ask(
      connection, [](Client& client) { return client.jobs(); }, jobs_view);
}

ExitCode cancel(const Connection& connection, const std::string& job) {
  const Result<JobId> wanted = parse_job(job);
  if (!wanted) return say_usage_error(connection, wanted.error());
  Caller caller;
  return ask(
      connection,
      [&](Client& client) {
        caller = client.welcome().caller;
        return client.cancel(*wanted);
      },
      [&](const Style& style, const JobDone& done) { return receipt_view(style, done, caller); });
}

}  // namespace gpupool
