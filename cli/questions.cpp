#include "cli/questions.h"

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/follow_job.h"
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

ExitCode quote(const Connection& connection, const QuoteOptions& options) {
  JobRequest body{.app = options.app, .size = options.size};
  if (const Status read = read_times({options.duration_s, options.max_wait_s}, body); !read)
    return say_usage_error(connection, read.error());
  bool refused = false;
  const ExitCode code = ask(
      connection,
      [&](Client& client) {
        Result<QuoteAnswer> answer = client.quote(body);
        refused = answer && answer->refusal.code != Errc{};
        return answer;
      },
      quote_view);
  return refused && code == ExitCode::done ? ExitCode::refused : code;
}

// With what they say about the next run, which is the account's balance that knows.
ExitCode receipts(const Connection& connection, const ReceiptsOptions& options) {
  JobId before;
  if (!options.before.empty()) {
    const Result<JobId> job = parse_job(options.before);
    if (!job) return say_usage_error(connection, job.error());
    before = *job;
  }
  Balance balance;
  return ask(
      connection,
      [&](Client& client) {
        Result<ReceiptsAnswer> answer = client.receipts(before, options.limit);
        if (answer && !connection.json)
          if (const auto quota = client.quota()) balance = quota->balance;
        return answer;
      },
      [&](const Style& style, const ReceiptsAnswer& answer) {
        return receipts_view(style, answer, balance.advice);
      });
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
