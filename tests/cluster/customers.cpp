#include "tests/cluster/customers.h"

#include <algorithm>
#include <chrono>

#include "actors/request_id.h"
#include "base/clock.h"

namespace gpupool::test {
namespace {

constexpr std::size_t open_most = 5;
constexpr Duration ask_again_pause = seconds(1);
constexpr Duration connect_pause = milliseconds(200);

// Codes that are found before the ledger is asked whether it knows the id: of a request that may be
// admitted already they decide nothing, e.g. at a broker whose clock is wrong.
bool decides(Errc code) {
  return code != Errc::unauthenticated && code != Errc::id_expired && code != Errc::bad_request;
}

}  // namespace

Customer::Customer(const Hosts& hosts, const std::string& user, std::uint64_t seed)
    : options_(hosts.options_for(user, seed)),
      account_{"user:" + user},
      rng_(seed),
      born_(boot_time()),
      thread_([this] { run(); }) {}

Customer::~Customer() { join(); }

void Customer::join() {
  if (!thread_.joinable()) return;
  if (!done_) give_up();
  thread_.join();
}

std::vector<Asked> Customer::asked() const {
  std::vector<Asked> all;
  for (const auto& [id, request] : requests_) all.push_back(request.seen);
  return all;
}

Customer::Request* Customer::find(const RequestId& request) {
  const auto found = requests_.find(request);
  return found == requests_.end() ? nullptr : &found->second;
}

std::size_t Customer::open_count() const {
  return static_cast<std::size_t>(
      std::count_if(requests_.begin(), requests_.end(),
                    [](const auto& entry) { return !entry.second.seen.has_end(); }));
}

void Customer::run() {
  while (!given_up_ && !(stop_ && open_count() == 0))
    if (connect()) live_through_a_connection();
  client_.reset();
  done_ = true;
}

bool Customer::connect() {
  ClientOptions options = options_;
  options.connect_timeout = seconds(5);
  options.answer_timeout = seconds(10);
  options.reconnect_for = seconds(120);
  options.seed = rng_.next();
  auto client = Client::connect(std::move(options));
  if (!client) {
    note("not connected: " + std::string(name_of(client.error().code)) + " " +
         client.error().detail);
    std::this_thread::sleep_for(std::chrono::milliseconds(connect_pause.ms));
    return false;
  }
  client_ = *std::move(client);
  note("connected");
  for (auto& [id, request] : requests_) request.ask_at = {};
  return true;
}

void Customer::live_through_a_connection() {
  while (!given_up_ && !(stop_ && open_count() == 0)) {
    ask_for_more();
    ask_what_is_due();
    const auto event = client_->next_event(milliseconds(100));
    if (event)
      std::visit([this](const auto& one) { hear(one); }, *event);
    else if (event.error().code != Errc::timed_out) {
      note("given up: " + std::string(name_of(event.error().code)) + " " + event.error().detail);
      break;
    }
    for (const JobEvent& moved : std::exchange(to_cancel_, {})) cancel(moved);
  }
  for (auto& [id, request] : requests_) request.in_doubt = true;
  client_.reset();
}

Customer::Request Customer::draw() {
  Request drawn;
  const RequestId id = make_request_id(wall_time(), {.first = rng_.next(), .second = rng_.next()});
  drawn.seen = {.account = account_, .request = id};
  const bool expires = rng_.one_in(10);
  drawn.cancels = !expires && rng_.one_in(10);
  const std::int64_t lasts = expires || drawn.cancels ? 4'000 : rng_.between(50, 1'200);
  const bool takes_two = rng_.one_in(4);
  drawn.body = {.app = takes_two && rng_.one_in(2) ? "wide" : "emoji",
                .size = takes_two ? "xlarge" : "large",
                .declared = expires ? seconds(1) : seconds(6),
                .detached = !rng_.one_in(4),
                .arguments = {{"steps", std::to_string(lasts)},
                              {"prompt", rng_.one_in(10) ? "fail" : "result"}}};
  return drawn;
}

void Customer::ask_for_more() {
  while (!stop_ && boot_time() >= ask_more_at_ && open_count() < open_most) {
    Request drawn = draw();
    requests_.emplace(drawn.seen.request, std::move(drawn));
  }
}

void Customer::ask_what_is_due() {
  const Instant now = boot_time();
  for (auto& [id, request] : requests_) {
    if (request.seen.has_end() || request.ask_at > now) continue;
    request.ask_at = Instant::never();
    (void)client_->submit(id, request.body);  // what fails shows in the next event
  }
}

void Customer::hear(const JobEvent& moved) {
  Request* request = find(moved.request);
  if (request == nullptr) {
    trouble_ = "an event of a request that was never asked";
    return;
  }
  auto& jobs = request->seen.jobs;
  if (std::find(jobs.begin(), jobs.end(), moved.job) == jobs.end()) jobs.push_back(moved.job);
  if (request->cancels && moved.state == JobState::running) {
    request->cancels = false;
    to_cancel_.push_back(moved);
  }
}

// Its receipt is the answer, and comes as no event of its own. Without one the job is followed on.
void Customer::cancel(const JobEvent& moved) {
  note("cancels job " + std::to_string(moved.job.value));
  const auto done = client_->cancel(moved.job);
  note(done ? "is answered" : "is not: " + std::string(name_of(done.error().code)));
  if (done) hear(*done);
}

void Customer::hear(const JobDone& done) {
  if (Request* request = find(done.receipt.request)) request->seen.receipts.push_back(done.receipt);
}

void Customer::hear(const SessionRefused& refused) {
  Request* request = find(refused.refusal.request);
  if (request == nullptr) return;
  const bool in_doubt = request->in_doubt || !request->seen.jobs.empty();
  if (in_doubt && !decides(refused.refusal.code))
    request->ask_at = boot_time() + ask_again_pause;
  else
    request->seen.refused = refused.refusal.code;
  ask_more_at_ = boot_time() + ask_again_pause;  // so that who is refused does nothing but ask
}

void Customer::hear(const FollowFailed& failed) {
  note("not followed: " + std::string(name_of(failed.error.code)) + " " + failed.error.detail);
  if (Request* request = find(failed.request)) request->ask_at = boot_time() + ask_again_pause;
}

void Customer::hear(const LinkLost& lost) {
  note("lost the pool: " + lost.reason);
  for (auto& [id, request] : requests_) request.in_doubt = true;
}

void Customer::hear(const LinkRestored&) { note("found the pool"); }

void Customer::note(const std::string& what) {
  diary_ += "\n    " + std::to_string((boot_time() - born_).ms) + " ms: " + what;
}

}  // namespace gpupool::test
