#include "net/device_api.h"

#include <sodium.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "actors/describe.h"
#include "actors/request_id.h"
#include "config/limits.h"

namespace gpupool {
namespace {

using Json = nlohmann::json;

constexpr Duration ping_interval = seconds(2);  // the only way for a client to see its visitor go
constexpr Duration queue_limit = seconds(60);   // what the client tells its visitors, too
constexpr Duration answer_limit = seconds(30);  // of the pool, for anything but a place in a queue
constexpr Duration worker_limit = seconds(5);   // of this node's worker

HttpAnswer status(int code) { return {.status = code}; }
HttpAnswer json(int code, const Json& body) { return {.status = code, .body = body.dump()}; }

std::string text_of(const HttpRequest& request, std::string_view name) {
  const std::string* value = request.parameter(name);
  return value ? *value : std::string{};
}

// Digits alone; nothing: it is something else. An absent one is 0.
std::optional<std::int64_t> number_of(const HttpRequest& request, std::string_view name) {
  const std::string* text = request.parameter(name);
  if (text == nullptr) return 0;
  std::int64_t number = 0;
  const char* end = text->data() + text->size();
  const auto [stop, failure] = std::from_chars(text->data(), end, number);
  if (failure != std::errc{} || stop != end || number < 0 || text->empty()) return std::nullopt;
  return number;
}

bool is_same(std::string_view one, std::string_view other) {
  return one.size() == other.size() && sodium_memcmp(one.data(), other.data(), one.size()) == 0;
}

std::int64_t whole_seconds_up(Duration duration) { return (duration.ms + 999) / 1000; }

Json json_of(const Grant& grant) {
  return {{"idle", grant.idle},
          {"nvidiaIndex", grant.slot.value},
          {"nvidiaUUID", grant.device},
          {"allowToken", grant.token}};
}

// What is not the visitor's quota, the client's words for it would make it: 429 is that alone.
HttpAnswer failure_of(Errc code) {
  if (code == Errc::unauthenticated) return status(401);
  HttpAnswer answer = status(503);
  if (code == Errc::rate_limited) answer.headers.emplace_back("Retry-After", "1");
  return answer;
}

constexpr std::string_view quota_path = "/api/spaces/zero-gpu/quota";

}  // namespace

DeviceApi::DeviceApi(const Config& config, DeviceApiPorts ports)
    : config_(config), ports_(std::move(ports)) {}

// ---- Requests --------------------------------------------------------------------------------

void DeviceApi::serve(Instant now, const HttpRequest& request, std::shared_ptr<HttpReply> reply) {
  const bool is_post = request.method == "POST";
  const bool is_get = request.method == "GET";
  std::string path;
  const SpaceConfig* space = space_of(request.path, path);
  if (is_get && (request.path == quota_path || (space && path == quota_path)))
    return quota(now, request, std::move(reply));
  // Who does not know a prefix learns nothing here, not even which paths there are.
  if (space == nullptr) return reply->answer(status(404));
  if (path == "/queue-size" && (is_get || is_post)) return queue_size(*space, *reply);
  if (!is_post) return reply->answer(status(404));
  if (path == "/startup-report") return reply->answer(status(200));
  if (path == "/schedule") return schedule(now, *space, request, std::move(reply));
  if (path == "/allow") return allow(now, *space, request, std::move(reply));
  if (path == "/release") return release(now, *space, request, std::move(reply));
  reply->answer(status(404));
}

const SpaceConfig* DeviceApi::space_of(const std::string& path, std::string& rest) const {
  const SpaceConfig* found = nullptr;
  for (const SpaceConfig& space : config_.spaces) {
    const std::string_view start = std::string_view(path).substr(0, space.prefix.size());
    if (is_same(start, space.prefix)) found = &space;
  }
  if (found) rest = path.substr(found->prefix.size());
  return found;
}

SessionId DeviceApi::welcome(Instant now, std::shared_ptr<HttpReply> reply) {
  const SessionId session{ports_.random() | visitor_bit};
  reply->when_gone([this, session] { when_gone(session); });
  visitors_[session] = Visitor{.reply = std::move(reply), .since = now, .pool = ports_.pool()};
  return session;
}

void DeviceApi::schedule(Instant now, const SpaceConfig& space, const HttpRequest& request,
                         std::shared_ptr<HttpReply> reply) {
  const auto task = number_of(request, "taskId");
  const auto declared = number_of(request, "durationSeconds");
  if (!task || !declared || *declared > limits::duration_ms_max / 1000 ||
      (request.parameter("durationSeconds") != nullptr && *declared == 0))
    return reply->answer(status(400));
  if (std::ssize(visitors_) >= limits::visitors_max) return reply->answer(status(503));
  const SessionId session = welcome(now, std::move(reply));
  visitors_[session].app = space.app;
  visitors_[session].space = space.name;
  ports_.to_pool(VisitorSubmits{
      .session = session,
      .token = text_of(request, "token"),
      .address = request.peer.address,
      .request = make_request_id(ports_.wall_now(), {ports_.random(), ports_.random()}),
      .body = {
          .app = space.app,
          .size = text_of(request, "gpuSize"),
          .declared = seconds(*declared),
          .arguments = {{space_argument, space.name}, {task_argument, std::to_string(*task)}}}});
}

void DeviceApi::allow(Instant now, const SpaceConfig& space, const HttpRequest& request,
                      std::shared_ptr<HttpReply> reply) {
  const auto pid = number_of(request, "pid");
  if (!pid || *pid == 0 || !std::in_range<std::int32_t>(*pid)) return reply->answer(status(400));
  if (std::ssize(asked_) >= limits::visitors_max) return reply->answer(status(503));
  const std::string token = text_of(request, "allowToken");
  if (is_of_another(token, space)) return reply->answer(status(403));
  const auto process = ports_.find(space, static_cast<std::int32_t>(*pid), request.peer);
  if (!process) return reply->answer(status(403));
  asked_[++last_query_] = {.reply = std::move(reply), .since = now};
  ports_.to_worker(AllowProcess{.query = last_query_, .token = token, .process = *process});
}

// A finished result waits for this answer, and an error would take it away: what cannot be done now
// ends by the lease's deadline at the latest.
void DeviceApi::release(Instant now, const SpaceConfig& space, const HttpRequest& request,
                        std::shared_ptr<HttpReply> reply) {
  const std::string token = text_of(request, "allowToken");
  if (is_of_another(token, space)) return reply->answer(status(403));
  if (std::ssize(asked_) >= limits::visitors_max) return reply->answer(status(202));
  asked_[++last_query_] = {.reply = std::move(reply), .since = now, .releases = true};
  ports_.to_worker(ReleaseLease{
      .query = last_query_, .token = token, .failed = text_of(request, "fail") == "true"});
}

void DeviceApi::queue_size(const SpaceConfig& space, HttpReply& reply) const {
  const auto waiting = std::count_if(visitors_.begin(), visitors_.end(), [&](const auto& entry) {
    return entry.second.streams && entry.second.app == space.app;
  });
  reply.answer(json(200, waiting));
}

void DeviceApi::quota(Instant now, const HttpRequest& request, std::shared_ptr<HttpReply> reply) {
  constexpr std::string_view scheme = "Bearer ";
  if (!request.authorization.starts_with(scheme)) return reply->answer(status(401));
  if (std::ssize(visitors_) >= limits::visitors_max) return reply->answer(status(503));
  const SessionId session = welcome(now, std::move(reply));
  visitors_[session].asks_quota = true;
  ports_.to_pool(VisitorAsks{.session = session,
                             .token = request.authorization.substr(scheme.size()),
                             .address = request.peer.address});
}

// ---- What the pool says ----------------------------------------------------------------------

void DeviceApi::hear(Instant now, const ToDeviceApi& message) {
  std::visit([&](const auto& one) { on(now, one); }, message);
}

DeviceApi::Visitor* DeviceApi::find(SessionId session) {
  const auto it = visitors_.find(session);
  return it == visitors_.end() ? nullptr : &it->second;
}

void DeviceApi::on(Instant, const LeaseAnswer& answer) {
  const auto asked = asked_.extract(answer.query);
  if (!asked) return;
  int code = 200;
  if (asked.mapped().releases)
    code = answer.error != Errc{} ? 404 : answer.unused ? 204 : 200;
  else if (answer.error != Errc{})
    code = answer.error == Errc::forbidden ? 403 : 404;
  asked.mapped().reply->answer(status(code));
}

void DeviceApi::on(Instant, const VisitorRecognised& recognised) {
  if (Visitor* visitor = find(recognised.session)) visitor->caller = recognised.caller;
}

void DeviceApi::on(Instant, const VisitorRefused& refused) {
  Visitor* visitor = find(refused.session);
  if (!visitor) return;
  if (visitor->reply) visitor->reply->answer(refusal_of(*visitor, refused.refusal));
  leave(refused.session, {});
}

void DeviceApi::on(Instant, const VisitorFailed& failed) {
  Visitor* visitor = find(failed.session);
  if (!visitor) return;
  if (visitor->streams) return give_up(failed.session, *visitor);
  if (visitor->reply) visitor->reply->answer(failure_of(failed.code));
  leave(failed.session, visitor->job);
}

void DeviceApi::on(Instant now, const VisitorMoved& moved) {
  Visitor* visitor = find(moved.session);
  if (!visitor) return;
  visitor->job = moved.event.job;
  if (!visitor->reply) return leave(moved.session, visitor->job);  // gone meanwhile
  visitor->event = moved.event;
  visitor->event.hold = {};
  if (!moved.event.grant->token.empty()) return grant(moved.session, *visitor, moved.event.grant);
  if (moved.event.state == JobState::queued && !visitor->streams) begin_stream(now, *visitor);
}

// It ended without a grant: an operator cancelled it, or the slot was lost.
void DeviceApi::on(Instant, const VisitorSettled& settled) {
  Visitor* visitor = find(settled.session);
  if (!visitor) return;
  visitor->job = {};
  give_up(settled.session, *visitor);
}

void DeviceApi::on(Instant, const VisitorQuota& quota) {
  Visitor* visitor = find(quota.session);
  if (!visitor) return;
  const Balance& balance = quota.answer.balance;
  Json body = {{"base", balance.allowance.ms / 1000},
               {"current", balance.left.ms / 1000},
               {"resetsAt", nullptr},
               {"overquotaUsed", 0}};
  if (balance.resets_at) body["resetsAt"] = utc_text(balance.resets_at);
  if (visitor->reply) {
    HttpAnswer answer = json(200, body);
    answer.headers = headers_of(*visitor);
    visitor->reply->answer(std::move(answer));
  }
  leave(quota.session, {});
}

// ---- Visitors --------------------------------------------------------------------------------

void DeviceApi::begin_stream(Instant now, Visitor& visitor) {
  HttpHeaders headers = headers_of(visitor);
  headers.emplace_back("X-Queuing-Reason", queuing_reason(visitor.app));
  visitor.streams = true;
  visitor.since = now;
  visitor.reply->begin_stream(headers);
  ping(now, visitor);
}

// The client ignores what is said with it; people who look at the stream see where they stand.
void DeviceApi::ping(Instant now, Visitor& visitor) const {
  visitor.pinged = now;
  Json place{{"position", visitor.event.position}};
  if (visitor.event.promise) place["starts_by"] = utc_text(visitor.event.promise, Rounding::up);
  visitor.reply->event("event: ping\ndata: " + place.dump() + "\n\n");
}

void DeviceApi::remember(const std::string& token, const std::string& space) {
  if (!granted_.emplace(token, space).second) return;
  granted_in_order_.push_back(token);
  if (std::ssize(granted_in_order_) <= limits::visitors_max) return;
  granted_.erase(granted_in_order_.front());
  granted_in_order_.pop_front();
}

// Of one that did not go through here nobody knows the Space: a job of the client protocol has
// none.
bool DeviceApi::is_of_another(const std::string& token, const SpaceConfig& space) const {
  const auto granted = granted_.find(token);
  return granted != granted_.end() && granted->second != space.name;
}

void DeviceApi::grant(SessionId session, Visitor& visitor, const Grant& grant) {
  remember(grant.token, visitor.space);
  if (visitor.streams) {
    visitor.reply->event("event: succeeded\ndata: " + json_of(grant).dump() + "\n\n");
    visitor.reply->end_stream();
  } else {
    HttpAnswer answer = json(200, json_of(grant));
    answer.headers = headers_of(visitor);
    visitor.reply->answer(std::move(answer));
  }
  leave(session, {});  // the job goes on: it is its process's now
}

void DeviceApi::give_up(SessionId session, Visitor& visitor) {
  if (visitor.reply && visitor.streams) {
    visitor.reply->event("event: failed\n\n");
    visitor.reply->end_stream();
  } else if (visitor.reply) {
    HttpAnswer answer = status(503);
    answer.headers = headers_of(visitor);
    visitor.reply->answer(std::move(answer));
  }
  leave(session, visitor.job);
}

void DeviceApi::leave(SessionId session, JobId cancelled) {
  visitors_.erase(session);
  ports_.to_pool(VisitorLeaves{.session = session, .job = cancelled});
}

// Before its job is known there is nothing to cancel: its first event will say which it is.
void DeviceApi::when_gone(SessionId session) {
  Visitor* visitor = find(session);
  if (!visitor) return;
  if (visitor->job || visitor->asks_quota) return leave(session, visitor->job);
  visitor->reply.reset();
}

void DeviceApi::tick(Instant now) {
  std::vector<SessionId> late;
  cut_those_of_other_pools();
  for (auto& [session, visitor] : visitors_) {
    const Duration waited = now - visitor.since;
    if (waited >= (visitor.streams ? queue_limit : answer_limit)) {
      late.push_back(session);
    } else if (visitor.streams && now - visitor.pinged >= ping_interval) {
      ping(now, visitor);
    }
  }
  for (const SessionId session : late)
    if (Visitor* visitor = find(session)) give_up(session, *visitor);
  for (auto it = asked_.begin(); it != asked_.end();) {
    if (now - it->second.since < worker_limit) {
      ++it;
      continue;
    }
    const Asked unanswered = std::move(it->second);
    it = asked_.erase(it);
    unanswered.reply->answer(status(unanswered.releases ? 202 : 503));
  }
}

// The broker that knew them is gone, and with it their sessions. Once another one is there their
// streams are cut: then their clients ask once more, and find it.
void DeviceApi::cut_those_of_other_pools() {
  const std::uint64_t pool = ports_.pool();
  if (pool == 0) return;
  std::erase_if(visitors_, [&](const auto& entry) {
    const Visitor& visitor = entry.second;
    if (visitor.pool == pool) return false;
    if (visitor.reply && visitor.streams) visitor.reply->cut();
    if (visitor.reply && !visitor.streams) visitor.reply->answer(status(503));
    return true;
  });
}

// ---- In the client's words -------------------------------------------------------------------

// Of somebody with a token: it knows two kinds of people, and nobody.
HttpHeaders DeviceApi::headers_of(const Visitor& visitor) const {
  if (!visitor.caller || !visitor.caller->account.text.starts_with("user:")) return {};
  return {{"X-Authenticated", visitor.caller->tier == "pro" ? "pro" : "regular"}};
}

// An app that has slots of its own waits for these, others for the node.
std::string DeviceApi::queuing_reason(const std::string& name) const {
  const AppConfig* app = config_.app(name);
  const auto others =
      std::count_if(config_.apps.begin(), config_.apps.end(),
                    [&](const AppConfig& one) { return one.partition == app->partition; });
  const bool has_all =
      std::all_of(config_.worker.devices.begin(), config_.worker.devices.end(),
                  [&](const DeviceConfig& one) { return one.partition == app->partition; });
  return others == 1 && !has_all ? "concurrency" : "node";
}

HttpAnswer DeviceApi::refusal_of(const Visitor& visitor, const Refusal& refusal) const {
  const Balance& balance = refusal.balance;
  const std::int64_t left = balance.left.ms / 1000;
  HttpAnswer answer = status(503);
  std::string result;
  switch (refusal.code) {
    case Errc::quota_exceeded: {
      // What is held may be enough once it is free, which is sooner than the window's end.
      const bool held_would_do =
          balance.held_until && (balance.left + balance.held) >= refusal.cost;
      const Instant until = held_would_do ? balance.held_until : balance.resets_at;
      const Duration wait = until > balance.at ? until - balance.at : Duration{};
      answer =
          json(429, {{"left", left}, {"wait", std::max<std::int64_t>(1, whole_seconds_up(wait))}});
      result = "quota-exceeded";
      break;
    }
    case Errc::illegal_duration:
      answer = json(429, {{"left", left}, {"wait", -1}});
      result = "illegal-duration";
      break;
    case Errc::too_many_jobs:
      answer = json(429, {{"left", left}, {"wait", 0}});
      result = "runs-exceeded";
      break;
    case Errc::unauthenticated:
      answer = status(401);
      break;
    case Errc::forbidden:
      answer = status(403);
      break;
    case Errc::bad_request:
    case Errc::unknown_app:
    case Errc::id_expired:
    case Errc::id_reused:
      answer = status(400);
      break;
    default:  // the pool's own trouble, and sizes that it lacks: no GPU is available
      break;
  }
  answer.headers = headers_of(visitor);
  if (!result.empty()) answer.headers.emplace_back("X-Approve-Result", result);
  return answer;
}

}  // namespace gpupool
