// How often one may ask: by the limiter itself, and at the pool's door.
#include "net/rate_limit.h"

#include "tests/net/test_pool.h"

namespace gpupool {
namespace {

const Instant noon{1'770'000'000'000};

TEST_CASE("A burst is taken at once, and then as many as time gives back") {
  RateLimiter limiter;
  const RateConfig rate{.per_s = 10, .burst = 3};
  for (int i = 0; i < 3; ++i) CHECK(limiter.take("ada", rate, noon) == Duration{});
  CHECK(limiter.take("ada", rate, noon) == milliseconds(100));
  CHECK(limiter.take("ada", rate, noon + milliseconds(40)) == milliseconds(60));
  CHECK(limiter.take("bob", rate, noon) == Duration{});
  CHECK(limiter.take("ada", rate, noon + milliseconds(100)) == Duration{});
  CHECK(limiter.take("ada", rate, noon + milliseconds(100)) == milliseconds(100));
  for (int i = 0; i < 3; ++i) CHECK(limiter.take("ada", rate, noon + seconds(60)) == Duration{});
  CHECK(limiter.take("ada", rate, noon + seconds(60)) == milliseconds(100));
}

TEST_CASE("In the long run nobody asks more often than the rate, whatever the burst") {
  RateLimiter limiter;
  const RateConfig rate{.per_s = 7, .burst = 20};
  int taken = 0;
  for (int ms = 0; ms < 60'000; ++ms)
    if (limiter.take("ada", rate, noon + milliseconds(ms)) == Duration{}) ++taken;
  CHECK(taken >= 60 * 7 + 19);
  CHECK(taken <= 60 * 7 + 20);
}

TEST_CASE("A rate of 0 limits nobody, and a clock that goes back gives nothing away") {
  RateLimiter limiter;
  for (int i = 0; i < 1'000; ++i) CHECK(limiter.take("ada", {.per_s = 0}, noon) == Duration{});
  CHECK(limiter.size() == 0);
  const RateConfig rate{.per_s = 1, .burst = 1};
  CHECK(limiter.take("ada", rate, noon) == Duration{});
  CHECK(limiter.take("ada", rate, noon - seconds(10)) == seconds(11));
}

TEST_CASE("However many names ask, memory is bounded, and those that are full again make room") {
  RateLimiter limiter{100};
  const RateConfig rate{.per_s = 1, .burst = 2};
  for (int i = 0; i < 300; ++i)
    CHECK(limiter.take("name " + std::to_string(i), rate, noon) == Duration{});
  CHECK(limiter.size() == 100);
  limiter.take("late", rate, noon + seconds(10));
  CHECK(limiter.size() == 1);
}

TEST_CASE("An account that asks too often is told how long to wait, on each of its connections") {
  Rates rates;
  TestPool pool{[](TestPool& own, SessionId session, const ToSession& message) {
                  if (const auto* quota = std::get_if<ClientQuota>(&message))
                    own.send(session, QuotaAnswer{.query = quota->query});
                },
                {},
                Door::open,
                {.may_come = {}, .may_ask = [&rates](const AccountId& account) {
                   return rates.may_ask(account, {.per_s = 1, .burst = 2}, noon);
                 }}};
  RawClient first{pool.endpoint()};
  RawClient second{pool.endpoint()};
  for (RawClient* client : {&first, &second}) {
    client->send(Hello{.token = "ada"});
    client->receive_one<SessionWelcome>();
    client->send(ClientQuota{.query = 1});
    client->receive_one<QuotaAnswer>();
  }
  second.send(ClientPing{.query = 5});
  second.receive_one<SessionPong>();
  second.send(ClientQuota{.query = 9});
  const auto refused = second.receive_one<SessionError>();
  CHECK(refused.code == Errc::rate_limited);
  CHECK(refused.query == 9);
  CHECK(refused.want == 1'000);
  CHECK(refused.detail ==
        "user:ada asks more than 1 times a second ([rates] account_per_s), beyond 2 at once "
        "(account_burst); try again in 1.0 s");
  CHECK(pool.count<ClientQuota>() == 2);
  RawClient other{pool.endpoint()};
  other.send(Hello{.token = "bob"});
  other.receive_one<SessionWelcome>();
  other.send(ClientQuota{.query = 2});
  CHECK(other.receive_one<QuotaAnswer>().query == 2);
}

TEST_CASE("Of what comes in pieces every sixteenth counts, and a cancel never") {
  Rates rates;
  TestPool pool{{}, {}, Door::open, {.may_come = {}, .may_ask = [&rates](const AccountId& account) {
                                       return rates.may_ask(account, {.per_s = 1, .burst = 2},
                                                            noon);
                                     }}};
  RawClient client{pool.endpoint()};
  client.send(Hello{.token = "ada"});
  client.receive_one<SessionWelcome>();
  for (std::int64_t offset = 1; offset <= 33; ++offset)
    client.send(ClientFetch{.query = 1, .job = {7}, .offset = offset});
  CHECK(client.receive_one<SessionError>().code == Errc::rate_limited);
  CHECK(pool.count<ClientFetch>() == 32);
  client.send(ClientCancel{.query = 2, .job = {7}});
  CHECK(pool.wait_for<ClientCancel>(1));
}

TEST_CASE("An address that greets too often is refused before its token is looked at") {
  Rates rates;
  TestPool pool{{},
                {},
                Door::open,
                {.may_come =
                     [&rates](const std::string& address) {
                       return rates.may_come(address, {.per_s = 1, .burst = 1}, noon);
                     },
                 .may_ask = {}}};
  RawClient first{pool.endpoint()};
  first.send(Hello{.token = "ada"});
  first.receive_one<SessionWelcome>();
  RawClient second{pool.endpoint()};
  second.send(Hello{.token = "bad"});
  const auto refused = second.receive_one<SessionError>();
  CHECK(refused.code == Errc::rate_limited);
  CHECK(
      refused.detail ==
      "address 127.0.0.1/32 connects more than 1 times a second ([rates] address_per_s), beyond 1 "
      "at once (address_burst); try again in 1.0 s");
  CHECK(pool.last_introduction().token == "ada");
}

}  // namespace
}  // namespace gpupool
