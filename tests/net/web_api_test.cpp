// The web front without sockets: what is said to sessions, and what becomes of their answers.
#include "net/web_api.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "actors/request_id.h"
#include "net/web_limits.h"
#include "tests/net/fake_reply.h"

using namespace gpupool;
using nlohmann::json;

namespace {

constexpr Instant noon{1'795'348'800'000};  // 2026-11-22T12:00:00Z

class Front {
 public:
  Front() {
    config.pool = "lab";
    config.web.endpoint = "127.0.0.1:7490";
    config.apps = {{.name = "emoji", .executor = ExecutorKind::diffusion}};
  }

  std::shared_ptr<Seen> ask(HttpRequest request) {
    auto seen = std::make_shared<Seen>();
    if (request.peer.address.empty()) request.peer.address = "127.0.0.1";
    api.serve(now, request, std::make_shared<FakeReply>(seen));
    return seen;
  }
  std::shared_ptr<Seen> get(const std::string& path) {
    return ask({.method = "GET", .path = path, .authorization = "Bearer " + token});
  }
  std::shared_ptr<Seen> post(const std::string& path, const std::string& body,
                             decltype(HttpRequest::query) query = {}) {
    return ask({.method = "POST",
                .path = path,
                .query = std::move(query),
                .authorization = "Bearer " + token,
                .content_type = "application/json",
                .body = body});
  }
  // The one open session, and the last that it was asked.
  SessionId session() const {
    REQUIRE(open.size() == 1);
    return open.begin()->first;
  }
  template <class Message>
  std::optional<Message> said() {
    for (auto it = told.rbegin(); it != told.rend(); ++it)
      if (const auto* one = std::get_if<Message>(&it->second)) return *one;
    return std::nullopt;
  }
  void answer(const ToClient& message) { api.hear(now, session(), message); }
  void pass(Duration time) {
    now = now + time;
    api.tick(now);
  }

  Config config = default_config();
  Instant now{1'000};
  std::string token = "ada";
  std::string announcement;
  std::map<SessionId, Caller> open;
  std::vector<std::pair<SessionId, ToSession>> told;
  Status may_open = ok();
  bool revoked = false;
  std::uint64_t drawn = 0;
  WebApi api{"0.1.0",
             {.config = [this]() -> const Config& { return config; },
              .welcome = [this](const Introduction& who) { return recognise(who); },
              .may_come = [](const Introduction&) { return ok(); },
              .recognise = [this](const Introduction& who) { return recognise(who); },
              .open =
                  [this](SessionId id, const Caller& caller) {
                    if (may_open) open[id] = caller;
                    return may_open;
                  },
              .say = [this](SessionId id, ToSession what) { told.emplace_back(id, what); },
              .close = [this](SessionId id) { open.erase(id); },
              .random = [this] { return ++drawn * 0x9e3779b97f4a7c15ULL; },
              .wall_now = [] { return noon; },
              .pool_now = [] { return noon; },
              .announcement = [this] { return announcement; },
              .process = [] { return ProcessFacts{.sessions = 3}; }}};

 private:
  Result<Caller> recognise(const Introduction& who) const {
    if (who.token == "bad" || revoked)
      return Error{.code = Errc::unauthenticated, .detail = "its signature is wrong"};
    const std::string account =
        who.token.empty() ? "address:" + who.peer_address : "user:" + who.token;
    return Caller{.account = {account},
                  .tier = "free",
                  .recognised_by = "a test's word",
                  .is_operator = who.token == "root"};
  }
};

json body_of(const Seen& seen) {
  REQUIRE(seen.answer);
  return json::parse(seen.answer->body);
}

bool has_header(const HttpAnswer& answer, std::string_view name, std::string_view part) {
  for (const auto& [key, value] : answer.headers)
    if (key == name && value.find(part) != std::string::npos) return true;
  return false;
}

std::string all_of(const Seen& seen) {
  std::string all;
  for (const std::string& one : seen.events) all += one;
  return all;
}

JobEvent queued(JobId job, const RequestId& request = {}) {
  return {.job = job, .request = request, .state = JobState::queued, .position = 1};
}

}  // namespace

TEST_CASE("The scheme of a token may be written in any case") {
  Front front;
  front.ask({.method = "GET", .path = "/v1/quota", .authorization = "bEARER " + front.token});
  CHECK(front.session() != SessionId{});
}

TEST_CASE("HEAD has the status and the headers of GET, and opens no stream") {
  Front front;
  const auto got = front.get("/v1/pool");
  const auto head =
      front.ask({.method = "HEAD", .path = "/v1/pool", .authorization = "Bearer " + front.token});
  REQUIRE(head->answer);
  CHECK(head->answer->status == 200);
  CHECK(head->answer->headers == got->answer->headers);
  CHECK(head->answer->body == got->answer->body);  // the server counts it and leaves it out
  const auto stream = front.ask({.method = "HEAD", .path = "/v1/events"});
  CHECK(stream->answer->status == 405);
  CHECK_FALSE(stream->stream);
}

TEST_CASE("An expectation that cannot be met is refused in words") {
  const HttpAnswer answer = web_unreadable(417);
  CHECK(answer.status == 417);
  CHECK(answer.body.find("only 100-continue is understood") != std::string::npos);
}

TEST_CASE("A question has a session of its caller, until its answer") {
  Front front;
  const auto seen = front.get("/v1/quota");
  CHECK(front.open.at(front.session()).account == AccountId{"user:ada"});
  CHECK(is_web(front.session()));
  REQUIRE(front.said<ClientQuota>());
  CHECK_FALSE(seen->answer);
  front.answer(QuotaAnswer{.balance = {.account = {"user:ada"}, .left = {5'000}}});
  CHECK(body_of(*seen)["balance"]["left_ms"] == 5'000);
  CHECK(front.open.empty());
  CHECK(front.api.questions() == 0);
}

TEST_CASE("A bad token is told, and never taken for nobody") {
  Front front;
  front.token = "bad";
  const auto seen = front.get("/v1/quota");
  CHECK(seen->answer->status == 401);
  CHECK(body_of(*seen)["error"]["code"] == "unauthenticated");
  CHECK(front.open.empty());
  const auto basic =
      front.ask({.method = "GET", .path = "/v1/quota", .authorization = "Basic eA=="});
  CHECK(basic->answer->status == 401);
}

TEST_CASE("Nothing that is answered may run, be framed or be kept") {
  Front front;
  const auto seen = front.get("/v1/pool");
  CHECK(has_header(*seen->answer, "Content-Security-Policy", "default-src 'none'"));
  CHECK(has_header(*seen->answer, "Content-Security-Policy", "frame-ancestors 'none'"));
  CHECK(has_header(*seen->answer, "X-Content-Type-Options", "nosniff"));
  CHECK(has_header(*seen->answer, "Cache-Control", "no-store"));
  const auto page = front.get("/");
  CHECK(page->answer->status == 200);
  CHECK(has_header(*page->answer, "Content-Security-Policy", "script-src 'self'"));
  CHECK(has_header(*page->answer, "Cache-Control", "no-cache"));
  HttpRequest again{.method = "GET", .path = "/"};
  for (const auto& [name, value] : page->answer->headers)
    if (name == "ETag") again.if_none_match = value;
  CHECK(front.ask(again)->answer->status == 304);
  again.if_none_match = "\"another\"";
  CHECK(front.ask(again)->answer->status == 200);
  CHECK(front.get("/../config/gpupool.toml")->answer->status == 404);
}

TEST_CASE("A name that leads to this machine is no address of the pool") {
  Front front;
  HttpRequest request{.method = "GET", .path = "/v1/pool", .host = "evil.example:7490"};
  CHECK(front.ask(request)->answer->status == 403);
  for (const char* host : {"127.0.0.1:7490", "localhost:7490", "[::1]:7490", "localhost", ""}) {
    request.host = host;
    CHECK(front.ask(request)->answer->status == 200);
  }
  front.config.web.proxies = {"127.0.0.1"};
  request.host = "pool.example.org";
  CHECK(front.ask(request)->answer->status == 200);
}

TEST_CASE("Only of a known proxy is the word about who asks believed") {
  Front front;
  HttpRequest request{.method = "GET",
                      .path = "/v1/quota",
                      .forwarded_for = "203.0.113.9, 192.0.2.7",
                      .peer = {.address = "127.0.0.1"}};
  (void)front.ask(request);
  CHECK(front.open.begin()->second.account.text == "address:127.0.0.1");
  front.open.clear();
  front.config.web.proxies = {"127.0.0.1"};
  (void)front.ask(request);
  CHECK(front.open.begin()->second.account.text == "address:192.0.2.7");
  front.open.clear();
  front.config.web.proxies = {"127.0.0.1", "192.0.2.7"};
  (void)front.ask(request);
  CHECK(front.open.begin()->second.account.text == "address:203.0.113.9");
}

TEST_CASE("What is submitted without a stream goes on without anybody, unless it says otherwise") {
  Front front;
  const auto seen = front.post("/v1/jobs", R"({"app": "emoji"})");
  auto submit = front.said<ClientSubmit>();
  REQUIRE(submit);
  CHECK(submit->body.detached);
  CHECK(well_formed(submit->request));
  front.answer(queued(JobId{5}, submit->request));
  CHECK(seen->answer->status == 202);
  CHECK(body_of(*seen)["job"]["job"] == 5);
  (void)front.post("/v1/jobs", R"({"app": "emoji", "detached": false})");
  CHECK_FALSE(front.said<ClientSubmit>()->body.detached);
}

TEST_CASE("A refusal comes with its numbers and a status of its own") {
  Front front;
  const auto seen = front.post("/v1/jobs", R"({"app": "emoji"})");
  front.answer(SessionRefused{
      .refusal = {.code = Errc::quota_exceeded, .want = 60'000, .have = 10'000, .sentence = "s"}});
  CHECK(seen->answer->status == 429);
  CHECK(body_of(*seen)["refused"]["code"] == "quota_exceeded");
  CHECK(body_of(*seen)["refused"]["have"] == 10'000);
}

TEST_CASE("A result is fetched piece by piece and handed out as what it is") {
  Front front;
  const auto seen = front.get("/v1/jobs/5/result");
  REQUIRE(front.said<ClientWatch>());
  JobDone done{.receipt = {.job = JobId{5}}};
  done.receipt.result = {.hash = "abc", .bytes = 6, .media_type = "image/png"};
  front.answer(done);
  REQUIRE(front.said<ClientFetch>());
  front.answer(ResultChunk{.total = 6, .bytes = "abcd"});
  CHECK(front.said<ClientFetch>()->offset == 4);
  front.answer(ResultChunk{.offset = 4, .total = 6, .bytes = "ef"});
  CHECK(seen->answer->body == "abcdef");
  CHECK(seen->answer->media_type == "image/png");
  CHECK_FALSE(has_header(*seen->answer, "Content-Disposition", "attachment"));
}

TEST_CASE("What a browser could run is handed out as a file, and what is too large not at all") {
  Front front;
  auto seen = front.get("/v1/jobs/5/result");
  JobDone done{.receipt = {.job = JobId{5}}};
  done.receipt.result = {.hash = "abc", .bytes = 4, .media_type = "text/html"};
  front.answer(done);
  front.answer(ResultChunk{.total = 4, .bytes = "<b>x"});
  CHECK(has_header(*seen->answer, "Content-Disposition", "attachment"));
  seen = front.get("/v1/jobs/5/result");
  done.receipt.result.bytes = web_limits::result_bytes_max + 1;
  front.answer(done);
  CHECK(seen->answer->status == 503);
  seen = front.get("/v1/jobs/5/result");
  front.answer(queued(JobId{5}));
  CHECK(seen->answer->status == 404);
  seen = front.get("/v1/jobs/5/result");
  done.receipt.result = {};
  front.answer(done);
  CHECK(seen->answer->status == 404);
}

TEST_CASE("A cancelled job is answered by its end, and an order by its table") {
  Front front;
  auto seen = front.ask(
      {.method = "DELETE", .path = "/v1/jobs/5", .authorization = "Bearer " + front.token});
  REQUIRE(front.said<ClientCancel>());
  front.answer(JobEvent{.job = JobId{5}, .state = JobState::running});
  CHECK_FALSE(seen->answer);
  front.answer(JobDone{.receipt = {.job = JobId{5}, .outcome = Outcome::cancelled}});
  CHECK(body_of(*seen)["receipt"]["outcome"] == "cancelled");
  seen = front.post("/v1/operate", R"({"words": ["nodes"]})");
  front.answer(OperateAnswer{.table = {.title = "nodes"}});
  CHECK(seen->answer->status == 200);
  CHECK(body_of(*seen)["title"] == "nodes");
}

TEST_CASE("A client that goes leaves no session behind") {
  Front front;
  const auto seen = front.get("/v1/quota");
  seen->gone();
  CHECK(front.open.empty());
  CHECK(front.api.questions() == 0);
}

TEST_CASE("A session that never answers is given up, and said so") {
  Front front;
  const auto seen = front.get("/v1/quota");
  front.pass(seconds(41));
  CHECK(seen->answer->status == 504);
  CHECK(front.open.empty());
}

TEST_CASE("Metrics need nobody's token and can be switched off") {
  Front front;
  const auto seen = front.ask({.method = "GET", .path = "/metrics"});
  CHECK(front.open.at(front.session()).is_operator);
  front.answer(OverviewAnswer{.overview = Overview{.pulse = {.admitted = 4}}});
  CHECK(seen->answer->body.find("gpupool_jobs_admitted_total 4\n") != std::string::npos);
  front.config.web.metrics = false;
  CHECK(front.ask({.method = "GET", .path = "/metrics"})->answer->status == 403);
}

TEST_CASE("A stream says hello, then what is, then what changes") {
  Front front;
  front.announcement = "soon";
  const auto seen = front.get("/v1/events");
  REQUIRE(seen->stream);
  CHECK(all_of(*seen).starts_with("event: hello\ndata: {\"stream\":\""));
  CHECK(front.said<ClientQuota>());
  CHECK(front.said<ClientJobs>());
  CHECK_FALSE(front.said<ClientOverview>());
  front.answer(QuotaAnswer{.balance = {.left = {5'000}, .at = noon}});
  front.pass(milliseconds(100));
  CHECK(all_of(*seen).find("event: quota") != std::string::npos);
  seen->events.clear();
  front.answer(QuotaAnswer{.balance = {.left = {5'000}, .at = noon + seconds(5)}});
  front.pass(milliseconds(100));
  CHECK(seen->events.empty());  // only time went on
  front.pass(seconds(10));
  CHECK(all_of(*seen) == ": ping\n\n");
  seen->gone();
  CHECK(front.open.empty());
}

TEST_CASE("A stream follows the open jobs of its account, wherever they were submitted") {
  Front front;
  const auto seen = front.get("/v1/events");
  front.answer(JobsAnswer{.jobs = {queued(JobId{5}), queued(JobId{6})}});
  REQUIRE(front.said<ClientWatch>());
  CHECK(front.said<ClientWatch>()->job == JobId{6});
  front.answer(JobsAnswer{.jobs = {queued(JobId{5}), queued(JobId{6})}});
  std::size_t watches = 0;
  std::set<std::uint64_t> queries;
  for (const auto& [session, message] : front.told)
    if (const auto* watch = std::get_if<ClientWatch>(&message)) {
      ++watches;
      queries.insert(watch->query);
    }
  CHECK(watches == 2);
  CHECK(queries.size() == 2);  // the same number would take the place of an earlier question
  JobDone done{.receipt = {.job = JobId{5}}};
  front.answer(done);
  front.pass(milliseconds(100));
  CHECK(all_of(*seen).find("event: done") != std::string::npos);
}

TEST_CASE("Of a job's steps the latest alone leaves, however many came") {
  Front front;
  const auto seen = front.get("/v1/events");
  seen->events.clear();
  // The first event has the hold, and the others tell of it, too.
  Hold hold{.job = JobId{5}};
  hold.body = JobRequest{.app = "emoji"};
  front.answer(JobEvent{.job = JobId{5}, .state = JobState::starting, .hold = hold});
  for (std::uint32_t step = 1; step <= 100; ++step)
    front.answer(
        JobEvent{.job = JobId{5}, .state = JobState::running, .step = step, .of_steps = 100});
  front.pass(milliseconds(100));
  REQUIRE(seen->events.size() == 1);
  CHECK(all_of(*seen).find("\"step\":100,") != std::string::npos);
  CHECK(all_of(*seen).find("\"step\":99,") == std::string::npos);
  CHECK(all_of(*seen).find("\"app\":\"emoji\"") != std::string::npos);
  CHECK(all_of(*seen).find("event: preview\ndata: {\"job\":5,\"step\":100}") != std::string::npos);
}

TEST_CASE("What is submitted through a stream is answered by its own first event") {
  Front front;
  const auto stream = front.get("/v1/events");
  const std::string hello = all_of(*stream);
  const std::string id = json::parse(hello.substr(hello.find('{')))["stream"];
  const auto first = front.post("/v1/jobs", R"({"app": "emoji"})", {{"stream", id}});
  const auto one = front.said<ClientSubmit>();
  const auto second = front.post("/v1/jobs", R"({"app": "emoji"})", {{"stream", id}});
  const auto two = front.said<ClientSubmit>();
  CHECK_FALSE(one->body.detached);
  CHECK(one->query != two->query);
  front.answer(queued(JobId{6}, two->request));
  CHECK(second->answer->status == 202);
  CHECK_FALSE(first->answer);
  front.answer(SessionRefused{.refusal = {.code = Errc::too_many_jobs, .request = one->request}});
  CHECK(first->answer->status == 429);
  const auto third = front.post("/v1/jobs", R"({"app": "emoji"})", {{"stream", id}});
  front.answer(SessionError{.query = front.said<ClientSubmit>()->query, .code = Errc::overloaded});
  CHECK(third->answer->status == 503);
}

TEST_CASE("A request that waits is not asked twice, and the end of its stream is an answer") {
  Front front;
  const auto stream = front.get("/v1/events");
  const std::string hello = all_of(*stream);
  const std::string id = json::parse(hello.substr(hello.find('{')))["stream"];
  const std::string body = R"({"app": "emoji", "request": "0192f0a5-7c1e-7000-8000-000000000001"})";
  const auto first = front.post("/v1/jobs", body, {{"stream", id}});
  CHECK(front.post("/v1/jobs", body, {{"stream", id}})->answer->status == 409);
  CHECK_FALSE(first->answer);
  stream->gone();
  REQUIRE(first->answer);
  CHECK(body_of(*first)["error"]["code"] == "outcome_unknown");
}

TEST_CASE("A job that could not be followed is tried again") {
  Front front;
  const auto stream = front.get("/v1/events");
  front.answer(JobsAnswer{.jobs = {queued(JobId{5})}});
  front.answer(SessionError{.query = front.said<ClientWatch>()->query, .code = Errc::timed_out});
  front.told.clear();
  front.answer(JobsAnswer{.jobs = {queued(JobId{5})}});
  REQUIRE(front.said<ClientWatch>());
  CHECK(front.said<ClientWatch>()->job == JobId{5});
}

TEST_CASE("Results on their way are bounded together, and what has left makes room") {
  Front front;
  JobDone done{.receipt = {.job = JobId{5}}};
  done.receipt.result = {
      .hash = "abc", .bytes = web_limits::result_bytes_max, .media_type = "image/png"};
  const std::int64_t most = web_limits::held_bytes_max / web_limits::result_bytes_max;
  std::vector<std::shared_ptr<Seen>> asked;
  const auto ask = [&] {
    asked.push_back(front.get("/v1/jobs/5/result"));
    front.api.hear(front.now, front.told.back().first, done);
  };
  for (std::int64_t i = 0; i < most; ++i) ask();
  CHECK_FALSE(asked.back()->answer);
  ask();
  CHECK(asked.back()->answer->status == 503);
  asked.front()->gone();
  ask();
  CHECK_FALSE(asked.back()->answer);
}

TEST_CASE("A log comes piece by piece, as plain text") {
  Front front;
  const auto seen = front.get("/v1/jobs/5/log");
  front.answer(LogChunk{.job = JobId{5}, .total = 6, .bytes = "abcd"});
  CHECK(front.said<ClientLogs>()->offset == 4);
  front.answer(LogChunk{.job = JobId{5}, .offset = 4, .total = 6, .bytes = "ef"});
  REQUIRE(seen->answer);
  CHECK(seen->answer->status == 200);
  CHECK(seen->answer->body == "abcdef");
  CHECK(seen->answer->media_type.starts_with("text/plain"));
}

TEST_CASE("An empty log is plain text, too") {
  Front front;
  const auto seen = front.get("/v1/jobs/5/log");
  front.answer(LogChunk{.job = JobId{5}});
  REQUIRE(seen->answer);
  CHECK(seen->answer->body.empty());
  CHECK(seen->answer->media_type.starts_with("text/plain"));
}

TEST_CASE("Nobody submits through another account's stream") {
  Front front;
  const auto stream = front.get("/v1/events");
  const std::string hello = all_of(*stream);
  const std::string id = json::parse(hello.substr(hello.find('{')))["stream"];
  front.token = "eve";
  CHECK(front.post("/v1/jobs", R"({"app": "emoji"})", {{"stream", id}})->answer->status == 400);
  CHECK_FALSE(front.said<ClientSubmit>());
}

TEST_CASE("Operators' streams have the overview, again and again") {
  Front front;
  front.token = "root";
  const auto seen = front.get("/v1/events");
  REQUIRE(front.said<ClientOverview>());
  front.told.clear();
  front.answer(OverviewAnswer{.overview = Overview{.waiting = 3}});
  front.pass(milliseconds(100));
  CHECK(all_of(*seen).find("event: overview") != std::string::npos);
  CHECK(all_of(*seen).find("\"pool\":\"lab\"") != std::string::npos);
  front.pass(seconds(2));
  CHECK(front.said<ClientOverview>());
}

TEST_CASE("A token that is good no more ends its stream with a word; an announcement is told") {
  Front front;
  const auto seen = front.get("/v1/events");
  front.announcement = "maintenance at noon";
  front.api.reconsider();
  front.pass(milliseconds(100));
  CHECK(all_of(*seen).find("event: notice") != std::string::npos);
  CHECK_FALSE(seen->ended);
  front.revoked = true;
  front.api.reconsider();
  CHECK(all_of(*seen).find("event: bye\ndata: {\"reason\":\"its signature is wrong\"}") !=
        std::string::npos);
  CHECK(seen->ended);
  CHECK(front.open.empty());
}

TEST_CASE("Too many streams and questions are refused, not kept") {
  Front front;
  front.may_open = Error{.code = Errc::overloaded};
  CHECK(front.get("/v1/quota")->answer->status == 503);
  CHECK(front.get("/v1/events")->answer->status == 503);
  front.may_open = ok();
  for (std::int64_t i = 0; i < web_limits::questions_max; ++i) (void)front.get("/v1/quota");
  CHECK(front.get("/v1/quota")->answer->status == 503);
}
