// Who is admitted, with which promise, and what a refusal says.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
TEST_CASE("Broker and ledger together find the first failure in the order of the error numbers") {
  Config config = broker_test_config();
  config.broker.queue_max = 3;
  config.tiers.push_back({.name = "poor", .allowance = {10'000}, .longest = {180'000}});
  Harness pool(config);
  pool.start();
  const Submit known = pool.request();
  const JobId first = pool.admit(known);
  for (int i = 0; i < 2; ++i) pool.admit(pool.request());
  REQUIRE(pool.core->jobs().size() == 3);

  Submit wish = pool.request();
  wish.caller.tier = "wizard";
  wish.request = Harness::request_id(pool.now - hours(49), 1);
  wish.body = {
      .app = "nowhere", .size = "xlarge", .declared = seconds(4000), .max_wait = milliseconds(-1)};
  CHECK(pool.refuse(wish).code == Errc::bad_request);
  wish.body.max_wait = milliseconds(1);
  CHECK(pool.refuse(wish).code == Errc::unauthenticated);
  wish.caller.tier = "free";
  CHECK(pool.refuse(wish).code == Errc::id_expired);
  wish.request = known.request;
  wish.body_hash = 2;
  CHECK(pool.refuse(wish).code == Errc::id_reused);
  wish.request = Harness::request_id(pool.now, 77);
  CHECK(pool.refuse(wish).code == Errc::unknown_app);
  wish.body.app = "secret";
  CHECK(pool.refuse(wish).code == Errc::forbidden);
  wish.body.app = "nothing";
  CHECK(pool.refuse(wish).code == Errc::illegal_duration);
  wish.body.declared = seconds(60);
  pool.pass(seconds(5));  // nodes had time to come; none did
  {
    Submit fourth = pool.request("user:eve");
    CHECK(pool.refuse(fourth).code == Errc::pool_unavailable);
  }
  wish.caller.account = {"user:eve"};
  CHECK(pool.refuse(wish).code == Errc::pool_unavailable);
  pool.add_node(1, 1);  // takes the first job; two wait
  const JobId third = pool.admit(pool.request("user:fay"));
  CHECK(pool.refuse(wish).code == Errc::size_unavailable);
  wish.body.size = "large";
  CHECK(pool.refuse(wish).code == Errc::overloaded);
  pool.tell(Cancel{.session = SessionId{1}, .query = 1, .account = {"user:fay"}, .job = third});
  CHECK(pool.refuse(wish).code == Errc::promise_too_late);
  wish.body.max_wait = {};
  wish.caller.tier = "poor";
  CHECK(pool.refuse(wish).code == Errc::quota_exceeded);
  wish.caller.tier = "free";
  CHECK(pool.admit(wish));
  CHECK(pool.knows(first));
}

TEST_CASE("Too many jobs of an account comes before a size that the pool lacks") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  pool.pass(seconds(5));
  for (int i = 0; i < 4; ++i) pool.admit(pool.request());
  Submit fifth = pool.request();
  fifth.body.size = "xlarge";
  const Refusal refusal = pool.refuse(fifth);
  CHECK(refusal.code == Errc::too_many_jobs);
  CHECK(refusal.want == 5);
  CHECK(refusal.have == 4);
}

TEST_CASE("A refusal names what was asked, what is allowed, and the apps and sizes there are") {
  Harness pool;
  pool.start();
  Submit wish = pool.request();
  wish.body.app = "nowhere";
  CHECK_THAT(pool.refuse(wish).detail, Catch::Contains("nothing, secret, emoji"));
  wish = pool.request();
  wish.body.size = "enormous";
  CHECK_THAT(pool.refuse(wish).detail, Catch::Contains("large, xlarge"));
  wish = pool.request();
  wish.body.declared = seconds(4000);
  const Refusal refusal = pool.refuse(wish);
  CHECK(refusal.code == Errc::illegal_duration);
  CHECK(refusal.want == 4'000'000);
  CHECK(refusal.have == 300'000);
  wish = pool.request();
  wish.body = {.app = "emoji", .arguments = {{"prompt", "a heart"}, {"steps", "many"}}};
  CHECK_THAT(pool.refuse(wish).detail, Catch::Contains("steps"));
}

TEST_CASE("A job that names no duration and no size gets its app's") {
  Harness pool;
  pool.start();
  Submit wish = pool.request();
  wish.body = {.app = "nothing"};
  const JobId job = pool.admit(wish);
  CHECK(pool.job(job).hold->declared == seconds(60));
  CHECK(pool.job(job).hold->body->size == "large");
  CHECK(pool.job(job).hold->occupancy == seconds(97));
}

TEST_CASE("A waiting job is promised 2 D (older + 1)") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  pool.admit();
  for (int older = 0; older < 3; ++older)
    CHECK(pool.job(pool.admit()).promise == pool.now + longest * (2 * (older + 1)));
}

TEST_CASE("A request that finds a free slot is promised now, whatever its max_wait") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  Submit wish = pool.request("user:bob");
  wish.body.max_wait = seconds(1);
  const JobId job = pool.admit(wish);
  CHECK(pool.only_lease().job == job);
  CHECK(pool.job(job).promise <= pool.now + seconds(5));

  Submit next = pool.request("user:cleo");
  next.body.max_wait = seconds(1);
  const Refusal refusal = pool.refuse(next);
  CHECK(refusal.code == Errc::promise_too_late);
  CHECK(refusal.want == 1000);
  CHECK(refusal.have == (longest * 2).ms);
  CHECK(refusal.detail ==
        "no job waits before it, and a job there may take 337.0 s (300.0 s longest_s + 30.0 s "
        "start_limit_s of [[apps]] nothing + 2.0 s kill_grace_s + 5.0 s slot_check_s of "
        "[worker]); in a pool as small as this 2 x 337.0 s x (0 + 1) = 674.0 s");
  next.body.max_wait = longest * 2;
  next.request = Harness::request_id(pool.now, 99);
  CHECK(pool.admit(next));
}

TEST_CASE("Requests that the ledger has not answered count as older ones") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  pool.ledger_answers = false;
  pool.tell(pool.request("user:one"));
  pool.tell(pool.request("user:two"));
  const auto asked = pool.ledger_asked<Reserve>();
  REQUIRE(asked.size() == 2);
  CHECK(asked[0].promise == pool.now + seconds(5));  // the free slot is meant for it
  CHECK(asked[1].promise == pool.now + longest * 4);
}

TEST_CASE("A free slot that is lost before the ledger answers moves the promise, with the reason") {
  Harness pool;
  pool.start();
  TestNode& node = pool.add_node(1, 1);
  pool.ledger_answers = false;
  pool.tell(pool.request());
  node.slots[0].state = SlotState::down;
  pool.beat(node);
  pool.ledger_asked<Restate>();
  pool.answer_ledger();
  const auto restated = pool.ledger_asked<Restate>();
  REQUIRE(restated.size() == 1);
  CHECK(restated[0].promise == pool.now + longest * 2);
  CHECK_THAT(restated[0].reason, Catch::Contains("not free any more"));
}

TEST_CASE("Requests before the lead are held back and answered after it") {
  Harness pool;
  pool.ledger_answers = false;
  pool.start();
  const Submit early = pool.request();
  pool.tell(early);
  pool.tell(JobsQuery{.session = SessionId{1}, .query = 50, .account = early.caller.account});
  CHECK(pool.sessions_got<SubmitRefused>().empty());
  CHECK(pool.ledger_asked<Reserve>().empty());
  pool.answer_ledger();
  const auto moved = pool.sessions_got<JobMoved>();
  REQUIRE(moved.size() == 1);
  CHECK(moved[0].query == early.query);
  CHECK(pool.sessions_got<JobsList>().size() == 1);
}

TEST_CASE("The same id with the same body gets the same job, and later its receipt") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  Submit wish = pool.request();
  const JobId job = pool.admit(wish);
  const Lease lease = pool.only_lease();
  wish.query = 100;
  CHECK(pool.admit(wish) == job);
  CHECK(pool.workers_got<Lease>().empty());
  pool.begin(lease);
  pool.end(Harness::success(lease, seconds(3)));
  pool.sessions_got<JobSettled>();
  wish.query = 101;
  pool.tell(wish);
  const auto done = pool.sessions_got<JobSettled>();
  REQUIRE(done.size() == 1);
  CHECK(done[0].query == 101);
  CHECK(done[0].done->receipt.job == job);
  CHECK(done[0].done->receipt.charged == GpuTime{3000});
}

TEST_CASE("Jobs of another account are unknown: to watch, to cancel and to list") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit(pool.request("user:ada"));
  const AccountId eve{"user:eve"};
  pool.tell(Watch{.session = SessionId{2}, .query = 1, .account = eve, .job = job});
  pool.tell(Cancel{.session = SessionId{2}, .query = 2, .account = eve, .job = job});
  const auto errors = pool.sessions_got<BrokerError>();
  REQUIRE(errors.size() == 2);
  CHECK(errors[0].code == Errc::job_unknown);
  CHECK(errors[1].code == Errc::job_unknown);
  CHECK(pool.job(job).phase == Phase::queued);
  pool.tell(JobsQuery{.session = SessionId{2}, .query = 3, .account = eve});
  pool.tell(JobsQuery{.session = SessionId{1}, .query = 4, .account = {"user:ada"}});
  const auto lists = pool.sessions_got<JobsList>();
  REQUIRE(lists.size() == 2);
  CHECK(lists[0].answer.jobs.empty());
  REQUIRE(lists[1].answer.jobs.size() == 1);
  CHECK(lists[1].answer.jobs[0].hold->job == job);
}

TEST_CASE("A queued job whose client is gone is cancelled after the client's grace, uncharged") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit(pool.request());
  Submit wish = pool.request();
  wish.body.detached = true;
  const JobId detached = pool.admit(wish);
  pool.tell(ClientGone{SessionId{1}});
  pool.pass(seconds(29));
  CHECK(pool.knows(job));
  pool.pass(seconds(2));
  CHECK_FALSE(pool.knows(job));
  CHECK(pool.knows(detached));
  const Receipt* receipt = pool.receipt(job);
  REQUIRE(receipt != nullptr);
  CHECK(receipt->outcome == Outcome::cancelled);
  CHECK(receipt->charged == GpuTime{});
  CHECK(receipt->detail ==
        "its client was gone for 30.0 s while it was queued, [broker] client_grace_s");
}

TEST_CASE("A client that comes back in time keeps its queued job") {
  Harness pool;
  pool.start();
  const JobId job = pool.admit(pool.request());
  pool.tell(ClientGone{SessionId{1}});
  pool.pass(seconds(29));
  pool.tell(Watch{.session = SessionId{2}, .query = 1, .account = {"user:ada"}, .job = job});
  pool.pass(seconds(60));
  CHECK(pool.knows(job));
}

TEST_CASE("A client that was gone before its hold was durable is gone all the same") {
  Harness pool;
  pool.start();
  pool.ledger_answers = false;
  pool.tell(pool.request());
  pool.tell(ClientGone{SessionId{1}});
  pool.answer_ledger();
  REQUIRE(pool.core->jobs().size() == 1);
  CHECK(pool.sessions_got<JobMoved>().empty());
  pool.pass(seconds(31));
  CHECK(pool.core->jobs().empty());
}

TEST_CASE("A running job goes on without its client") {
  Harness pool;
  pool.start();
  pool.add_node(1, 1);
  const JobId job = pool.admit();
  pool.begin(pool.only_lease());
  pool.tell(ClientGone{SessionId{1}});
  pool.pass(seconds(50));
  CHECK(pool.job(job).phase == Phase::running);
  CHECK(pool.workers_got<CancelRun>().empty());
}

}  // namespace gpupool
