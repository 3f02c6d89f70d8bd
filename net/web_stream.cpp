// Streams of the web front: a browser's page, or a program, that is told what happens.
#include <algorithm>
#include <array>
#include <charconv>

#include "actors/describe.h"
#include "actors/request_id.h"
#include "config/limits.h"
#include "net/json_overview.h"
#include "net/web_api.h"
#include "net/web_limits.h"

namespace gpupool {
namespace {

// Of these one is always enough.
constexpr std::uint64_t quota_query = 1;
constexpr std::uint64_t jobs_query = 2;
constexpr std::uint64_t overview_query = 3;

constexpr Duration busy_interval = seconds(2);  // between two looks, while jobs are open
constexpr Duration idle_interval = seconds(5);
constexpr Duration overview_interval = seconds(2);
constexpr Duration ping_interval = seconds(10);

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string hex_of(std::uint64_t number) {
  std::array<char, 16> digits{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
  return {digits.data(), end};
}

// Numbers that only time moves are no news.
std::string without_moment(Json json) {
  json["balance"].erase("at");
  return line_of(json);
}

}  // namespace

void WebApi::open_stream(Instant now, Introduction introduction, const Caller& caller,
                         std::shared_ptr<HttpReply> reply) {
  if (std::ssize(streams_) >= web_limits::streams_max)
    return reply->answer(
        web_error({.code = Errc::overloaded, .detail = "this pool has its most open streams"}));
  const auto own = std::count_if(streams_.begin(), streams_.end(), [&](const auto& one) {
    return one.second.caller.account == caller.account;
  });
  if (own >= web_limits::account_streams_max)
    return reply->answer(
        web_error({.code = Errc::overloaded, .detail = "this account has its most open streams"}));
  const SessionId session = new_session();
  if (const Status opened = ports_.open(session, caller); !opened)
    return reply->answer(web_error(opened.error()));
  reply->when_gone([this, session] { forget(session); });
  reply->begin_stream({});
  Stream& stream = streams_[session];
  stream = {.reply = std::move(reply),
            .introduction = std::move(introduction),
            .caller = caller,
            .spoke = now};
  stream.announced = ports_.announcement();
  tell(stream, "hello", "hello",
       line_of({{"stream", hex_of(session.value)},
                {"pool", ports_.config().pool},
                {"build", build_},
                {"announcement", text_or_null(stream.announced)},
                {"now", time_or_null(ports_.pool_now())},
                {"caller", json_of(caller)}}));
  tick(now, session, stream);
}

void WebApi::tell(Stream& stream, const std::string& key, std::string_view event,
                  const std::string& data) {
  std::string text = "event: " + std::string(event) + "\ndata: " + data + "\n\n";
  for (auto& [known, waiting] : stream.outbox) {
    if (known != key) continue;
    waiting = std::move(text);
    return;
  }
  stream.outbox.emplace_back(key, std::move(text));
}

void WebApi::tick(Instant now, SessionId session, Stream& stream) {
  if (now >= stream.ask_again) {
    stream.ask_again = now + (stream.followed.empty() ? idle_interval : busy_interval);
    ports_.say(session, ClientQuota{.query = quota_query});
    ports_.say(session, ClientJobs{.query = jobs_query});
  }
  if (stream.caller.is_operator && now >= stream.look_again) {
    stream.look_again = now + overview_interval;
    ports_.say(session, ClientOverview{.query = overview_query});
  }
  if (stream.outbox.empty() && now - stream.spoke < ping_interval) return;
  std::string all;
  for (auto& [key, text] : stream.outbox) all += text;
  stream.outbox.clear();
  if (all.empty()) all = ": ping\n\n";
  stream.spoke = now;
  stream.reply->event(std::move(all));
}

void WebApi::hear(Instant now, SessionId session, Stream& stream, const ToClient& message) {
  if (const auto* event = std::get_if<JobEvent>(&message)) {
    heard(now, session, stream, *event);
  } else if (const auto* done = std::get_if<JobDone>(&message)) {
    heard(now, session, stream, *done);
  } else if (const auto* jobs = std::get_if<JobsAnswer>(&message)) {
    heard(session, stream, *jobs);
  } else if (const auto* refused = std::get_if<SessionRefused>(&message)) {
    if (const auto node = stream.submits.extract(refused->refusal.request))
      node.mapped().reply->answer(web_refusal(refused->refusal));
  } else if (const auto* quota = std::get_if<QuotaAnswer>(&message)) {
    const Json json = json_of(*quota);
    if (std::string present = without_moment(json); present != stream.quota) {
      stream.quota = std::move(present);
      tell(stream, "quota", "quota", line_of(json));
    }
  } else if (const auto* found = std::get_if<OverviewAnswer>(&message)) {
    Json json{{"pool", ports_.config().pool}, {"build", build_}};
    json.update(json_of(*found->overview));
    tell(stream, "overview", "overview", line_of(json));
  } else if (const auto* error = std::get_if<SessionError>(&message)) {
    heard(session, stream, *error);
  }
}

void WebApi::heard(Instant now, SessionId, Stream& stream, JobEvent event) {
  Shared<Hold>& hold = stream.followed[event.job];
  if (event.hold->job) hold = event.hold;
  event.hold = hold;
  if (const auto node = stream.submits.extract(event.request)) {
    node.mapped().reply->answer({.status = 202, .body = text_of(Json{{"job", json_of(event)}})});
    stream.ask_again = now;  // what is held and left changed
  }
  const std::string number = std::to_string(event.job.value);
  tell(stream, "job " + number, "job", line_of(json_of(event)));
  const AppConfig* app = ports_.config().app(event.hold->body->app);
  if (event.state == JobState::running && event.step > 0 && app &&
      app->executor == ExecutorKind::diffusion)
    tell(stream, "preview " + number, "preview",
         line_of({{"job", event.job.value}, {"step", event.step}}));
}

void WebApi::heard(Instant now, SessionId, Stream& stream, const JobDone& done) {
  if (const auto node = stream.submits.extract(done.receipt.request))
    node.mapped().reply->answer({.body = text_of(json_of(done))});
  stream.followed.erase(done.receipt.job);
  std::erase_if(stream.watches,
                [&](const auto& watch) { return watch.second == done.receipt.job; });
  const std::string number = std::to_string(done.receipt.job.value);
  std::erase_if(stream.outbox, [&](const auto& waiting) {
    return waiting.first == "job " + number || waiting.first == "preview " + number;
  });
  tell(stream, "done " + number, "done", line_of(json_of(done)));
  stream.ask_again = now;
}

// Jobs that were submitted elsewhere are followed here, too.
void WebApi::heard(SessionId session, Stream& stream, const JobsAnswer& answer) {
  std::string states;
  for (const JobEvent& job : answer.jobs) {
    states += std::to_string(job.job.value) + std::string(word_of(job.state));
    if (stream.followed.contains(job.job) ||
        std::cmp_greater_equal(stream.followed.size(), web_limits::followed_max))
      continue;
    stream.followed[job.job] = job.hold;
    stream.watches[++stream.last_query] = job.job;
    ports_.say(session, ClientWatch{.query = stream.last_query, .job = job.job});
  }
  if (!stream.jobs.empty() && states == stream.jobs.substr(1)) return;
  stream.jobs = " " + states;
  tell(stream, "jobs", "jobs", line_of(json_of(answer)));
}

// What is asked again anyway needs no word. A token that is good no more ends the stream.
void WebApi::heard(SessionId session, Stream& stream, const SessionError& error) {
  const auto submit =
      std::find_if(stream.submits.begin(), stream.submits.end(),
                   [&](const auto& one) { return one.second.query == error.query; });
  if (submit != stream.submits.end()) {
    submit->second.reply->answer(web_error(
        {.code = error.code, .want = error.want, .have = error.have, .detail = error.detail}));
    stream.submits.erase(submit);
  }
  // A job that could not be followed is tried again with the next look.
  if (const auto watch = stream.watches.extract(error.query)) stream.followed.erase(watch.mapped());
  if (error.code == Errc::unauthenticated) end_stream(session, error.detail);
}

// Whether these were admitted nobody will tell them any more; their ids can be asked again.
void WebApi::give_up_submits(Stream& stream) {
  for (auto& [id, submit] : std::exchange(stream.submits, {}))
    submit.reply->answer(web_error({.code = Errc::outcome_unknown,
                                    .detail = "the stream of request " + format_request_id(id) +
                                              " ended; ask again with the same id"}));
}

void WebApi::end_stream(SessionId session, const std::string& reason) {
  const auto node = streams_.extract(session);
  if (!node) return;
  Stream& stream = node.mapped();
  give_up_submits(stream);
  tell(stream, "bye", "bye", line_of({{"reason", reason}}));
  std::string all;
  for (auto& [key, text] : stream.outbox) all += text;
  ports_.close(session);
  stream.reply->event(std::move(all));
  stream.reply->end_stream();
}

void WebApi::reconsider() {
  const std::string announcement = ports_.announcement();
  std::map<SessionId, std::string> over;
  for (auto& [session, stream] : streams_) {
    if (std::exchange(stream.announced, announcement) != announcement)
      tell(stream, "notice", "notice", line_of({{"text", announcement}}));
    const auto caller = ports_.recognise(stream.introduction);
    if (!caller)
      over[session] = caller.error().detail;
    else if (caller->tier != stream.caller.tier)
      over[session] = "your tier is " + caller->tier + " now";
  }
  for (const auto& [session, reason] : over) end_stream(session, reason);
}

}  // namespace gpupool
