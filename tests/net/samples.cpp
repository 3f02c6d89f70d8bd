#include "tests/net/samples.h"

namespace gpupool {
namespace {

const RequestId request{.high = 0x0190a6c12f3a7b10U, .low = 0x8c4d5e6f70819293U};
const JobId job{1234};
const Instant noon{1'700'000'000'000};

Caller caller() {
  return {.account = {"user:ada"},
          .tier = "free",
          .recognised_by = "token for ada, key k1",
          .is_operator = true,
          .expires = noon + hours(1),
          .token_id = "5f0c2a9d"};
}

JobRequest body() {
  return {.app = "emoji",
          .size = "large",
          .declared = seconds(15),
          .max_wait = seconds(120),
          .detached = true,
          .arguments = {{.key = "prompt", .value = "a red heart \xe2\x9d\xa4"},
                        {.key = "seed", .value = "7"}}};
}

Balance balance() {
  return {.account = {"user:ada"},
          .tier = "free",
          .allowance = {210'000},
          .used = {23'400},
          .held = {60'000},
          .left = {126'600},
          .longest = {180'000},
          .window_opened = noon - hours(2),
          .resets_at = noon + hours(22),
          .held_until = noon + seconds(97),
          .open_jobs = 1,
          .jobs_max = 4,
          .fits = {{.size = "large", .factor = 1, .longest = {126'600}, .offered = true},
                   {.size = "xlarge", .factor = 2, .longest = {63'300}, .offered = false}},
          .at = noon,
          .credits = {600'000},
          .credits_held = {10'000},
          .advice = {.app = "emoji",
                     .runs = 20,
                     .own = true,
                     .longest = milliseconds(7'900),
                     .declare = seconds(10),
                     .first_held = seconds(11),
                     .fits = 12},
          .group = {.account = {"group:workshop"},
                    .credits = {3'600'000},
                    .held = {60'000},
                    .until = noon + hours(4)}};
}

Hold hold() {
  return {.job = job,
          .request = request,
          .body_hash = 0xfedcba9876543210U,
          .account = {"user:ada"},
          .tier = "free",
          .body = body(),
          .partition = "default",
          .slots = 2,
          .factor = 2,
          .declared = seconds(15),
          .occupancy = seconds(52),
          .tier_rank = 10,
          .quota_band = 5,
          .promise = noon + seconds(300),
          .quota_part = {20'000},
          .credits_part = {10'000},
          .window_opened = noon - hours(2),
          .admitted_at = noon,
          .recognised_by = "token for ada, key k1",
          .window_ends = noon + hours(22),
          .learned = seconds(12),
          .blob = BlobRef{.hash = std::string(64, 'b'), .bytes = 5'000},
          .files = std::string(64, 'c'),
          .credits_from = {"group:workshop"}};
}

JobEvent event() {
  return {.job = job,
          .request = request,
          .state = JobState::running,
          .attempt = 2,
          .position = 3,
          .likely_start = noon + seconds(20),
          .promise = noon + seconds(300),
          .step = 12,
          .of_steps = 30,
          .node = "node-1",
          .notice = "queued again: node-2 was lost",
          .hold = hold(),
          .at = noon + seconds(21),
          .likely_latest = noon + seconds(45),
          .held_until = noon + seconds(33),
          .grant = Grant{
              .slot = {3}, .device = "MIG-5c0a1d4e", .token = std::string(48, 'c'), .idle = true}};
}

Receipt receipt() {
  return {.job = job,
          .request = request,
          .account = {"user:ada"},
          .tier = "free",
          .app = "emoji",
          .size = "xlarge",
          .factor = 2,
          .declared = seconds(15),
          .admitted_at = noon,
          .promise = noon + seconds(300),
          .leased_at = noon + seconds(20),
          .ended_at = noon + seconds(27),
          .ran = {6'200},
          .held = {30'000},
          .charged = {12'400},
          .given_back = {17'600},
          .left = {174'200},
          .outcome = Outcome::expired,
          .cause = Errc::executor_stalled,
          .detail = "stopped at its declared end",
          .attempts = 2,
          .node = "node-1",
          .result = {.hash = std::string(64, 'a'),
                     .bytes = 48'213,
                     .media_type = "image/png",
                     .node = {0x123456789abcdef0U}},
          .log = {.hash = std::string(64, 'b'),
                  .bytes = 1'234,
                  .media_type = "text/plain",
                  .node = {0x123456789abcdef0U}},
          .held_credits = {10'000},
          .charged_credits = {2'400},
          .exit_code = 3,
          .signal = 9,
          .credits_from = {"group:workshop"}};
}

Refusal refusal() {
  return {.code = Errc::quota_exceeded,
          .want = 60'000,
          .have = 10'000,
          .request = request,
          .app = "emoji",
          .size = "xlarge",
          .factor = 2,
          .declared = seconds(30),
          .cost = {60'000},
          .recognised_by = "network address 192.0.2.7",
          .balance = balance(),
          .detail = "one job holds 60.0 s",
          .sentence = "60.0 s requested, 10.0 s left",
          .hint = "a 5 s request would be admitted now"};
}

Change change() {
  return {.at = noon,
          .who = "operator user:root",
          .kind = ChangeKind::account,
          .subject = "user:ada",
          .field = "tier",
          .before = "free",
          .after = "pro",
          .why = "for the workshop"};
}

Table table() {
  return {.title = "Nodes",
          .columns = {{.name = "node", .kind = CellKind::text},
                      {.name = "seen", .kind = CellKind::instant}},
          .rows = {{"node-1", "1700000000000"}, {"node-2", "0"}},
          .note = "node-2 is draining",
          .more = "node-2"};
}

void add_questions(std::vector<Sample>& samples) {
  const auto add = [&](const char* name, FromClient message) {
    samples.push_back({name, std::move(message)});
  };
  add("hello", Hello{.token = "header.claims.signature", .program = "gpupool 0.1.0"});
  add("bye", Bye{});
  add("client_ping", ClientPing{.query = 7});
  add("client_submit", ClientSubmit{.query = 8, .request = request, .body = body()});
  add("client_cancel", ClientCancel{.query = 9, .job = job});
  add("client_watch", ClientWatch{.query = 10, .job = job});
  add("client_quota", ClientQuota{.query = 11});
  add("client_receipts", ClientReceipts{.query = 12, .before = job, .limit = 5});
  add("client_jobs", ClientJobs{.query = 13});
  add("client_explain", ClientExplain{.query = 14, .job = job, .request = request});
  add("client_fetch", ClientFetch{.query = 15, .job = job, .offset = 49'152});
  add("client_logs", ClientLogs{.query = 16, .job = job, .offset = 300, .preview = true});
  add("client_changes", ClientChanges{.query = 17, .since = noon - hours(24), .limit = 10});
  add("client_usage", ClientUsage{.query = 19, .since = noon - hours(24), .limit = 7});
  add("client_quote", ClientQuote{.query = 20, .body = body()});
  add("client_upload", ClientUpload{.query = 21,
                                    .hash = std::string(64, 'c'),
                                    .total = 49'160,
                                    .offset = 49'152,
                                    .bytes = std::string{"tar\0\xff end", 8}});
  add("client_overview", ClientOverview{.query = 22});
  add("client_operate", ClientOperate{.query = 18, .words = {"drain", "node-2"}});
}

Overview overview() {
  Overview seen{.at = noon, .started_at = noon - hours(3)};
  seen.nodes = {{.name = "node-1",
                 .state = NodeState::healthy,
                 .build = "0.1.0",
                 .seen = noon,
                 .slots = {{.slot = {1},
                            .device = 0,
                            .state = SlotState::running,
                            .warm_app = "emoji",
                            .job = job,
                            .account = {"user:ada"},
                            .app = "emoji",
                            .ends_by = noon + seconds(50),
                            .partition = "default",
                            .reservation = "class",
                            .why = "",
                            .since = noon - seconds(10)}},
                 .devices = {"cpu, 1 thread"}}};
  seen.slots_left_out = 2;
  seen.queue = {{.job = job,
                 .account = {"user:ada"},
                 .tier = "free",
                 .app = "emoji",
                 .size = "large",
                 .state = JobState::queued,
                 .position = 1,
                 .declared = seconds(60),
                 .admitted_at = noon - seconds(5),
                 .promise = noon + seconds(300),
                 .likely_start = noon + seconds(20),
                 .node = "",
                 .partition = "default"}};
  seen.waiting = 7;
  seen.more_jobs = true;
  seen.pulse = {.at = noon,
                .admitted = 9,
                .started = 8,
                .requeued = 1,
                .missed = 1,
                .succeeded = 5,
                .failed = 1,
                .expired = 1,
                .cancelled = 1,
                .charged = {12'345},
                .waits = {.counts = {1, 2, 3}, .sum_us = 4'500'000},
                .runs = {.counts = {2, 2}, .sum_us = 1'500'000},
                .queued = 7,
                .starting = 1,
                .running = 1,
                .slots_free = 1,
                .slots_busy = 2,
                .slots_down = 1,
                .healthy = 1,
                .lost = 1};
  seen.ledger = {.at = noon,
                 .commits = 20,
                 .records = 40,
                 .commit_times = {.counts = {0, 20}, .sum_us = 18'000},
                 .sequence = 41};
  seen.commits_per_minute = 18;
  seen.records_per_minute = 36;
  seen.refused = {{Errc::quota_exceeded, 3}};
  seen.refused_minute = {{Errc::quota_exceeded, 1}};
  seen.refused_hour = {{Errc::quota_exceeded, 2}};
  seen.hour = {{.at = noon - minutes(1),
                .busy_permille = 500,
                .started = 4,
                .wait_mean = milliseconds(750),
                .wait_p95 = seconds(2),
                .wait_max = seconds(2),
                .refused = 1}};
  seen.day = seen.hour;
  seen.spans_from = noon - minutes(15);
  seen.spans = {{.node = "node-1",
                 .slot = {1},
                 .job = job,
                 .account = {"user:ada"},
                 .app = "emoji",
                 .from = noon - seconds(100),
                 .began = noon - seconds(99),
                 .to = noon - seconds(90)}};
  seen.spans_left_out = 3;
  seen.audit = {.at = noon - hours(1),
                .who = "operator user:root",
                .findings = {"held of user:ada is not the sum of its open holds"},
                .sequence = 30,
                .open_holds = 2,
                .accounts = 4};
  seen.announcement = "maintenance at noon";
  return seen;
}

void add_answers(std::vector<Sample>& samples) {
  const auto add = [&](const char* name, ToClient message) {
    samples.push_back({name, std::move(message)});
  };
  add("session_welcome", SessionWelcome{.caller = caller(),
                                        .pool = "gpupool",
                                        .build = "0.1.0",
                                        .heartbeat = seconds(2),
                                        .announcement = "maintenance at noon"});
  add("session_error", SessionError{.query = 15,
                                    .code = Errc::timed_out,
                                    .want = 30'000,
                                    .have = -1,
                                    .detail = "no answer came"});
  add("session_pong", SessionPong{.query = 7});
  add("session_refused", SessionRefused{.query = 8, .refusal = refusal()});
  add("job_event", event());
  add("job_done", JobDone{.receipt = receipt(), .balance = balance()});
  add("quota_answer", QuotaAnswer{.query = 11, .caller = caller(), .balance = balance()});
  add("receipts_answer", ReceiptsAnswer{.query = 12, .receipts = {receipt()}, .more = true});
  add("jobs_answer", JobsAnswer{.query = 13, .jobs = {event()}});
  add("explain_answer", ExplainAnswer{.query = 14, .story = {{noon, "held 30.0 s"}}});
  add("result_chunk", ResultChunk{.query = 15,
                                  .session = {99},
                                  .job = job,
                                  .offset = 49'152,
                                  .total = 49'158,
                                  .bytes = std::string{"\x89PNG\0\xff", 6},
                                  .error = Errc::result_gone});
  add("log_chunk", LogChunk{.query = 16,
                            .session = {99},
                            .job = job,
                            .offset = 300,
                            .total = 312,
                            .bytes = std::string{"step 12\n\0\xff", 10},
                            .finished = true,
                            .error = Errc::result_gone,
                            .parts = {{.stream = LogStream::output, .bytes = 8},
                                      {.stream = LogStream::error, .bytes = 2}}});
  add("changes_answer",
      ChangesAnswer{
          .query = 17, .changes = {change()}, .more = true, .known_since = noon - hours(24 * 30)});
  add("operate_answer", OperateAnswer{.query = 18, .table = table()});
  add("usage_answer", UsageAnswer{.query = 19,
                                  .days = {{.day = noon,
                                            .jobs = 3,
                                            .succeeded = 2,
                                            .ran = seconds(9),
                                            .held = {180'000},
                                            .charged = {9'000}}},
                                  .more = true});
  add("quote_answer", QuoteAnswer{.query = 20,
                                  .caller = caller(),
                                  .app = "emoji",
                                  .size = "large",
                                  .factor = 1,
                                  .declared = seconds(60),
                                  .cost = {60'000},
                                  .first_held = seconds(11),
                                  .held_credits = {1'000},
                                  .left = {49'000},
                                  .likely_start = noon + seconds(20),
                                  .likely_latest = noon + seconds(45),
                                  .promise = noon + seconds(300),
                                  .ahead = 3,
                                  .balance = balance(),
                                  .refusal = refusal()});
  add("upload_answer", UploadAnswer{.query = 21, .hash = std::string(64, 'c'), .stored = 49'160});
  add("overview_answer", OverviewAnswer{.query = 22, .overview = overview()});
  add("session_notice", SessionNotice{.text = "maintenance at noon"});
}

}  // namespace

std::vector<Sample> every_message() {
  std::vector<Sample> samples;
  add_questions(samples);
  add_answers(samples);
  return samples;
}

}  // namespace gpupool
