#include "net/web_api.h"

#include <algorithm>
#include <cctype>

#include "actors/request_id.h"
#include "config/limits.h"
#include "config/text_rules.h"
#include "net/json_overview.h"
#include "net/web_files.h"
#include "net/web_limits.h"

namespace gpupool {
namespace {

constexpr Duration answer_limit = seconds(40);  // sessions give up before
// The one question of a session.
constexpr std::uint64_t only_query = 1;

HttpAnswer ok_json(const Json& json) { return {.body = text_of(json)}; }

// Their names are the operator's own words only where a proxy with a name stands before us.
bool is_local_name(std::string_view host) {
  const std::size_t port = host.rfind(':');
  if (port != std::string_view::npos && host.find(']', port) == std::string_view::npos)
    host = host.substr(0, port);
  return host.empty() || host == "localhost" || host.starts_with('[') ||
         host.find_first_not_of("0123456789.") == std::string_view::npos;
}

Error too_much() {
  return {.code = Errc::overloaded,
          .detail = "too many results and logs are on their way; ask again in a moment"};
}

Caller scraper() {
  return {.account = {"pool:metrics"},
          .tier = "",
          .recognised_by = "the pool itself",
          .is_operator = true};
}

}  // namespace

HttpHeaders web_headers() {
  return {{"Content-Security-Policy",
           "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
           "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"},
          {"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Resource-Policy", "same-origin"}};
}

HttpAnswer web_unreadable(int status) {
  const std::string what = status == 413   ? "the body is too large"
                           : status == 417 ? "of Expect, only 100-continue is understood"
                           : status == 431 ? "the header is too large"
                                           : "this is no HTTP request that can be read";
  HttpAnswer answer = web_error({.code = Errc::bad_request, .detail = what});
  answer.status = status;
  answer.headers = web_headers();
  return answer;
}

HttpAnswer web_refusal(const Refusal& refusal) {
  return {.status = web_status(refusal.code), .body = text_of(Json{{"refused", json_of(refusal)}})};
}

namespace {

// Everything leaves with the same headers; only files of the page may be kept.
class WebReply : public HttpReply {
 public:
  explicit WebReply(std::shared_ptr<HttpReply> inner) : inner_(std::move(inner)) {}
  void answer(HttpAnswer answer) override {
    for (auto& header : web_headers()) answer.headers.push_back(std::move(header));
    const auto is_cache = [](const auto& header) { return header.first == "Cache-Control"; };
    if (std::none_of(answer.headers.begin(), answer.headers.end(), is_cache))
      answer.headers.emplace_back("Cache-Control", "no-store");
    inner_->answer(std::move(answer));
  }
  void begin_stream(const HttpHeaders& headers) override {
    HttpHeaders all = web_headers();
    all.insert(all.end(), headers.begin(), headers.end());
    inner_->begin_stream(all);
  }
  void event(std::string text) override { inner_->event(std::move(text)); }
  void end_stream() override { inner_->end_stream(); }
  void cut() override { inner_->cut(); }
  void when_gone(std::function<void()> gone) override { inner_->when_gone(std::move(gone)); }

 private:
  const std::shared_ptr<HttpReply> inner_;
};

}  // namespace

WebApi::WebApi(std::string build, WebPorts ports)
    : build_(std::move(build)), ports_(std::move(ports)) {}

// ---- Requests ----------------------------------------------------------------------------------

void WebApi::serve(Instant now, const HttpRequest& request, std::shared_ptr<HttpReply> bare) {
  const auto reply = std::make_shared<WebReply>(std::move(bare));
  const Config& config = ports_.config();
  // A name that its owner points at this machine makes a browser's page one of "this site".
  if (config.web.proxies.empty() && is_loopback(config.web.endpoint) &&
      !is_local_name(request.host))
    return reply->answer(web_error(
        {.code = Errc::forbidden,
         .detail = "this pool is asked by the address of its machine; one with a name has a proxy "
                   "before it (web.proxies)"}));
  auto read = read_web_request(request);
  if (auto* wrong = std::get_if<HttpAnswer>(&read)) return reply->answer(std::move(*wrong));
  WebRequest& asks = std::get<WebRequest>(read);
  if (asks.ask == WebAsk::file) return file(request, *reply);
  if (asks.ask == WebAsk::metrics) {
    if (!config.web.metrics)
      return reply->answer(web_error(
          {.code = Errc::forbidden, .detail = "web.metrics is false in the configuration"}));
    if (const Status may = ports_.may_come(introduce(request)); !may)
      return reply->answer(web_error(may.error()));
    const auto scrapes = std::count_if(asked_.begin(), asked_.end(), [](const auto& one) {
      return one.second.request.ask == WebAsk::metrics;
    });
    if (scrapes >= web_limits::metrics_max)
      return reply->answer(
          web_error({.code = Errc::overloaded, .detail = "too many ask for metrics at once"}));
    return ask(now, scraper(), std::move(asks), reply);
  }
  Introduction introduction = introduce(request);
  if (!request.authorization.empty() && introduction.token.empty())
    return reply->answer(web_error(
        {.code = Errc::unauthenticated, .detail = "expected \"Authorization: Bearer TOKEN\""}));
  const auto caller = ports_.welcome(introduction);
  if (!caller) return reply->answer(web_error(caller.error()));
  if (asks.ask == WebAsk::pool) return reply->answer(offer(*caller));
  if (asks.ask == WebAsk::events) return open_stream(now, std::move(introduction), *caller, reply);
  if (asks.ask == WebAsk::submit && asks.stream != 0)
    return submit(*caller, std::move(asks), reply);
  ask(now, *caller, std::move(asks), reply);
}

// Behind a proxy that we know, its word says who asks; it appends what it saw itself.
Introduction WebApi::introduce(const HttpRequest& request) const {
  constexpr std::string_view scheme = "bearer ";  // in any case (RFC 9110, 11.1)
  Introduction introduction{.token = {}, .peer_address = request.peer.address};
  const auto same = [](char letter, char any) {
    return letter == std::tolower(static_cast<unsigned char>(any));
  };
  const std::string& typed = request.authorization;
  if (typed.size() >= scheme.size() &&
      std::equal(scheme.begin(), scheme.end(), typed.begin(), same))
    introduction.token = typed.substr(scheme.size());
  const auto& proxies = ports_.config().web.proxies;
  const auto is_proxy = [&](const std::string& address) {
    return std::find(proxies.begin(), proxies.end(), address) != proxies.end();
  };
  std::string_view chain = request.forwarded_for;
  while (is_proxy(introduction.peer_address) && !chain.empty()) {
    const std::size_t comma = chain.rfind(',');
    const std::size_t start = comma == std::string_view::npos ? 0 : comma + 1;
    std::string_view last = chain.substr(start);
    while (last.starts_with(' ')) last.remove_prefix(1);
    while (last.ends_with(' ')) last.remove_suffix(1);
    introduction.peer_address = std::string(last);
    chain = comma == std::string_view::npos ? std::string_view{} : chain.substr(0, comma);
  }
  return introduction;
}

SessionId WebApi::new_session() { return SessionId{(ports_.random() | web_bit) & ~visitor_bit}; }

RequestId WebApi::request_id() const {
  return make_request_id(ports_.wall_now(), {ports_.random(), ports_.random()});
}

void WebApi::file(const HttpRequest& request, HttpReply& reply) const {
  const WebFile* found = web_file(request.path);
  if (found == nullptr)
    return reply.answer(web_error(
        {.code = Errc::result_gone, .detail = "there is no such page; the one there is, is at /"}));
  const std::string tag = "\"" + std::to_string(std::hash<std::string_view>{}(found->text)) + "\"";
  HttpAnswer answer{.headers = {{"Cache-Control", "no-cache"}, {"ETag", tag}}};
  if (request.if_none_match == tag) {
    answer.status = 304;
  } else {
    answer.body = found->text;
    answer.media_type = found->media_type;
  }
  reply.answer(std::move(answer));
}

HttpAnswer WebApi::offer(const Caller& caller) const {
  const Config& config = ports_.config();
  Json json{{"pool", config.pool},
            {"build", build_},
            {"announcement", text_or_null(ports_.announcement())},
            {"now", time_or_null(ports_.pool_now())},
            {"caller", json_of(caller)}};
  json.update(json_of_offer(config, caller));
  return ok_json(json);
}

// ---- Questions ---------------------------------------------------------------------------------

void WebApi::ask(Instant now, const Caller& caller, WebRequest request,
                 std::shared_ptr<HttpReply> reply) {
  const Error full{.code = Errc::overloaded, .detail = "too many questions wait for their answer"};
  if (std::ssize(asked_) >= web_limits::questions_max) return reply->answer(web_error(full));
  const SessionId session = new_session();
  if (const Status opened = ports_.open(session, caller); !opened)
    return reply->answer(web_error(opened.error()));
  ToSession question = question_of(request);
  reply->when_gone([this, session] { forget(session); });
  asked_[session] = {.reply = std::move(reply), .request = std::move(request), .since = now};
  ports_.say(session, std::move(question));
}

ToSession WebApi::question_of(WebRequest& request) {
  switch (request.ask) {
    case WebAsk::jobs:
      return ClientJobs{.query = only_query};
    case WebAsk::submit:
      // Nobody's connection stands for it.
      if (!request.says_detached) request.body.detached = true;
      if (request.request == RequestId{}) request.request = request_id();
      return ClientSubmit{.query = only_query, .request = request.request, .body = request.body};
    case WebAsk::job:
    case WebAsk::result:
      return ClientWatch{.query = only_query, .job = request.job};
    case WebAsk::cancel:
      return ClientCancel{.query = only_query, .job = request.job};
    case WebAsk::explain:
      return ClientExplain{.query = only_query, .job = request.job};
    case WebAsk::refusal:
      return ClientExplain{.query = only_query, .request = request.request};
    case WebAsk::log:
      return ClientLogs{.query = only_query, .job = request.job};
    case WebAsk::preview:
      return ClientLogs{.query = only_query, .job = request.job, .preview = true};
    case WebAsk::receipts:
      return ClientReceipts{.query = only_query, .before = request.before, .limit = request.limit};
    case WebAsk::changes: {
      const Instant since =
          request.since == Duration{} ? Instant{} : ports_.pool_now() - request.since;
      return ClientChanges{.query = only_query, .since = since, .limit = request.limit};
    }
    case WebAsk::usage:
      return ClientUsage{.query = only_query, .limit = request.limit};
    case WebAsk::quote:
      return ClientQuote{.query = only_query, .body = request.body};
    case WebAsk::overview:
    case WebAsk::metrics:
      return ClientOverview{.query = only_query};
    case WebAsk::operate:
      return ClientOperate{.query = only_query, .words = request.words};
    default:
      return ClientQuota{.query = only_query};
  }
}

// What a page submits goes through its stream, whose connection stands for it.
void WebApi::submit(const Caller& caller, WebRequest request, std::shared_ptr<HttpReply> reply) {
  const auto it = streams_.find(SessionId{request.stream});
  if (it == streams_.end() || it->second.caller.account != caller.account)
    return reply->answer(web_error({.code = Errc::bad_request,
                                    .detail = "there is no such stream of this account (any more); "
                                              "open one, or submit without"}));
  Stream& stream = it->second;
  if (std::ssize(stream.submits) >= web_limits::submits_max)
    return reply->answer(
        web_error({.code = Errc::overloaded,
                   .detail = "too many submits of this stream wait for an answer"}));
  const RequestId id = request.request == RequestId{} ? request_id() : request.request;
  if (stream.submits.contains(id))
    return reply->answer(web_error(
        {.code = Errc::id_reused, .detail = "this very request waits for its answer already"}));
  const std::uint64_t query = ++stream.last_query;
  reply->when_gone([this, session = it->first, id] {
    if (const auto found = streams_.find(session); found != streams_.end())
      found->second.submits.erase(id);
  });
  stream.submits[id] = {query, std::move(reply)};
  ports_.say(it->first, ClientSubmit{.query = query, .request = id, .body = request.body});
}

void WebApi::hear(Instant now, SessionId session, const ToClient& message) {
  if (const auto stream = streams_.find(session); stream != streams_.end())
    return hear(now, session, stream->second, message);
  const auto asked = asked_.find(session);
  if (asked == asked_.end() || std::holds_alternative<SessionNotice>(message)) return;
  asked->second.since = now;
  hear(asked->second, session, message);
}

void WebApi::hear(Asked& asked, SessionId session, const ToClient& message) {
  if (go_on(asked, session, message)) return;
  end(session, answer_of(asked, message, *this));
}

// False: too much is on its way already.
bool WebApi::reserve(Asked& asked, std::int64_t bytes) {
  if (*held_bytes_ + bytes > web_limits::held_bytes_max) return false;
  *held_bytes_ += bytes;
  asked.reserved = std::shared_ptr<void>(held_bytes_.get(),
                                         [held = held_bytes_, bytes](void*) { *held -= bytes; });
  return true;
}

// Results and logs come in pieces, and of a result first its receipt, which says what it is.
bool WebApi::go_on(Asked& asked, SessionId session, const ToClient& message) {
  // Of a cancelled job the end is the answer, and what comes before it is not.
  if (asked.request.ask == WebAsk::cancel && std::holds_alternative<JobEvent>(message)) return true;
  if (asked.request.ask == WebAsk::result) {
    if (const auto* done = std::get_if<JobDone>(&message)) {
      asked.result = done->receipt.result;
      if (asked.result.hash.empty() || asked.result.bytes > web_limits::result_bytes_max ||
          !reserve(asked, asked.result.bytes))
        return false;
      ports_.say(session, ClientFetch{.query = only_query, .job = asked.request.job});
      return true;
    }
    const auto* chunk = std::get_if<ResultChunk>(&message);
    if (chunk == nullptr || chunk->error != Errc{}) return false;
    asked.bytes += chunk->bytes;
    if (chunk->bytes.empty() || std::ssize(asked.bytes) >= asked.result.bytes) return false;
    ports_.say(session, ClientFetch{.query = only_query,
                                    .job = asked.request.job,
                                    .offset = std::ssize(asked.bytes)});
    return true;
  }
  if (asked.request.ask != WebAsk::log) return false;
  const auto* chunk = std::get_if<LogChunk>(&message);
  if (chunk == nullptr || chunk->error != Errc{}) return false;
  if (!asked.reserved && !reserve(asked, limits::log_bytes_max)) return false;
  asked.bytes += chunk->bytes;
  if (chunk->bytes.empty() || std::ssize(asked.bytes) >= chunk->total) return false;
  ports_.say(
      session,
      ClientLogs{.query = only_query, .job = asked.request.job, .offset = std::ssize(asked.bytes)});
  return true;
}

HttpAnswer WebApi::answer_of(Asked& asked, const ToClient& message, const WebApi& api) {
  if (const auto* error = std::get_if<SessionError>(&message))
    return web_error(
        {.code = error->code, .want = error->want, .have = error->have, .detail = error->detail});
  if (const auto* refused = std::get_if<SessionRefused>(&message))
    return web_refusal(refused->refusal);
  const WebAsk ask = asked.request.ask;
  if (const auto* event = std::get_if<JobEvent>(&message)) {
    if (ask == WebAsk::result)
      return web_error({.code = Errc::result_gone, .detail = "this job is not over yet"});
    return {.status = ask == WebAsk::submit ? 202 : 200,
            .body = text_of(Json{{"job", json_of(*event)}})};
  }
  if (const auto* done = std::get_if<JobDone>(&message)) {
    if (ask != WebAsk::result) return ok_json(json_of(*done));
    if (asked.result.hash.empty())
      return web_error({.code = Errc::result_gone, .detail = "this job has no result"});
    if (asked.result.bytes <= web_limits::result_bytes_max) return web_error(too_much());
    return web_error({.code = Errc::overloaded,
                      .detail = "its result is too large to be handed out here: " +
                                std::to_string(asked.result.bytes) + " bytes; `gpupool result " +
                                std::to_string(asked.request.job.value) + "` fetches it"});
  }
  if (const auto* chunk = std::get_if<ResultChunk>(&message)) {
    if (chunk->error != Errc{} || std::ssize(asked.bytes) != asked.result.bytes)
      return web_error({.code = Errc::result_gone, .detail = "it is not kept any more"});
    const bool is_picture =
        asked.result.media_type.starts_with("image/") && asked.result.media_type != "image/svg+xml";
    HttpAnswer answer{.body = std::move(asked.bytes), .media_type = asked.result.media_type};
    if (!is_picture) answer.headers.emplace_back("Content-Disposition", "attachment");
    return answer;
  }
  if (const auto* chunk = std::get_if<LogChunk>(&message)) {
    if (ask == WebAsk::preview && chunk->bytes.empty())
      return web_error({.code = Errc::result_gone,
                        .detail = "there is no picture of this job to look at while it forms"});
    if (ask == WebAsk::preview) return {.body = chunk->bytes, .media_type = "image/png"};
    if (!asked.reserved) return web_error(too_much());
    return {.body = std::move(asked.bytes), .media_type = "text/plain; charset=utf-8"};
  }
  if (const auto* found = std::get_if<OverviewAnswer>(&message)) {
    if (ask == WebAsk::metrics)
      return {.body = metrics_text(*found->overview, api.build_, api.ports_.process()),
              .media_type = "text/plain; version=0.0.4; charset=utf-8"};
    Json json{{"pool", api.ports_.config().pool}, {"build", api.build_}};
    json.update(json_of(*found->overview));
    return ok_json(json);
  }
  if (const auto* operated = std::get_if<OperateAnswer>(&message))
    return ok_json(json_of(operated->table));
  return std::visit(
      [](const auto& one) -> HttpAnswer {
        if constexpr (requires { json_of(one); }) return ok_json(json_of(one));
        return {.status = 500};
      },
      message);
}

void WebApi::end(SessionId session, HttpAnswer answer) {
  const auto node = asked_.extract(session);
  answer.kept = std::move(node.mapped().reserved);
  ports_.close(session);
  node.mapped().reply->answer(std::move(answer));
}

// Its client went.
void WebApi::forget(SessionId session) {
  asked_.erase(session);
  if (auto node = streams_.extract(session)) give_up_submits(node.mapped());
  ports_.close(session);
}

void WebApi::tick(Instant now) {
  std::vector<SessionId> late;
  for (const auto& [session, asked] : asked_)
    if (now - asked.since >= answer_limit) late.push_back(session);
  for (const SessionId session : late)
    end(session, web_error({.code = Errc::timed_out, .want = answer_limit.ms}));
  std::vector<SessionId> all;
  for (const auto& [session, stream] : streams_) all.push_back(session);
  for (const SessionId session : all)
    if (const auto it = streams_.find(session); it != streams_.end())
      tick(now, session, it->second);
}

}  // namespace gpupool
