#include "net/web_requests.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "actors/request_id.h"
#include "config/limits.h"
#include "net/json_output.h"

namespace gpupool {
namespace {

using Refused = std::optional<HttpAnswer>;

struct Route {
  std::string_view method;
  std::string_view path;  // "N" stands for a job's number, "ID" for a request id
  WebAsk ask;
};
constexpr std::array routes{
    Route{"GET", "/v1/pool", WebAsk::pool},
    Route{"GET", "/v1/quota", WebAsk::quota},
    Route{"GET", "/v1/jobs", WebAsk::jobs},
    Route{"POST", "/v1/jobs", WebAsk::submit},
    Route{"GET", "/v1/jobs/N", WebAsk::job},
    Route{"DELETE", "/v1/jobs/N", WebAsk::cancel},
    Route{"GET", "/v1/jobs/N/explain", WebAsk::explain},
    Route{"GET", "/v1/jobs/N/result", WebAsk::result},
    Route{"GET", "/v1/jobs/N/log", WebAsk::log},
    Route{"GET", "/v1/jobs/N/preview", WebAsk::preview},
    Route{"GET", "/v1/refusals/ID/explain", WebAsk::refusal},
    Route{"GET", "/v1/receipts", WebAsk::receipts},
    Route{"GET", "/v1/changes", WebAsk::changes},
    Route{"GET", "/v1/usage", WebAsk::usage},
    Route{"GET", "/v1/quote", WebAsk::quote},
    Route{"GET", "/v1/events", WebAsk::events},
    Route{"GET", "/v1/overview", WebAsk::overview},
    Route{"POST", "/v1/operate", WebAsk::operate},
    Route{"GET", "/metrics", WebAsk::metrics},
};

HttpAnswer bad(const std::string& detail) {
  return web_error({.code = Errc::bad_request, .detail = detail});
}

HttpAnswer with_status(int status, const Error& error) {
  HttpAnswer answer = web_error(error);
  answer.status = status;
  return answer;
}

std::string_view next_part(std::string_view& path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  const std::size_t length = std::min(path.find('/'), path.size());
  const std::string_view part = path.substr(0, length);
  path.remove_prefix(length);
  return part;
}

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number number{};
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return number;
}

enum class Match : std::uint8_t { no, bad_id, yes };

Match match(std::string_view path, std::string_view pattern, WebRequest& into) {
  while (!pattern.empty() && !path.empty()) {
    const std::string_view wanted = next_part(pattern);
    const std::string_view given = next_part(path);
    if (wanted == "N") {
      const auto number = number_of<std::uint64_t>(given);
      if (!number || *number == 0) return Match::bad_id;
      into.job = JobId{*number};
    } else if (wanted == "ID") {
      const auto id = parse_request_id(given);
      if (!id) return Match::bad_id;
      into.request = *id;
    } else if (wanted != given) {
      return Match::no;
    }
  }
  return pattern.empty() && path.empty() ? Match::yes : Match::no;
}

// Seconds as people write them: "15", "0.5".
std::optional<Duration> seconds_of(double value) {
  const double ms = std::round(value * 1000);
  if (!std::isfinite(ms) || ms < 1 || ms > static_cast<double>(limits::duration_ms_max))
    return std::nullopt;
  return Duration{static_cast<std::int64_t>(ms)};
}

std::string seconds_wanted(std::string_view name) {
  return std::string(name) + ": expected seconds, from 0.001 to " +
         std::to_string(limits::duration_ms_max / 1000);
}

// ---- Queries -----------------------------------------------------------------------------------

Refused read_seconds(const HttpRequest& request, std::string_view name, Duration& into) {
  const std::string* text = request.parameter(name);
  if (text == nullptr) return std::nullopt;
  const auto number = number_of<double>(*text);
  const auto duration = number ? seconds_of(*number) : std::nullopt;
  if (!duration) return bad(seconds_wanted(name));
  into = *duration;
  return std::nullopt;
}

Refused read_count(const HttpRequest& request, std::string_view name, std::uint32_t& into,
                   std::int64_t most) {
  const std::string* text = request.parameter(name);
  if (text == nullptr) return std::nullopt;
  const auto number = number_of<std::int64_t>(*text);
  if (!number || *number < 1 || *number > most)
    return bad(std::string(name) + ": expected a number from 1 to " + std::to_string(most));
  into = static_cast<std::uint32_t>(*number);
  return std::nullopt;
}

// What no parameter of this request is called is refused, so that a slip of the pen is noticed.
Refused only(const HttpRequest& request, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : request.query)
    if (std::find(known.begin(), known.end(), name) == known.end())
      return bad("there is no parameter of this name here; there are: " + [&] {
        std::string names;
        for (const std::string_view one : known)
          names += (names.empty() ? "" : ", ") + std::string(one);
        return names.empty() ? std::string("none") : names;
      }());
  return std::nullopt;
}

std::string text_of(const HttpRequest& request, std::string_view name) {
  const std::string* text = request.parameter(name);
  return text ? *text : std::string{};
}

Refused read_query(const HttpRequest& request, WebRequest& into) {
  Refused wrong;
  switch (into.ask) {
    case WebAsk::submit: {
      if ((wrong = only(request, {"stream"}))) return wrong;
      const std::string* stream = request.parameter("stream");
      if (stream == nullptr) return std::nullopt;
      std::uint64_t id = 0;
      const auto [stop, failure] =
          std::from_chars(stream->data(), stream->data() + stream->size(), id, 16);
      if (failure != std::errc{} || stop != stream->data() + stream->size() || id == 0)
        return bad("stream: expected what the event \"hello\" of the stream said");
      into.stream = id;
      return std::nullopt;
    }
    case WebAsk::receipts: {
      if ((wrong = only(request, {"limit", "before"}))) return wrong;
      into.limit = 20;
      if ((wrong = read_count(request, "limit", into.limit, limits::receipts_page_max)))
        return wrong;
      if (const std::string* text = request.parameter("before")) {
        const auto number = number_of<std::uint64_t>(*text);
        if (!number || *number == 0) return bad("before: expected the number of a job");
        into.before = JobId{*number};
      }
      return std::nullopt;
    }
    case WebAsk::changes:
      if ((wrong = only(request, {"since_s", "limit"}))) return wrong;
      into.limit = 50;
      if ((wrong = read_seconds(request, "since_s", into.since))) return wrong;
      return read_count(request, "limit", into.limit, limits::changes_page_max);
    case WebAsk::usage:
      if ((wrong = only(request, {"days"}))) return wrong;
      into.limit = 31;
      return read_count(request, "days", into.limit, limits::usage_days_max);
    case WebAsk::quote:
      if ((wrong = only(request, {"app", "duration_s", "size"}))) return wrong;
      into.body.app = text_of(request, "app");
      into.body.size = text_of(request, "size");
      return read_seconds(request, "duration_s", into.body.declared);
    case WebAsk::file:
      return std::nullopt;
    default:
      return only(request, {});
  }
}

// ---- Bodies ------------------------------------------------------------------------------------

Refused read_argument(const std::string& key, const Json& value, JobRequest& body) {
  Argument argument{.key = key, .value = {}};
  if (value.is_string())
    argument.value = value.get<std::string>();
  else if (value.is_number() || value.is_boolean())
    argument.value = value.dump();
  else
    return bad("arguments: every value is a text, a number, true or false");
  body.arguments.push_back(std::move(argument));
  return std::nullopt;
}

Refused read_text(const Json& value, std::string_view name, std::string& into) {
  if (!value.is_string()) return bad(std::string(name) + ": expected a text");
  into = value.get<std::string>();
  return std::nullopt;
}

Refused read_duration(const Json& value, std::string_view name, Duration& into) {
  const auto duration = value.is_number() ? seconds_of(value.get<double>()) : std::nullopt;
  if (!duration) return bad(seconds_wanted(name));
  into = *duration;
  return std::nullopt;
}

Refused read_submit(const Json& json, WebRequest& into) {
  for (const auto& [key, value] : json.items()) {
    Refused wrong;
    if (key == "app") {
      wrong = read_text(value, key, into.body.app);
    } else if (key == "size") {
      wrong = read_text(value, key, into.body.size);
    } else if (key == "duration_s") {
      wrong = read_duration(value, key, into.body.declared);
    } else if (key == "max_wait_s") {
      wrong = read_duration(value, key, into.body.max_wait);
    } else if (key == "detached") {
      if (!value.is_boolean()) return bad("detached: expected true or false");
      into.body.detached = value.get<bool>();
      into.says_detached = true;
    } else if (key == "request") {
      std::string text;
      if ((wrong = read_text(value, key, text))) return wrong;
      const auto id = parse_request_id(text);
      if (!id) return bad("request: expected a UUID of version 7, lower-case");
      into.request = *id;
    } else if (key == "arguments") {
      if (!value.is_object()) return bad("arguments: expected an object");
      for (const auto& [name, one] : value.items())
        if ((wrong = read_argument(name, one, into.body))) return wrong;
    } else {
      return bad(
          "a request has app, arguments, size, duration_s, max_wait_s, request, detached; "
          "nothing else");
    }
    if (wrong) return wrong;
  }
  if (into.body.app.empty()) return bad("app: which one? GET /v1/pool lists them");
  return std::nullopt;
}

Refused read_operate(const Json& json, WebRequest& into) {
  const auto words = json.find("words");
  const auto is_text = [](const Json& word) { return word.is_string(); };
  if (words == json.end() || json.size() != 1 || !words->is_array() ||
      !std::all_of(words->begin(), words->end(), is_text))
    return bad("expected {\"words\": [\"drain\", \"node-2\"]}");
  for (const Json& word : *words) into.words.push_back(word.get<std::string>());
  return std::nullopt;
}

Refused read_body(const HttpRequest& request, WebRequest& into) {
  const bool takes_body = into.ask == WebAsk::submit || into.ask == WebAsk::operate;
  if (!takes_body) return std::nullopt;
  const std::string type = request.content_type.substr(0, request.content_type.find(';'));
  if (type != "application/json")
    return with_status(415, {.code = Errc::bad_request,
                             .detail = "the body is JSON, and its Content-Type application/json"});
  const Json json = Json::parse(request.body, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return bad("the body is no JSON object");
  return into.ask == WebAsk::submit ? read_submit(json, into) : read_operate(json, into);
}

// A page of another site can make a browser send requests here, but not without this header.
bool is_of_another_site(const HttpRequest& request) {
  const bool only_reads = request.method == "GET" || request.method == "HEAD";
  if (request.origin.empty() || only_reads) return false;
  const std::size_t scheme = request.origin.find("://");
  return scheme == std::string::npos || request.origin.substr(scheme + 3) != request.host;
}

}  // namespace

std::variant<WebRequest, HttpAnswer> read_web_request(const HttpRequest& request) {
  if (is_of_another_site(request))
    return web_error({.code = Errc::forbidden,
                      .detail =
                          "a page of another site may not ask for this (its Origin is not the "
                          "Host of this request)"});
  // HEAD is answered as GET, without the body (the HTTP server leaves it out); no event stream is.
  const bool is_head = request.method == "HEAD";
  const std::string method = is_head ? "GET" : request.method;
  const bool is_file = !request.path.starts_with("/v1/") && request.path != "/metrics";
  if (is_file || request.path == "/v1/openapi.json") {
    if (method == "GET") return WebRequest{};
    HttpAnswer answer = with_status(
        405, {.code = Errc::bad_request, .detail = "the page's files can be read, no more"});
    answer.headers.emplace_back("Allow", "GET");
    return answer;
  }
  std::string allowed;
  for (const Route& route : routes) {
    WebRequest found{.ask = route.ask};
    const Match matches = match(request.path, route.path, found);
    if (matches == Match::no) continue;
    if (route.method != method || (is_head && route.ask == WebAsk::events)) {
      allowed += (allowed.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    if (matches == Match::bad_id)
      return with_status(404, {.code = Errc::job_unknown,
                               .detail = "the path names no job by its number, and no refusal by "
                                         "its request id"});
    if (auto wrong = read_query(request, found)) return *std::move(wrong);
    if (auto wrong = read_body(request, found)) return *std::move(wrong);
    return found;
  }
  if (allowed.empty())
    return with_status(404, {.code = Errc::bad_request,
                             .detail = "there is nothing of this name; /v1/openapi.json lists what "
                                       "there is"});
  HttpAnswer answer = with_status(
      405, {.code = Errc::bad_request, .detail = "this takes " + allowed + ", nothing else"});
  answer.headers.emplace_back("Allow", allowed);
  return answer;
}

int web_status(Errc code) {
  switch (code) {
    case Errc::unauthenticated:
    case Errc::token_malformed:
    case Errc::token_signature:
    case Errc::token_expired:
    case Errc::token_not_yet_valid:
    case Errc::token_audience:
      return 401;
    case Errc::forbidden:
      return 403;
    case Errc::job_unknown:
    case Errc::result_gone:
      return 404;
    case Errc::id_reused:
    case Errc::job_finished:
      return 409;
    case Errc::illegal_duration:
    case Errc::unknown_app:
    case Errc::size_unavailable:
    case Errc::id_expired:
      return 422;
    case Errc::quota_exceeded:
    case Errc::too_many_jobs:
    case Errc::promise_too_late:
    case Errc::rate_limited:
      return 429;
    case Errc::pool_unavailable:
    case Errc::overloaded:
    case Errc::ledger_unavailable:
    case Errc::history_unavailable:
    case Errc::outcome_unknown:
    case Errc::not_connected:
      return 503;
    case Errc::timed_out:
      return 504;
    case Errc::bad_request:
      return 400;
    default:
      return 500;
  }
}

HttpAnswer web_error(const Error& error) {
  HttpAnswer answer{.status = web_status(error.code),
                    .body = text_of(Json{{"error", json_of(error)}})};
  if (answer.status == 401) answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  if (error.code == Errc::rate_limited)
    answer.headers.emplace_back(
        "Retry-After", std::to_string(std::max<std::int64_t>((error.want + 999) / 1000, 1)));
  return answer;
}

}  // namespace gpupool
