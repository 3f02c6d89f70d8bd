// What an HTTP request asks, and how one is told what is wrong with it.
#include "net/web_requests.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "actors/request_id.h"
#include "config/limits.h"

using namespace gpupool;

namespace {

HttpRequest get(const std::string& path, decltype(HttpRequest::query) query = {}) {
  return {.method = "GET", .path = path, .query = std::move(query)};
}

HttpRequest post(const std::string& path, const std::string& body) {
  return {.method = "POST", .path = path, .content_type = "application/json", .body = body};
}

WebRequest read(const HttpRequest& request) {
  auto read = read_web_request(request);
  if (const auto* answer = std::get_if<HttpAnswer>(&read)) FAIL(answer->status << answer->body);
  return std::get<WebRequest>(read);
}

HttpAnswer refuse(const HttpRequest& request) {
  auto read = read_web_request(request);
  REQUIRE(std::holds_alternative<HttpAnswer>(read));
  return std::get<HttpAnswer>(read);
}

int status_of(const HttpRequest& request) { return refuse(request).status; }

std::string header_of(const HttpAnswer& answer, std::string_view name) {
  for (const auto& [key, value] : answer.headers)
    if (key == name) return value;
  return {};
}

}  // namespace

TEST_CASE("Paths name what is asked, and the job in question") {
  CHECK(read(get("/")).ask == WebAsk::file);
  CHECK(read(get("/app.js")).ask == WebAsk::file);
  CHECK(read(get("/v1/openapi.json")).ask == WebAsk::file);
  CHECK(read(get("/v1/quota")).ask == WebAsk::quota);
  const WebRequest explain = read(get("/v1/jobs/17/explain"));
  CHECK(explain.ask == WebAsk::explain);
  CHECK(explain.job == JobId{17});
  HttpRequest cancel = get("/v1/jobs/17");
  cancel.method = "DELETE";
  CHECK(read(cancel).ask == WebAsk::cancel);
  const std::string id = "0192f0a5-7c1e-7000-8000-000000000001";
  CHECK(read(get("/v1/refusals/" + id + "/explain")).request == *parse_request_id(id));
}

TEST_CASE("What is not there is 404, and what is there but not so is 405 with what it takes") {
  CHECK(status_of(get("/v1/nothing")) == 404);
  CHECK(status_of(get("/v1/jobs/17/nothing")) == 404);
  CHECK(status_of(get("/v1/jobs/0")) == 404);
  CHECK(status_of(get("/v1/jobs/abc")) == 404);
  CHECK(status_of(get("/v1/jobs/-1")) == 404);
  CHECK(status_of(get("/v1/jobs/99999999999999999999999")) == 404);
  CHECK(status_of(get("/v1/refusals/abc/explain")) == 404);
  HttpRequest put = get("/v1/jobs");
  put.method = "PUT";
  CHECK(refuse(put).status == 405);
  CHECK(header_of(refuse(put), "Allow") == "GET, POST");
  put.path = "/";
  CHECK(header_of(refuse(put), "Allow") == "GET");
}

TEST_CASE("HEAD is read as GET, but for a stream of events") {
  HttpRequest head = get("/v1/quota");
  head.method = "HEAD";
  CHECK(read(head).ask == WebAsk::quota);
  head.path = "/";
  CHECK(read(head).ask == read(get("/")).ask);
  head.path = "/v1/events";
  CHECK(refuse(head).status == 405);
  head.path = "/v1/operate";
  CHECK(header_of(refuse(head), "Allow") == "POST");
}

TEST_CASE("HEAD from another site's page is answered as its GET is") {
  HttpRequest asks = get("/v1/quota");
  asks.host = "127.0.0.1:7490";
  asks.origin = "http://evil.example";
  for (const char* method : {"GET", "HEAD"}) {
    asks.method = method;
    CHECK(read(asks).ask == WebAsk::quota);
  }
}

TEST_CASE("A request to run has its app, arguments of any plain kind, and times in seconds") {
  const WebRequest asks = read(post("/v1/jobs", R"({"app": "emoji", "size": "xlarge",
      "duration_s": 7.5, "max_wait_s": 60, "detached": false,
      "arguments": {"prompt": "a red heart", "steps": 20, "guidance": 3.5, "fast": true}})"));
  CHECK(asks.ask == WebAsk::submit);
  CHECK(asks.body.app == "emoji");
  CHECK(asks.body.size == "xlarge");
  CHECK(asks.body.declared == milliseconds(7'500));
  CHECK(asks.body.max_wait == seconds(60));
  CHECK(asks.says_detached);
  REQUIRE(asks.body.arguments.size() == 4);
  CHECK(asks.body.arguments[1].key == "steps");
  CHECK(asks.body.arguments[1].value == "20");
  CHECK(asks.body.arguments[2].value == "3.5");
  CHECK(asks.body.arguments[3].value == "true");
}

TEST_CASE("A body that is not what is asked for is refused with what was expected") {
  for (const char* body :
       {"", "[]", "{", "{\"app\": \"emoji\"", "nonsense", R"({"app": 3})", R"({"arguments": {}})",
        R"({"app": "emoji", "durations": 3})", R"({"app": "emoji", "duration_s": "60"})",
        R"({"app": "emoji", "duration_s": -1})", R"({"app": "emoji", "duration_s": 0})",
        R"({"app": "emoji", "duration_s": 1e300})", R"({"app": "emoji", "arguments": []})",
        R"({"app": "emoji", "arguments": {"a": null}})", R"({"app": "emoji", "request": "abc"})",
        R"({"app": "emoji", "arguments": {"a": {"b": 1}}})", R"({"app": "emoji", "detached": 1})",
        "{\"app\": \"\xff\xfe\"}"})
    CHECK(status_of(post("/v1/jobs", body)) == 400);
  HttpRequest form = post("/v1/jobs", "app=emoji");
  form.content_type = "application/x-www-form-urlencoded";
  CHECK(status_of(form) == 415);
  form.content_type = "";
  CHECK(status_of(form) == 415);
  form = post("/v1/jobs", R"({"app": "emoji"})");
  form.content_type = "application/json; charset=utf-8";
  CHECK(read(form).body.app == "emoji");
  const auto error = nlohmann::json::parse(refuse(post("/v1/jobs", "{}")).body)["error"];
  CHECK(error["code"] == "bad_request");
  CHECK(error["detail"] == "app: which one? GET /v1/pool lists them");
}

TEST_CASE("A deeply nested body is refused, not followed") {
  std::string deep = R"({"app": )";
  for (int i = 0; i < 20'000; ++i) deep += "[";
  CHECK(status_of(post("/v1/jobs", deep)) == 400);
  for (int i = 0; i < 20'000; ++i) deep += "]";
  CHECK(status_of(post("/v1/jobs", deep + "}")) == 400);
}

TEST_CASE("A page of another site can't order anything here") {
  HttpRequest request = post("/v1/jobs", R"({"app": "emoji"})");
  request.host = "127.0.0.1:7490";
  request.origin = "http://127.0.0.1:7490";
  CHECK(read(request).ask == WebAsk::submit);
  for (const char* origin : {"http://evil.example", "null", "http://127.0.0.1:7491", "x",
                             "http://127.0.0.1:7490.evil.example"}) {
    request.origin = origin;
    CHECK(status_of(request) == 403);
  }
}

TEST_CASE("Numbers of a query have bounds, and a name that means nothing is not passed over") {
  CHECK(read(get("/v1/receipts")).limit == 20);
  CHECK(read(get("/v1/receipts", {{"limit", "50"}, {"before", "9"}})).before == JobId{9});
  for (const char* limit : {"0", "-1", "51", "abc", "", "1e3", "5 "})
    CHECK(status_of(get("/v1/receipts", {{"limit", limit}})) == 400);
  CHECK(status_of(get("/v1/receipts", {{"limits", "5"}})) == 400);
  CHECK(status_of(get("/v1/quota", {{"x", "5"}})) == 400);
  CHECK(read(get("/v1/changes", {{"since_s", "604800"}})).since == hours(24 * 7));
  CHECK(status_of(get("/v1/changes", {{"since_s", "nan"}})) == 400);
  CHECK(status_of(get("/v1/changes", {{"since_s", "inf"}})) == 400);
  CHECK(status_of(get("/v1/usage", {{"days", "401"}})) == 400);
  const WebRequest quote = read(get("/v1/quote", {{"app", "emoji"}, {"duration_s", "0.5"}}));
  CHECK(quote.body.app == "emoji");
  CHECK(quote.body.declared == milliseconds(500));
}

TEST_CASE("A submit names its stream as the stream said it") {
  HttpRequest request = post("/v1/jobs", R"({"app": "emoji"})");
  request.query = {{"stream", "40000000000000ff"}};
  CHECK(read(request).stream == 0x40000000000000ffULL);
  for (const char* stream : {"", "0", "xyz", "10000000000000000", "-1"}) {
    request.query = {{"stream", stream}};
    CHECK(status_of(request) == 400);
  }
}

TEST_CASE("Operators' words come as a list of texts") {
  CHECK(read(post("/v1/operate", R"({"words": ["drain", "node-2"]})")).words ==
        std::vector<std::string>{"drain", "node-2"});
  for (const char* body :
       {"{}", R"({"words": "drain"})", R"({"words": [1]})", R"({"words": [], "more": 1})"})
    CHECK(status_of(post("/v1/operate", body)) == 400);
}

TEST_CASE("Every error has a status that says whose it is") {
  CHECK(web_status(Errc::unauthenticated) == 401);
  CHECK(web_status(Errc::forbidden) == 403);
  CHECK(web_status(Errc::job_unknown) == 404);
  CHECK(web_status(Errc::id_reused) == 409);
  CHECK(web_status(Errc::illegal_duration) == 422);
  CHECK(web_status(Errc::quota_exceeded) == 429);
  CHECK(web_status(Errc::ledger_unavailable) == 503);
  CHECK(web_status(Errc::timed_out) == 504);
  CHECK(header_of(web_error({.code = Errc::unauthenticated}), "WWW-Authenticate") == "Bearer");
  CHECK(header_of(web_error({.code = Errc::rate_limited, .want = 1'001}), "Retry-After") == "2");
}
