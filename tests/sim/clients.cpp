#include "tests/sim/clients.h"

#include <algorithm>

#include "actors/worker/command_arguments.h"
#include "base/pack.h"
#include "config/limits.h"

namespace gpupool::sim {

Client::Client(Schedule& schedule, Checks& checks, const ClientPlan& plan, Prng rng,
               Gateway gateway)
    : schedule_(schedule), checks_(checks), plan_(plan), rng_(rng), gateway_(std::move(gateway)) {}

void Client::act_later() {
  schedule_.after(milliseconds(rng_.between(1, 2 * plan_.pause.ms)), [this] {
    act();
    act_later();
  });
}

void Client::act() {
  if (!session_) return connect();
  if (settling_) {
    if (schedule_.now() > token_ends_) return disconnect();
    return ask_again();
  }
  switch (rng_.below(8)) {
    case 0:
    case 1:
    case 2:
    case 5:
    case 6:
      return make_request();
    case 3:
      return ask_again();
    case 4:
      if (rng_.one_in(3)) return disconnect();
      [[fallthrough]];
    default:
      return ask_something();
  }
}

void Client::connect() {
  Caller caller{.account = {plan_.account},
                .tier = plan_.tier,
                .recognised_by = "a token of " + plan_.account};
  const bool short_lived = !settling_ && rng_.one_in(8);
  token_ends_ = short_lived ? schedule_.now() + seconds(rng_.between(0, 20)) : Instant::never();
  caller.expires = token_ends_;
  caller.is_operator = is_operator_ = rng_.one_in(3);
  session_ = gateway_.open(caller);
  if (session_) ask_again();
}

void Client::disconnect() {
  say(SessionClosed{session_});
  session_ = {};
}

// Whatever this connection has not been told about is asked for again, by its id.
void Client::ask_again() {
  for (Request& request : requests_) {
    const bool unknown = request.state == State::unanswered || request.state == State::open;
    if (unknown && (request.asked_on != session_ || rng_.one_in(4))) submit(request);
  }
}

RequestId Client::draw_id() {
  Instant made = schedule_.now();
  if (rng_.one_in(30))
    made = made - hours(49);
  else if (rng_.one_in(30))
    made = made + hours(1);
  return {.high = static_cast<std::uint64_t>(made.ms) << 16U | 0x7000U | rng_.below(0x1000),
          .low = rng_.next()};
}

JobRequest Client::draw_body() {
  static const std::vector<std::string> apps{"draw", "draw", "paint", "nothing", "secret", "tool"};
  JobRequest body{.app = apps[rng_.below(apps.size())],
                  .declared = rng_.one_in(3) ? Duration{} : seconds(rng_.between(0, 12)),
                  .detached = rng_.one_in(4)};
  if (own_.one_in(6)) body.app = "own";
  if (rng_.one_in(6)) body.max_wait = seconds(rng_.between(1, 300));
  if (rng_.one_in(4)) body.size = "xlarge";
  if (body.app == "draw" || body.app == "paint") {
    body.arguments.push_back({"prompt", "a red heart"});
    if (rng_.one_in(3)) body.arguments.push_back({"seed", std::to_string(rng_.below(100))});
  } else if (body.app == "tool") {
    body.arguments.push_back({command_argument, packed_words({"true", "a b"})});
    if (rng_.one_in(2)) body.arguments.push_back({files_argument, files()});
  } else if (body.app == "own") {
    body.arguments.push_back({"task", std::to_string(own_.below(2))});
  } else if (rng_.one_in(3)) {  // at times more than a record has room for
    body.arguments.push_back({"notes", std::string(rng_.below(9'000), 'n')});
  }
  return rng_.one_in(6) ? draw_bad_body(body) : body;
}

JobRequest Client::draw_bad_body(JobRequest body) {
  switch (rng_.below(7)) {
    case 0:
      body.app = "no such app";
      break;
    case 1:
      body.declared = seconds(4000);
      break;
    case 2:
      body.declared = seconds(-1);
      break;
    case 3:
      body.size = "xlarge";
      break;
    case 4:
      body.size = "enormous";
      break;
    case 5:
      body.arguments.push_back({"steps", "many"});
      break;
    default:
      body.arguments.assign(limits::argument_count_max + 1, {"key", "value"});
      break;
  }
  return body;
}

void Client::make_request() {
  if (requests_.size() >= plan_.requests) return ask_something();
  Request& request = requests_.emplace_back();
  request.id = draw_id();
  request.body = draw_body();
  submit(request);
  if (rng_.one_in(10)) submit(request);
}

void Client::submit(Request& request) {
  request.query = ++last_query_;
  request.asked_on = session_;
  say(ClientSubmit{.query = request.query, .request = request.id, .body = request.body});
}

void Client::ask_something() {
  const std::uint64_t query = ++last_query_;
  const Request* known = requests_.empty() ? nullptr : &requests_[rng_.below(requests_.size())];
  switch (rng_.below(14)) {
    case 13:
      return say(ClientOverview{.query = query});
    case 12:
      return say(
          ClientUpload{.query = query, .hash = files(), .total = 5, .bytes = files().substr(0, 5)});
    case 11:
      return say(ClientQuote{.query = query, .body = draw_body()});
    case 10:
      return say(ClientUsage{.query = query, .limit = 3});
    case 9:
      return operate(query);
    case 0:
      return say(ClientQuota{query});
    case 8:
      return say(ClientChanges{.query = query, .limit = 5});
    case 1:
      return say(ClientReceipts{.query = query, .limit = 3});
    case 2:
      return say(ClientJobs{query});
    case 3:
      return say(ClientPing{query});
    case 4:
      if (known && known->state == State::refused)
        return say(ClientExplain{.query = query, .request = known->id});
      [[fallthrough]];
    default:
      return ask_about_job(known && known->job ? known->job : JobId{rng_.below(200)});
  }
}

// Words that change nothing of what stands, of operators and of others, right and wrong.
void Client::operate(std::uint64_t query) {
  const std::string job = std::to_string(rng_.below(200));
  const std::vector<std::vector<std::string>> lines{
      {"nodes"}, {"queue"}, {"accounts"},    {"audit"}, {"tier"},       {"apps"},
      {"help"},  {},        {"cancel", job}, {"drain"}, {"queue", job}, {"nonsense", "\xff"}};
  say(ClientOperate{.query = query, .words = lines[rng_.below(lines.size())]});
}

void Client::ask_about_job(JobId job) {
  const std::uint64_t query = ++last_query_;
  switch (rng_.below(6)) {
    case 5:
      return say(ClientLogs{.query = query, .job = job});
    case 0:
      return say(ClientCancel{.query = query, .job = job});
    case 1:
      return say(ClientWatch{.query = query, .job = job});
    case 2:
      return say(ClientExplain{.query = query, .job = job});
    case 3: {
      const auto known = std::find_if(requests_.begin(), requests_.end(), [&](const Request& one) {
        return one.job == job && (one.state == State::open || one.state == State::done);
      });
      if (known == requests_.end() || schedule_.now() + seconds(1) > token_ends_) return;
      conflicting_query_ = query;
      JobRequest other = known->body;
      other.declared = other.declared + seconds(1);
      return say(ClientSubmit{.query = query, .request = known->id, .body = other});
    }
    default:
      return say(ClientFetch{.query = query, .job = job});
  }
}

// ---- What it hears ---------------------------------------------------------------------------

void Client::hear(const ToClient& message) {
  std::visit([this](const auto& one) { on(one); }, message);
}

Client::Request* Client::by_query(std::uint64_t query) {
  const auto it = std::find_if(requests_.begin(), requests_.end(),
                               [&](const Request& one) { return one.query == query; });
  return it == requests_.end() ? nullptr : &*it;
}

void Client::on(const SessionError& error) {
  Request* request = by_query(error.query);
  if (request) request->asked_on = {};  // outcome_unknown, overloaded: asked again later
}

void Client::on(const SessionRefused& refused) {
  const Refusal& refusal = refused.refusal;
  require(!refusal.sentence.empty(), "a refusal says why", name_of(refusal.code));
  if (refused.query == conflicting_query_) {
    require(refusal.code == Errc::id_reused || refusal.code == Errc::unauthenticated,
            "an id with another body is refused", name_of(refusal.code));
    return;
  }
  Request* request = by_query(refused.query);
  if (!request) return;
  request->asked_on = {};
  if (refusal.code == Errc::unauthenticated) return;
  if (request->job) {
    require(refusal.code == Errc::overloaded, "an acknowledged job is never refused", request->job,
            name_of(refusal.code));
    return;
  }
  request->state = State::refused;
}

void Client::on(const JobEvent& event) {
  checks_.client_told(event);
  for (Request& request : requests_) {
    if (request.id != event.request) continue;
    require(!request.job || request.job == event.job, "an id names one job", request.job,
            event.job);
    request.job = event.job;
    if (request.state != State::done) request.state = State::open;
  }
  use(event);
}

// With its grant it does what a caller can: come with a process, use the one that is there, come
// late, with another one or twice, say that it failed, or say nothing at all any more.
void Client::use(const JobEvent& event) {
  const std::string& token = event.grant->token;
  if (token.empty() || !granted_.insert(token).second) return;
  const auto say = [this, node = event.node](Duration in, ToWorker message) {
    schedule_.after(in, [this, node, message] { gateway_.say_on(node, message); });
  };
  const LocalProcess process{.pid = static_cast<std::int32_t>(own_.below(1'000'000)),
                             .started = own_.next()};
  const Duration comes = milliseconds(own_.one_in(10) ? 6'000 : own_.between(1, 500));
  const bool reuses = event.grant->idle && !own_.one_in(4);
  if (!reuses && !own_.one_in(10))
    say(comes, AllowProcess{.query = 1, .token = token, .process = process});
  if (own_.one_in(8))
    say(comes + seconds(1),
        AllowProcess{.query = 2, .token = token, .process = {process.pid + 1, 1}});
  if (own_.one_in(8)) return;
  const Duration ends = comes + milliseconds(own_.between(1, own_.one_in(6) ? 40'000 : 4'000));
  const ReleaseLease release{.query = 3, .token = token, .failed = own_.one_in(5)};
  say(ends, release);
  if (own_.one_in(3)) say(ends + milliseconds(5), release);
}

void Client::on(const JobDone& done) {
  checks_.client_told(done);
  for (Request& request : requests_) {
    if (request.id != done.receipt.request) continue;
    require(!request.job || request.job == done.receipt.job, "an id names one job", request.job,
            done.receipt.job);
    request.job = done.receipt.job;
    request.state = State::done;
  }
}

void Client::on(const QuotaAnswer& answer) {
  const Balance& balance = answer.balance;
  require(balance.account.text == plan_.account, "quota is one's own", balance.account);
  require(balance.left == std::max(GpuTime{}, balance.allowance - balance.used - balance.held),
          "left = max(0, allowance - used - held)", balance.left);
}

void Client::on(const ReceiptsAnswer& answer) {
  for (const Receipt& receipt : answer.receipts) {
    require(receipt.account.text == plan_.account, "receipts are one's own", receipt.account);
    require(receipt.charged + receipt.given_back == receipt.held, "charged + given back = held",
            receipt.job);
  }
}

void Client::on(const QuoteAnswer& answer) {
  if (answer.refusal.code != Errc{}) {
    require(!answer.refusal.sentence.empty(), "a refusal says why");
    return;
  }
  require(answer.promise > Instant{} && answer.cost > GpuTime{} &&
              answer.first_held <= answer.declared && answer.left >= GpuTime{},
          "a quote has its numbers", answer.cost, answer.left);
}

// Each account has files of its own.
std::string Client::files() const {
  std::string hash = std::to_string(hash_of(plan_.account));
  hash.insert(0, 64 - hash.size(), 'a');
  std::rotate(hash.begin(), hash.end() - 5, hash.end());
  return hash;
}

void Client::on(const UploadAnswer& answer) {
  require(answer.hash == files() && answer.stored == 5, "files are stored whole", answer.stored);
}

void Client::on(const UsageAnswer& answer) {
  Instant latest = Instant::never();
  for (const UsageDay& day : answer.days) {
    require(day.day < latest, "days are told newest first", day.day);
    require(day.charged <= day.held && day.succeeded <= day.jobs, "a day adds up", day.day);
    latest = day.day;
  }
}

void Client::on(const ChangesAnswer& answer) {
  Instant latest = Instant::never();
  for (const Change& change : answer.changes) {
    require(change.at <= latest, "changes are told newest first", change.at);
    latest = change.at;
    if (is_operator_) continue;
    require(change.kind != ChangeKind::node, "nodes concern operators", change.subject);
    require(change.kind != ChangeKind::account || change.subject == plan_.account,
            "only one's own account concerns a user", change.subject);
  }
}

void Client::on(const ExplainAnswer& answer) {
  require(!answer.story.empty(), "a story says something", answer.query);
}

void Client::on(const ResultChunk& chunk) {
  require(chunk.bytes == "result of job " + std::to_string(chunk.job.value),
          "a fetch gives the job's own result", chunk.job, chunk.bytes);
}

void Client::on(const LogChunk& chunk) {
  require(chunk.bytes.empty() || chunk.bytes == "log of job " + std::to_string(chunk.job.value),
          "a log is of the job's own run", chunk.job, chunk.bytes);
}

bool Client::knows_everything() const {
  return std::all_of(requests_.begin(), requests_.end(), [](const Request& request) {
    return request.state == State::done || request.state == State::refused;
  });
}

std::string Client::unresolved() const {
  std::string text;
  for (const Request& request : requests_)
    if (request.state == State::unanswered || request.state == State::open)
      text += " " + plan_.account + " job " + std::to_string(request.job.value) + " query " +
              std::to_string(request.query);
  return text;
}

}  // namespace gpupool::sim
