// Which brokers a worker dials, and when it leaves the one that it has.
#include "actors/worker/broker_search.h"

#include "tests/actors/worker/node.h"

namespace gpupool {
namespace {

using Present = BrokerSearch::Present;
using Places = std::vector<std::size_t>;

constexpr Instant start{100'000};

BrokerSearch two_brokers() { return BrokerSearch({"a:7401", "b:7401"}, Prng{1}); }

}  // namespace

TEST_CASE("Without a broker every address is dialled at once, and again after a pause of its own") {
  BrokerSearch search = two_brokers();
  CHECK(search.due(start, Present::answers) == Places{0, 1});
  CHECK(search.due(start, Present::answers).empty());
  search.failed(start, 1);
  CHECK(search.due(start + milliseconds(249), Present::answers).empty());
  const Instant again = search.next(Present::answers);
  CHECK(again >= start + milliseconds(250));
  CHECK(again <= start + milliseconds(500));
  CHECK(search.due(again, Present::answers) == Places{1});
}

TEST_CASE("An address that swallows every packet holds up no other") {
  BrokerSearch search = two_brokers();
  Instant now = start;
  search.due(now, Present::answers);
  for (int i = 0; i < 100; ++i) {
    search.failed(now, 1);
    now = search.next(Present::answers);
    CHECK(search.due(now, Present::answers) == Places{1});  // 0 has not been answered yet
  }
  CHECK(search.found(now, 1, Present::answers));
}

TEST_CASE("The pauses of two nodes differ") {
  BrokerSearch one({"a:7401"}, Prng{1});
  BrokerSearch other({"a:7401"}, Prng{2});
  for (BrokerSearch* each : {&one, &other}) {
    each->due(start, Present::answers);
    each->failed(start, 0);
  }
  CHECK(one.next(Present::answers) != other.next(Present::answers));
}

TEST_CASE("A broker that answers is kept, whoever else listens, and nobody else is dialled") {
  BrokerSearch search = two_brokers();
  search.due(start, Present::answers);
  CHECK(search.found(start, 0, Present::answers));
  CHECK(search.has_broker());
  CHECK_FALSE(search.found(start, 1, Present::answers));
  CHECK(search.due(start + seconds(60), Present::answers).empty());
  CHECK(search.next(Present::answers) == Instant::never());
}

TEST_CASE("A silent broker is kept while the others are dialled, and left for one that listens") {
  BrokerSearch search = two_brokers();
  search.due(start, Present::answers);
  search.found(start, 0, Present::answers);
  search.failed(start, 1);
  Instant now = start + seconds(3);
  // Only slow: the standby does not listen, and the leader answers again.
  CHECK(search.due(now, Present::silent) == Places{1});
  search.failed(now, 1);
  CHECK(search.due(now + seconds(1), Present::answers).empty());
  CHECK(search.has_broker());
  // Gone: the standby has taken over.
  now = now + seconds(2);
  CHECK(search.due(now, Present::silent) == Places{1});
  CHECK(search.found(now, 1, Present::silent));
  CHECK(search.due(now + seconds(1), Present::silent) == Places{0});
}

TEST_CASE("A lost broker is dialled again like the others, after a pause") {
  BrokerSearch search = two_brokers();
  search.due(start, Present::answers);
  search.found(start, 0, Present::answers);
  search.failed(start, 1);
  search.lost(start + seconds(5));
  CHECK_FALSE(search.has_broker());
  CHECK(search.due(start + seconds(5), Present::answers) == Places{1});
  CHECK(search.due(start + seconds(6), Present::answers) == Places{0});
}

TEST_CASE(
    "A broker that answers no heartbeat for the time of suspicion makes a worker look around") {
  Node node;
  node.join();
  node.pass(seconds(10));
  CHECK_FALSE(node.worker.seeks_broker());
  const Duration suspect = node.config.broker.heartbeat_suspect;
  node.wait(suspect - milliseconds(1));
  CHECK_FALSE(node.worker.seeks_broker());
  node.wait(milliseconds(1));
  CHECK(node.worker.seeks_broker());
  node.tell(HeartbeatSeen{.epoch = node.epoch, .number = node.heartbeat});
  CHECK_FALSE(node.worker.seeks_broker());
}

TEST_CASE("A broker that does not lead yet, or refuses this node, is not a silent one") {
  Node node;
  const Duration suspect = node.config.broker.heartbeat_suspect;
  node.wait(suspect);
  CHECK(node.worker.seeks_broker());
  node.tell(HeartbeatSeen{.epoch = {}, .number = node.heartbeat});
  CHECK_FALSE(node.worker.seeks_broker());
  node.wait(suspect);
  node.tell(Joined{.epoch = node.epoch, .refused = Errc::version_mismatch});
  CHECK_FALSE(node.worker.seeks_broker());
}

TEST_CASE("Answers of a broker that leads no more don't keep a worker with it") {
  Node node;
  node.tell(Joined{.epoch = Epoch{6}});
  node.pass(node.config.broker.heartbeat_suspect);  // all answered with epoch 5
  CHECK(node.worker.seeks_broker());
}

TEST_CASE("A broker that was met is asked at once to take the node in, with all that runs there") {
  Node node;
  node.begin();
  const Effects out = node.worker.meet_broker(node.now + seconds(4));
  const auto join = only<Join>(out);
  CHECK(join.slots.front().job == JobId{1});
  CHECK(join.incarnation == Node::incarnation);
  CHECK_FALSE(node.worker.seeks_broker());
}

}  // namespace gpupool
