#include "net/conversation.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "config/limits.h"

namespace gpupool {
namespace {

constexpr std::size_t events_kept = 1'000;  // progress beyond it is dropped; ends never are
constexpr int frames_per_round = 256;       // then what is due is done first
constexpr int pings_missed_max = 3;
constexpr int repeats_max = 5;  // of a submit or watch whose outcome the pool could not tell
// Submits and watches without a first answer, well below what a session takes of one client.
constexpr std::ptrdiff_t asked_max = limits::session_queries_max / 2;
constexpr Duration wait_max = hours(1);  // fits every poll's argument

// Saturates, so that a caller may wait "for ever".
Instant after(Instant now, Duration timeout) {
  return timeout >= Instant::never() - now ? Instant::never() : now + timeout;
}

Error error_of(const SessionError& answer) {
  return {.code = answer.code, .want = answer.want, .have = answer.have, .detail = answer.detail};
}

// A question that may not be asked, e.g. because the token has expired meanwhile.
Error error_of(const Refusal& refusal) {
  return {.code = refusal.code,
          .want = refusal.want,
          .have = refusal.have,
          .detail = refusal.detail.empty() ? refusal.sentence : refusal.detail};
}

}  // namespace

Conversation::Conversation(ClientOptions options)
    : options_(std::move(options)), jitter_(Prng{options_.seed}.fork("reconnect")) {}

Status Conversation::begin() {
  Result<Endpoints> endpoints = Endpoints::read(options_.endpoint);
  if (!endpoints) return endpoints.error();
  endpoints_ = std::move(*endpoints);
  context_.reset(zmq_ctx_new());
  if (!context_ || !wake_up_.open()) return last_system_error("a client socket");
  give_up_at_ = after(boot_time(), options_.connect_timeout);
  return work([this] { return phase_ == Phase::live; }, options_.connect_timeout + seconds(1));
}

void Conversation::say_goodbye() {
  if (phase_ == Phase::live) send(Bye{});
}

const SessionWelcome& Conversation::welcome() const {
  GPUPOOL_ENSURE(welcome_.has_value());  // begin() has waited for it
  return *welcome_;
}

Status Conversation::follow(Follow follow) {
  if (failed_) return *failed_;
  if (std::cmp_greater_equal(follows_.size(), limits::session_jobs_max))
    return Error{.code = Errc::overloaded,
                 .want = limits::session_jobs_max + 1,
                 .have = limits::session_jobs_max,
                 .detail = "one client follows no more jobs at once"};
  follows_.push_back(std::move(follow));
  ask_for_more();
  return ok();
}

bool Conversation::follows(JobId job) const {
  return std::any_of(follows_.begin(), follows_.end(),
                     [&](const Follow& follow) { return follow.job == job; });
}

Result<ClientEvent> Conversation::next_event(Duration timeout) {
  if (Status worked = work([this] { return !events_.empty(); }, timeout); !worked)
    return worked.error();
  ClientEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

Result<ToClient> Conversation::ask(Question question) {
  question_ = std::move(question);
  if (phase_ == Phase::live)
    for (const std::string& frame : question_->frames) send_frame(frame);
  const Status worked =
      work([this] { return question_->answer.has_value(); }, options_.answer_timeout);
  const Question asked = *std::exchange(question_, std::nullopt);
  if (!worked && worked.error().code == Errc::timed_out && phase_ != Phase::live)
    return nobody_answers();
  if (!worked) return worked.error();
  if (const auto* error = std::get_if<SessionError>(&*asked.answer)) return error_of(*error);
  if (const auto* refused = std::get_if<SessionRefused>(&*asked.answer))
    return error_of(refused->refusal);
  return *asked.answer;
}

void Conversation::interrupt() noexcept {
  interrupted_ = true;
  wake_up_.wake();
}

// ---- The connection --------------------------------------------------------------------------

Status Conversation::work(const std::function<bool()>& done, Duration timeout) {
  const Instant deadline = after(boot_time(), timeout);
  for (;;) {
    if (interrupted_.exchange(false)) return Error{.code = Errc::interrupted};
    const bool drained = receive();
    const Instant now = boot_time();
    // What arrived before the end of a connection counts before the end does.
    if (drained) keep_going(now);
    if (done()) return ok();
    if (failed_) return *failed_;
    if (now >= deadline) return Error{.code = Errc::timed_out, .want = timeout.ms};
    wait(std::min(deadline, next_deed_) - now);
  }
}

void Conversation::wait(Duration time) {
  const Duration bounded = std::clamp(time, milliseconds(0), wait_max);
  if (link_) {
    link_->wait(wake_up_, bounded);
  } else {
    zmq_pollitem_t item{nullptr, wake_up_.fd(), ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, static_cast<long>(bounded.ms));
  }
  wake_up_.clear();
}

bool Conversation::receive() {
  for (int i = 0; i < frames_per_round && link_; ++i) {
    const std::optional<std::string> frame = link_->receive();
    if (!frame) return true;
    Result<ToClient> message = decode_from_pool(*frame);
    // A message of a newer pool that this client does not know is none of its business.
    if (!message) continue;
    pings_missed_ = 0;
    std::visit([this](auto& content) { take(std::move(content)); }, *message);
  }
  return !link_;
}

// What is due: a new attempt, giving up on one, a ping, noticing that the pool is gone.
void Conversation::keep_going(Instant now) {
  if (failed_) return;
  if (link_ && link_->lost()) {
    const Endpoints::Failure why = link_->end();
    // Another pool may be behind another endpoint; of a single one that is the last word.
    if (why == Endpoints::Failure::other_language && endpoints_.size() == 1)
      return fail({.code = Errc::not_connected,
                   .detail = Endpoints::other_language(endpoints_.present(), has_key())});
    lose(now, "the connection was closed", why);
  }
  if (now < next_deed_) return;
  switch (phase_) {
    case Phase::down:
      return now >= give_up_at_ ? fail(nobody_answers()) : try_again(now);
    case Phase::greeting:
      return lose(now, "no welcome came",
                  now >= give_up_at_ ? Endpoints::Failure::cut_short : Endpoints::Failure::silent);
    case Phase::live:
      if (pings_missed_ >= pings_missed_max) return lose(now, "the pool went silent");
      ++pings_missed_;
      next_deed_ = now + welcome_->heartbeat;
      send(ClientPing{.query = next_query()});
      ask_the_silent_again(now);
  }
}

void Conversation::try_again(Instant now) {
  Result<std::unique_ptr<Link>> link =
      Link::open(context_, {endpoints_.present(), options_.server_key});
  if (!link) return fail(link.error());
  link_ = std::move(*link);
  greet(now);
}

void Conversation::greet(Instant now) {
  phase_ = Phase::greeting;
  next_deed_ = std::min(now + endpoints_.patience(), std::max(give_up_at_, now));
  send(Hello{.token = options_.token, .program = options_.program});
}

void Conversation::lose(Instant now, std::string reason, Endpoints::Failure why) {
  if (phase_ == Phase::live) {
    give_up_at_ = after(now, options_.reconnect_for);
    told_lost_ = true;
    push(LinkLost{.reason = std::move(reason), .endpoint = endpoints_.present()});
  }
  link_.reset();
  pings_missed_ = 0;
  phase_ = Phase::down;
  endpoints_.pass_over(why);
  const Duration longest = endpoints_.pause();
  next_deed_ = std::min(now + Duration{jitter_.between(longest.ms / 2, longest.ms)},
                        std::max(give_up_at_, now));
}

void Conversation::fail(Error error) {
  failed_ = std::move(error);
  link_.reset();
  phase_ = Phase::down;
  next_deed_ = Instant::never();
}

Error Conversation::nobody_answers() const {
  return {.code = Errc::not_connected, .detail = endpoints_.nobody_answers(has_key())};
}

void Conversation::send(const FromClient& message) {
  // Only a program name or token beyond all bounds does not fit; then nothing can be said at all.
  if (const Result<std::string> frame = encode(message); frame)
    send_frame(*frame);
  else
    fail(frame.error());
}

void Conversation::send_frame(const std::string& frame) {
  if (link_ && !link_->send(frame)) lose(boot_time(), "the connection takes no more");
}

// Sends submits and watches in their order while few of them are without an answer.
void Conversation::ask_for_more() {
  std::ptrdiff_t asked = std::count_if(follows_.begin(), follows_.end(), [](const Follow& follow) {
    return follow.stage == Follow::Stage::asked;
  });
  for (Follow& follow : follows_) {
    if (phase_ != Phase::live || asked >= asked_max) return;
    if (follow.stage != Follow::Stage::waiting) continue;
    follow.stage = Follow::Stage::asked;
    follow.asked_at = boot_time();
    ++asked;
    send_frame(follow.frame);
  }
}

// The same id again finds out what became of it, without a second run.
bool Conversation::ask_again(Follow& follow) {
  if (++follow.repeats > repeats_max) return false;
  follow.asked_at = boot_time();
  send_frame(follow.frame);
  return true;
}

// The pool lives, for its pongs come, and has said nothing of these for as long as it takes to
// answer a question.
void Conversation::ask_the_silent_again(Instant now) {
  std::erase_if(follows_, [&](Follow& follow) {
    if (phase_ != Phase::live || follow.stage != Follow::Stage::asked) return false;
    if (now < after(follow.asked_at, options_.answer_timeout) || ask_again(follow)) return false;
    push(FollowFailed{.request = follow.request,
                      .job = follow.job,
                      .error = {.code = Errc::timed_out, .want = options_.answer_timeout.ms}});
    return true;
  });
  ask_for_more();
}

// ---- What the pool says ----------------------------------------------------------------------

void Conversation::take(SessionWelcome welcome) {
  const bool live_already = phase_ == Phase::live;
  welcome_ = std::move(welcome);
  // A pool that asks for no heartbeat still gets some: they find out whether it lives.
  welcome_->heartbeat = std::clamp(welcome_->heartbeat, milliseconds(10), seconds(60));
  hear_announcement();
  if (live_already) return;
  phase_ = Phase::live;
  endpoints_.found();
  give_up_at_ = Instant::never();
  next_deed_ = boot_time() + welcome_->heartbeat;
  if (std::exchange(told_lost_, false))
    push(LinkRestored{.welcome = *welcome_, .endpoint = endpoints_.present()});
  if (question_)
    for (const std::string& frame : question_->frames) send_frame(frame);
  for (Follow& follow : follows_) follow.stage = Follow::Stage::waiting;
  ask_for_more();
}

void Conversation::take(SessionNotice notice) {
  if (!welcome_) return;
  welcome_->announcement = std::move(notice.text);
  hear_announcement();
}

// Every welcome says again what is announced; the caller hears each text once.
void Conversation::hear_announcement() {
  if (std::exchange(announced_, welcome_->announcement) == welcome_->announcement) return;
  if (options_.announced && !announced_.empty()) options_.announced(announced_);
}

void Conversation::take(SessionError error) {
  if (error.query == 0) return take_complaint(error);
  if (question_ && question_->query == error.query) {
    // A cancel that came too late is answered by the receipt, which the watch brings.
    if (question_->job && error.code == Errc::job_finished) return;
    question_->answer = std::move(error);
    return;
  }
  const auto found = std::find_if(follows_.begin(), follows_.end(),
                                  [&](const Follow& f) { return f.query == error.query; });
  if (found == follows_.end()) return;
  const bool unknown = error.code == Errc::outcome_unknown || error.code == Errc::timed_out;
  if (unknown && ask_again(*found)) return;
  push(FollowFailed{.request = found->request, .job = found->job, .error = error_of(error)});
  follows_.erase(found);
  ask_for_more();
}

// An error about the connection and not about one question.
void Conversation::take_complaint(const SessionError& error) {
  const Instant now = boot_time();
  if (error.code == Errc::not_connected) {
    // The pool forgot a client that was silent for long: say hello again on the same connection.
    // More of these may come, one for each frame that was on its way; the hello has been said then.
    if (phase_ != Phase::live) return;
    give_up_at_ = after(now, options_.reconnect_for);
    return greet(now);
  }
  const bool crowded =
      (error.code == Errc::overloaded || error.code == Errc::rate_limited) && !welcome_;
  if (error.code == Errc::unauthenticated || error.code == Errc::version_mismatch || crowded)
    return fail(error_of(error));
  if (phase_ == Phase::greeting) return lose(now, error.detail);
  if (question_) question_->answer = error;
}

void Conversation::take(SessionRefused refused) {
  if (question_ && question_->query == refused.query) {
    question_->answer = std::move(refused);
    return;
  }
  const auto is_refused = [&](const Follow& follow) {
    return follow.query == refused.query || follow.is_of({}, refused.refusal.request);
  };
  if (std::erase_if(follows_, is_refused) == 0) return;
  push(std::move(refused));
  ask_for_more();
}

void Conversation::take(JobEvent event) {
  const auto found = std::find_if(follows_.begin(), follows_.end(), [&](const Follow& follow) {
    return follow.is_of(event.job, event.request);
  });
  if (found == follows_.end()) return;
  found->job = event.job;
  found->stage = Follow::Stage::heard;
  push(std::move(event));
  ask_for_more();
}

void Conversation::take(JobDone done) {
  const Receipt& receipt = done.receipt;
  const bool followed = std::erase_if(follows_, [&](const Follow& follow) {
                          return follow.is_of(receipt.job, receipt.request);
                        }) > 0;
  if (question_ && question_->job && question_->job == receipt.job)
    question_->answer = std::move(done);
  else if (followed)
    push(std::move(done));
  ask_for_more();
}

template <class Answer>
void Conversation::take(Answer answer) {
  if (question_ && question_->query == answer.query) question_->answer = std::move(answer);
}

void Conversation::push(ClientEvent event) {
  const bool may_be_missed = std::holds_alternative<JobEvent>(event) ||
                             std::holds_alternative<LinkLost>(event) ||
                             std::holds_alternative<LinkRestored>(event);
  if (may_be_missed && events_.size() >= events_kept) return;
  events_.push_back(std::move(event));
}

}  // namespace gpupool
