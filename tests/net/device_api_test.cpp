// The ZeroGPU dialect without sockets: what is asked of the pool and the worker, and what is
// answered, in virtual time.
#include "net/device_api.h"

#include <catch2/catch.hpp>
#include <deque>
#include <nlohmann/json.hpp>

#include "tests/net/fake_reply.h"

using namespace gpupool;

namespace {

Config api_config() {
  Config config = default_config();
  config.apps = {{.name = "demo", .executor = ExecutorKind::external},
                 {.name = "nothing", .executor = ExecutorKind::noop},
                 {.name = "own slots", .executor = ExecutorKind::external, .partition = "own"}};
  config.worker.devices = {DeviceConfig{}, DeviceConfig{.partition = "own"}};
  config.spaces = {{.name = "demo", .prefix = "/s/0123456789abcdef", .app = "demo"},
                   {.name = "other", .prefix = "/s/fedcba9876543210", .app = "own slots"}};
  return config;
}

class Api {
 public:
  std::shared_ptr<Seen> ask(const std::string& method, const std::string& path,
                            std::vector<std::pair<std::string, std::string>> query = {},
                            const std::string& authorization = "") {
    auto seen = std::make_shared<Seen>();
    api_.serve(now,
               {.method = method,
                .path = path,
                .query = std::move(query),
                .authorization = authorization,
                .peer = {.address = "127.0.0.1", .port = 50'000, .here = 7480}},
               std::make_shared<FakeReply>(seen));
    return seen;
  }
  std::shared_ptr<Seen> post(const std::string& path,
                             std::vector<std::pair<std::string, std::string>> query = {}) {
    return ask("POST", "/s/0123456789abcdef" + path, std::move(query));
  }
  // A visitor with a token, and what the pool was asked.
  std::shared_ptr<Seen> schedule(std::vector<std::pair<std::string, std::string>> more = {}) {
    std::vector<std::pair<std::string, std::string>> query{{"cgroupPath", "/"},
                                                           {"taskId", "140234"},
                                                           {"enableQueue", "true"},
                                                           {"tokenVersion", "2"},
                                                           {"token", "ada's"}};
    query.insert(query.end(), more.begin(), more.end());
    auto seen = post("/schedule", query);
    if (const auto asked = asked_pool<VisitorSubmits>()) submitted = *asked;
    return seen;
  }
  template <class Message>
  std::optional<Message> asked_pool() {
    return take<Message>(to_pool);
  }
  template <class Message>
  std::optional<Message> asked_worker() {
    return take<Message>(to_worker);
  }
  void recognise(const std::string& account = "user:ada", const std::string& tier = "free") {
    api_.hear(now, VisitorRecognised{submitted.session, {.account = {account}, .tier = tier}});
  }
  void move(JobState state, std::uint32_t position = 0, const Grant& grant = {}) {
    JobEvent event{.job = JobId{7}, .state = state, .position = position};
    if (!grant.token.empty()) event.grant = grant;
    api_.hear(now, VisitorMoved{submitted.session, event});
  }
  void refuse(Errc code, Balance balance = {}, GpuTime cost = {60'000}) {
    api_.hear(now, VisitorRefused{submitted.session,
                                  {.code = code, .cost = cost, .balance = std::move(balance)}});
  }
  void answer(const LeaseAnswer& answer) { api_.hear(now, answer); }
  void tell(const ToDeviceApi& message) { api_.hear(now, message); }
  void pass(Duration time) {
    for (const Instant end = now + time; now < end;) {
      now = now + milliseconds(500);
      api_.tick(now);
    }
  }

  Config config = api_config();
  Instant now{1'000'000};
  std::deque<ToBroker> to_pool;
  std::deque<ToWorker> to_worker;
  VisitorSubmits submitted;
  std::optional<LocalProcess> process = LocalProcess{4711, 99};
  std::uint64_t pool = 1;

 private:
  template <class Message, class Variant>
  std::optional<Message> take(std::deque<Variant>& from) {
    if (from.empty()) return std::nullopt;
    const Variant first = from.front();
    from.pop_front();
    REQUIRE(std::holds_alternative<Message>(first));
    return std::get<Message>(first);
  }

  std::uint64_t drawn_ = 1;
  DeviceApi api_{
      config,
      {.to_pool = [this](ToBroker message) { to_pool.push_back(std::move(message)); },
       .to_worker = [this](ToWorker message) { to_worker.push_back(std::move(message)); },
       .find = [this](const SpaceConfig&, std::int32_t, const HttpPeer&) -> Result<LocalProcess> {
         if (process) return *process;
         return Error{.code = Errc::forbidden};
       },
       .random = [this] { return drawn_++; },
       .wall_now = [this] { return now; },
       .pool = [this] { return pool; }}};
};

const Grant granted{.slot = {3}, .device = "MIG-1", .token = "secret", .idle = true};

std::string header(const HttpHeaders& headers, const std::string& name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return "absent";
}

}  // namespace

TEST_CASE("A Space that starts is told so, whatever it adds") {
  Api api;
  CHECK(api.post("/startup-report")->answer->status == 200);
  CHECK(api.post("/startup-report", {{"cgroupPath", "/"}, {"x", ""}})->answer->status == 200);
}

TEST_CASE("Without its prefix nobody learns anything") {
  Api api;
  for (const std::string path :
       {"/startup-report", "/schedule", "/s/0123456789abcde/schedule", "/s/0123456789abcdeX/allow",
        "/s/0123456789abcdef", "/s/0123456789abcdefX/release", "/s/0123456789abcdef/nothing"}) {
    INFO(path);
    CHECK(api.ask("POST", path)->answer->status == 404);
  }
  CHECK(api.to_pool.empty());
}

TEST_CASE("A visitor's request reaches the pool with all that the client said") {
  Api api;
  api.schedule({{"durationSeconds", "45"}, {"gpuSize", "xlarge"}});
  const VisitorSubmits& asked = api.submitted;
  CHECK(is_visitor(asked.session));
  CHECK(asked.token == "ada's");
  CHECK(asked.address == "127.0.0.1");
  CHECK(asked.body.app == "demo");
  CHECK(asked.body.size == "xlarge");
  CHECK(asked.body.declared == seconds(45));
  CHECK(asked.body.max_wait == Duration{});
  CHECK_FALSE(asked.body.detached);
  REQUIRE(asked.body.arguments.size() == 2);
  CHECK(asked.body.arguments[0].value == "demo");
  CHECK(asked.body.arguments[1].value == "140234");
}

TEST_CASE("A duration or size that is left out is the app's") {
  Api api;
  api.schedule();
  CHECK(api.submitted.body.declared == Duration{});
  CHECK(api.submitted.body.size.empty());
}

TEST_CASE("Numbers that are none are refused and ask the pool nothing") {
  Api api;
  for (const char* wrong : {"", "0", "-5", "1.5", "60s", "99999999999999999999"})
    CHECK(api.post("/schedule", {{"taskId", "1"}, {"durationSeconds", wrong}})->answer->status ==
          400);
  CHECK(api.post("/schedule", {{"taskId", "x"}})->answer->status == 400);
  CHECK(api.to_pool.empty());
}

TEST_CASE("A free slot is answered by JSON, and the visitor's session ends") {
  Api api;
  const auto seen = api.schedule();
  api.recognise("user:ada", "pro");
  api.move(JobState::starting);
  CHECK_FALSE(seen->answer);
  api.move(JobState::starting, 0, granted);
  REQUIRE(seen->answer);
  CHECK(seen->answer->status == 200);
  CHECK(seen->answer->media_type == "application/json");
  CHECK(header(seen->answer->headers, "X-Authenticated") == "pro");
  CHECK(header(seen->answer->headers, "X-Queuing-Reason") == "absent");
  const auto body = nlohmann::json::parse(seen->answer->body);
  CHECK(body ==
        nlohmann::json{
            {"idle", true}, {"nvidiaIndex", 3}, {"nvidiaUUID", "MIG-1"}, {"allowToken", "secret"}});
  const auto left = api.asked_pool<VisitorLeaves>();
  CHECK(left->session == api.submitted.session);
  CHECK_FALSE(left->job);
}

TEST_CASE("Whoever is not of the pro tier is regular, and who has no account has no such header") {
  for (const auto& [account, tier, said] : {std::tuple{"user:ada", "free", "regular"},
                                            {"address:127.0.0.1/32", "anonymous", "absent"}}) {
    Api api;
    const auto seen = api.schedule();
    api.recognise(account, tier);
    api.move(JobState::starting, 0, granted);
    CHECK(header(seen->answer->headers, "X-Authenticated") == said);
  }
}

TEST_CASE("A visitor who waits gets a stream of pings, and in the end the grant") {
  Api api;
  const auto seen = api.schedule();
  api.recognise();
  api.move(JobState::queued, 4);
  REQUIRE(seen->stream);
  CHECK(header(*seen->stream, "X-Authenticated") == "regular");
  CHECK(header(*seen->stream, "X-Queuing-Reason") == "node");
  CHECK(seen->events == std::vector<std::string>{"event: ping\ndata: {\"position\":4}\n\n"});
  api.pass(seconds(10));
  CHECK(seen->events.size() == 6);
  api.move(JobState::starting);
  api.move(JobState::starting, 0, granted);
  CHECK(seen->events.back().starts_with("event: succeeded\ndata: {\"allowToken\":\"secret\""));
  CHECK(seen->events.back().ends_with("}\n\n"));
  CHECK(seen->ended);
  CHECK_FALSE(api.asked_pool<VisitorLeaves>()->job);
  api.pass(seconds(120));
  CHECK(seen->events.size() == 7);
}

TEST_CASE("A Space whose app has slots of its own waits for these") {
  Api api;
  auto seen = api.ask("POST", "/s/fedcba9876543210/schedule", {{"taskId", "1"}});
  api.submitted = *api.asked_pool<VisitorSubmits>();
  api.move(JobState::queued, 1);
  CHECK(header(*seen->stream, "X-Queuing-Reason") == "concurrency");
}

TEST_CASE("After 60 s in the queue the visitor is told so, and the job is cancelled") {
  Api api;
  const auto seen = api.schedule();
  api.move(JobState::queued, 4);
  api.pass(milliseconds(59'500));
  CHECK(seen->events.back().starts_with("event: ping"));
  api.pass(milliseconds(500));
  CHECK(seen->events.back() == "event: failed\n\n");
  CHECK(seen->ended);
  CHECK(api.asked_pool<VisitorLeaves>()->job == JobId{7});
}

TEST_CASE("A visitor who goes is taken out of the queue at once") {
  Api api;
  SECTION("while waiting") {
    const auto seen = api.schedule();
    api.move(JobState::queued, 4);
    seen->gone();
    CHECK(api.asked_pool<VisitorLeaves>()->job == JobId{7});
  }
  SECTION("before the pool has said anything") {
    const auto seen = api.schedule();
    seen->gone();
    CHECK(api.to_pool.empty());
    api.move(JobState::queued, 4);
    CHECK(api.asked_pool<VisitorLeaves>()->job == JobId{7});
    CHECK_FALSE(seen->stream);
  }
  SECTION("just before the grant") {
    const auto seen = api.schedule();
    seen->gone();
    api.move(JobState::starting, 0, granted);
    CHECK(api.asked_pool<VisitorLeaves>()->job == JobId{7});
    CHECK_FALSE(seen->answer);
  }
}

TEST_CASE("A broker that is replaced cuts the streams, whose clients then ask once more") {
  Api api;
  const auto waits = api.schedule();
  api.move(JobState::queued, 4);
  const auto asks = api.schedule();
  api.pool = 0;
  api.pass(seconds(4));
  CHECK_FALSE(waits->cut);
  CHECK(waits->events.back().starts_with("event: ping"));
  api.pool = 2;
  api.pass(milliseconds(500));
  CHECK(waits->cut);
  CHECK_FALSE(waits->ended);
  CHECK(asks->answer->status == 503);
}

TEST_CASE("A job that ends in the queue fails its visitor's stream") {
  Api api;
  const auto seen = api.schedule();
  api.move(JobState::queued, 1);
  api.tell(VisitorSettled{.session = api.submitted.session, .done = {}});
  CHECK(seen->events.back() == "event: failed\n\n");
  CHECK(seen->ended);
  CHECK_FALSE(api.asked_pool<VisitorLeaves>()->job);
}

TEST_CASE("Refusals of quota say what is left and how long it takes, in whole seconds") {
  const Instant now{1'000'000};
  const auto answered = [&](Errc code, const Balance& balance, GpuTime cost = {60'000}) {
    Api api;
    const auto seen = api.schedule();
    api.recognise();
    api.refuse(code, balance, cost);
    REQUIRE(seen->answer);
    CHECK(seen->answer->status == 429);
    CHECK(seen->answer->media_type == "application/json");
    CHECK(header(seen->answer->headers, "X-Authenticated") == "regular");
    const auto body = nlohmann::json::parse(seen->answer->body);
    CHECK(body["left"].is_number_integer());
    return std::tuple{body["left"].get<int>(), body["wait"].get<int>(),
                      header(seen->answer->headers, "X-Approve-Result")};
  };
  Balance balance{.left = {12'900}, .resets_at = now + milliseconds(3'600'001), .at = now};
  CHECK(answered(Errc::quota_exceeded, balance) == std::tuple{12, 3'601, "quota-exceeded"});
  CHECK(answered(Errc::illegal_duration, balance) == std::tuple{12, -1, "illegal-duration"});
  CHECK(answered(Errc::too_many_jobs, balance) == std::tuple{12, 0, "runs-exceeded"});
  balance.held = {50'000};
  balance.held_until = now + seconds(90);
  CHECK(answered(Errc::quota_exceeded, balance) == std::tuple{12, 90, "quota-exceeded"});
  CHECK(answered(Errc::quota_exceeded, balance, {200'000}) ==
        std::tuple{12, 3'601, "quota-exceeded"});
}

TEST_CASE("Every other refusal has the status that the client has words for") {
  for (const auto& [code, status] : {std::pair{Errc::pool_unavailable, 503},
                                     {Errc::overloaded, 503},
                                     {Errc::size_unavailable, 503},
                                     {Errc::ledger_unavailable, 503},
                                     {Errc::unauthenticated, 401},
                                     {Errc::forbidden, 403},
                                     {Errc::bad_request, 400}}) {
    Api api;
    const auto seen = api.schedule();
    api.refuse(code);
    CHECK(seen->answer->status == status);
    CHECK(api.asked_pool<VisitorLeaves>()->session == api.submitted.session);
  }
}

TEST_CASE("A token that the pool does not take is 401, and no pool is 503") {
  Api api;
  auto seen = api.schedule();
  const auto fail = [&](Errc code) {
    api.tell(VisitorFailed{.session = api.submitted.session, .code = code, .detail = {}});
  };
  fail(Errc::unauthenticated);
  CHECK(seen->answer->status == 401);
  api.to_pool.clear();
  seen = api.schedule();
  fail(Errc::outcome_unknown);
  CHECK(seen->answer->status == 503);
}

TEST_CASE("A process that is the caller's is let in, with the name that it has on this machine") {
  Api api;
  const auto seen = api.post("/allow", {{"allowToken", "secret"}, {"pid", "17"}});
  const auto asked = api.asked_worker<AllowProcess>();
  CHECK(asked->token == "secret");
  CHECK(asked->process == LocalProcess{4711, 99});
  SECTION("its lease is there") {
    api.answer({.query = asked->query});
    CHECK(seen->answer->status == 200);
  }
  SECTION("there is none") {
    api.answer({.query = asked->query, .error = Errc::job_unknown});
    CHECK(seen->answer->status == 404);
  }
  SECTION("another one has it") {
    api.answer({.query = asked->query, .error = Errc::forbidden});
    CHECK(seen->answer->status == 403);
  }
}

TEST_CASE("A token that was granted to a Space is of no use under another one's prefix") {
  Api api;
  api.schedule();
  api.recognise();
  api.move(JobState::starting, 0, granted);
  (void)api.asked_pool<VisitorLeaves>();
  const std::string other = "/s/fedcba9876543210";
  const auto shown = [](const std::string& token) {
    return std::vector<std::pair<std::string, std::string>>{{"allowToken", token}, {"pid", "17"}};
  };
  for (const char* path : {"/allow", "/release"}) {
    const auto seen = api.ask("POST", other + path, shown(granted.token));
    REQUIRE(seen->answer);
    CHECK(seen->answer->status == 403);
  }
  CHECK(api.to_worker.empty());
  CHECK_FALSE(api.post("/allow", shown(granted.token))->answer);
  CHECK(api.asked_worker<AllowProcess>());
  CHECK_FALSE(api.post("/release", shown(granted.token))->answer);
  CHECK(api.asked_worker<ReleaseLease>());
  // One that was granted over the client protocol.
  CHECK_FALSE(api.ask("POST", other + "/allow", shown("another"))->answer);
  CHECK(api.asked_worker<AllowProcess>());
  CHECK_FALSE(api.ask("POST", other + "/release", shown("another"))->answer);
  CHECK(api.asked_worker<ReleaseLease>());
}

TEST_CASE("A process that is not the caller's never reaches the worker") {
  Api api;
  api.process.reset();
  CHECK(api.post("/allow", {{"allowToken", "secret"}, {"pid", "1"}})->answer->status == 403);
  api.process = LocalProcess{1, 1};
  for (const char* pid : {"", "0", "-1", "x", "4294967296"})
    CHECK(api.post("/allow", {{"allowToken", "secret"}, {"pid", pid}})->answer->status == 400);
  CHECK(api.to_worker.empty());
}

TEST_CASE("A release is answered as the client needs it, and never by an error of ours") {
  Api api;
  const auto seen = api.post("/release", {{"allowToken", "secret"}, {"fail", "true"}});
  const auto asked = api.asked_worker<ReleaseLease>();
  CHECK(asked->failed);
  SECTION("used") {
    api.answer({.query = asked->query});
    CHECK(seen->answer->status == 200);
  }
  SECTION("never used") {
    api.answer({.query = asked->query, .unused = true});
    CHECK(seen->answer->status == 204);
  }
  SECTION("not known") {
    api.answer({.query = asked->query, .error = Errc::job_unknown});
    CHECK(seen->answer->status == 404);
  }
  SECTION("nobody answers") {
    api.pass(seconds(5));
    CHECK(seen->answer->status == 202);
  }
}

TEST_CASE("What is left can be asked with a token, whatever the Space") {
  Api api;
  CHECK(api.ask("GET", "/api/spaces/zero-gpu/quota")->answer->status == 401);
  const auto seen = api.ask("GET", "/api/spaces/zero-gpu/quota", {}, "Bearer ada's");
  const auto asked = api.asked_pool<VisitorAsks>();
  CHECK(asked->token == "ada's");
  api.tell(
      VisitorQuota{asked->session, {.balance = {.allowance = {2'400'000}, .left = {2'399'999}}}});
  CHECK(nlohmann::json::parse(seen->answer->body) ==
        nlohmann::json{
            {"base", 2400}, {"current", 2399}, {"resetsAt", nullptr}, {"overquotaUsed", 0}});
}

TEST_CASE("The queue's size is the number of those who wait") {
  Api api;
  CHECK(api.ask("GET", "/s/0123456789abcdef/queue-size")->answer->body == "0");
  api.schedule();
  api.move(JobState::queued, 1);
  CHECK(api.ask("GET", "/s/0123456789abcdef/queue-size")->answer->body == "1");
  CHECK(api.ask("GET", "/s/fedcba9876543210/queue-size")->answer->body == "0");
}
