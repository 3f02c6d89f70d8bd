// Partitions and reservations: each queue has its own slots, its own promises and its own order;
// reserved slots leave their partition before any promise counts on them.
#include <catch2/catch.hpp>

#include "tests/actors/broker/harness.h"

namespace gpupool {
namespace {

constexpr Instant opening{1'767'225'600'000};  // when a harness begins

Config two_partitions() {
  Config config = broker_test_config();
  config.apps[1].partition = "own";
  config.apps[1].longest = seconds(20);
  config.apps[1].default_duration = seconds(10);
  return config;
}

struct PartitionedPool : Harness {
  explicit PartitionedPool(const Config& config) : Harness(config) { start(); }
  TestNode& add_slots(std::uint64_t id, const std::vector<std::string>& partitions) {
    TestNode& node = nodes[NodeId{id}];
    node.id = NodeId{id};
    for (std::uint32_t i = 0; i < partitions.size(); ++i)
      node.slots.push_back(
          {.slot = {i}, .device = i, .state = SlotState::free, .partition = partitions[i]});
    beating.insert(node.id);
    join(node);
    return node;
  }
  Submit wish(const std::string& app, const std::string& account = "user:ada",
              Duration declared = {}) {
    Submit submit = request(account, declared);
    submit.body.app = app;
    return submit;
  }
  // The slot reports itself free again, of the partition that it had.
  void finish(const Lease& lease, Duration ran = seconds(5)) {
    const std::string partition = slot_of(lease).partition;
    end(success(lease, ran));
    slot_of(lease).partition = partition;
    beat(nodes.at(lease.node));
  }
  std::string queue_of(JobId job) const {
    return core->placement().name_of(this->job(job).partition);
  }
};

Config reserved(const ReservationConfig& one) {
  Config config = broker_test_config();
  config.apps.front().longest = seconds(60);
  config.apps[2].longest = seconds(60);
  config.apps[1].longest = seconds(60);
  config.reservations = {one};
  return config;
}

ReservationConfig workshop(Instant from, Instant until, std::uint32_t slots = 1) {
  return {.name = "workshop", .slots = slots, .users = {"ada"}, .from = from, .until = until};
}

}  // namespace

TEST_CASE("A job runs on the slots of its app's partition only, and waits for them alone") {
  PartitionedPool pool(two_partitions());
  pool.add_slots(1, {"default", "own"});
  pool.admit(pool.wish("nothing", "user:a"));
  CHECK(pool.only_lease().slot == SlotIndex{0});
  const JobId waits = pool.admit(pool.wish("nothing", "user:b"));
  CHECK(pool.workers_got<Lease>().empty());
  pool.admit(pool.wish("secret", "user:c"));
  CHECK(pool.only_lease().slot == SlotIndex{1});
  const JobId behind = pool.admit(pool.wish("secret", "user:d"));
  CHECK(pool.queue_of(waits) == "default");
  CHECK(pool.queue_of(behind) == "own");
}

TEST_CASE("A promise is made of the partition's own slots, jobs and longest occupancy") {
  PartitionedPool pool(two_partitions());
  pool.add_slots(1, {"default", "own"});
  for (int i = 0; i < 5; ++i) pool.admit(pool.wish("nothing", "user:n" + std::to_string(i)));
  pool.admit(pool.wish("secret", "user:c"));
  const JobId second = pool.admit(pool.wish("secret", "user:d"));
  // Tiny: twice the longest occupancy of its own app, for one that waits for nobody older.
  CHECK(pool.job(second).promise == pool.now + seconds(2 * (20 + 37)));
}

TEST_CASE("A partition without a healthy slot refuses, however many the others have") {
  PartitionedPool pool(two_partitions());
  pool.add_slots(1, {"default", "default"});
  pool.pass(seconds(6));
  CHECK(pool.refuse(pool.wish("secret")).code == Errc::pool_unavailable);
  CHECK(pool.admit(pool.wish("nothing")));
}

TEST_CASE("A job of a partition that no node has a slot of ends once all nodes are known") {
  PartitionedPool pool(two_partitions());
  pool.add_slots(1, {"default"});
  const JobId job = pool.admit(pool.wish("secret"));  // the nodes may still be on their way
  REQUIRE(job);
  CHECK(pool.job(job).promise == pool.now + seconds(2 * (20 + 37)));  // by its own longest app
  pool.pass(seconds(70));
  REQUIRE(pool.receipt(job) != nullptr);
  CHECK(pool.receipt(job)->outcome == Outcome::failed);
  CHECK(pool.receipt(job)->charged == GpuTime{});
  CHECK(pool.receipt(job)->detail == "no node has a slot of partition own");
}

TEST_CASE("Jobs of one partition are not delayed by the pins and debts of another") {
  PartitionedPool pool(two_partitions());
  pool.add_slots(1, {"default", "default", "own"});
  pool.admit(pool.wish("nothing", "user:a"));
  Submit gang = pool.wish("nothing", "user:b");
  gang.body.size = "xlarge";
  pool.admit(gang);
  pool.workers_got<Lease>();
  pool.admit(pool.wish("secret", "user:c"));
  CHECK(pool.only_lease().slot == SlotIndex{2});
}

TEST_CASE("A broker that starts anew puts each job into its partition's queue") {
  PartitionedPool pool(two_partitions());
  pool.add_slots(1, {"default", "own"});
  for (const char* app : {"nothing", "secret"})
    for (const char* user : {"user:a", "user:b"}) pool.admit(pool.wish(app, user));
  const auto leases = pool.workers_got<Lease>();
  for (const Lease& lease : leases) pool.begin(lease);
  pool.start();
  pool.join(pool.nodes.at(NodeId{1}));
  pool.pass(seconds(6));
  CHECK(pool.workers_got<Lease>().empty());
  pool.finish(leases.back());
  CHECK(pool.only_lease().app == "secret");
}

TEST_CASE("Reserved slots run nobody else's jobs while the reservation is on") {
  PartitionedPool pool(reserved(workshop({}, opening + hours(1))));
  pool.add_slots(1, {"default", "default"});
  pool.admit(pool.wish("nothing", "user:bob"));
  pool.admit(pool.wish("nothing", "user:eve"));
  CHECK(pool.workers_got<Lease>().size() == 1);
  const JobId job = pool.admit(pool.wish("nothing", "user:ada"));
  CHECK(pool.workers_got<Lease>().size() == 1);
  CHECK(pool.queue_of(job) == "workshop");
  CHECK(pool.job(job).promise == pool.now + seconds(5));
}

TEST_CASE("Reserved slots are out of what is promised from the moment they are known") {
  const Instant from = opening + hours(5);
  PartitionedPool pool(reserved(workshop(from, from + hours(1), 3)));
  pool.add_slots(1, {"default", "default", "default", "default"});
  for (int i = 0; i < 5; ++i) pool.admit(pool.wish("nothing", "user:n" + std::to_string(i)));
  const JobId waits = pool.admit(pool.wish("nothing", "user:last"));
  // As of a pool with one slot: 2 D for each older one that waits, and itself.
  CHECK(pool.job(waits).promise == pool.now + seconds(4 * (60 + 37)));
  CHECK(pool.workers_got<Lease>().size() == 4);  // before it begins its slots are used all the same
}

TEST_CASE("Before a reservation begins its slots run only what is sure to be over by then") {
  const Instant from = opening + seconds(90);
  PartitionedPool pool(reserved(workshop(from, from + hours(1))));
  pool.add_slots(1, {"default", "default"});
  pool.admit(pool.wish("nothing", "user:bob", seconds(60)));  // 97 s at most
  CHECK(pool.only_lease().slot == SlotIndex{0});
  pool.admit(pool.wish("nothing", "user:bob", seconds(60)));
  CHECK(pool.workers_got<Lease>().empty());
  PartitionedPool other(reserved(workshop(from, from + hours(1))));
  other.add_slots(1, {"default", "default"});
  // The short one goes where the long one may not, and leaves it the other slot.
  other.admit(other.wish("nothing", "user:bob", seconds(40)));
  CHECK(other.only_lease().slot == SlotIndex{1});
  other.admit(other.wish("nothing", "user:bob", seconds(60)));
  CHECK(other.only_lease().slot == SlotIndex{0});
}

TEST_CASE("Who waited before his reservation began starts when it does") {
  const Instant from = opening + seconds(30);
  PartitionedPool pool(reserved(workshop(from, from + hours(1))));
  pool.add_slots(1, {"default", "default"});
  pool.admit(pool.wish("nothing", "user:bob"));
  pool.admit(pool.wish("nothing", "user:eve"));
  const JobId job = pool.admit(pool.wish("nothing", "user:ada"));
  pool.begin(pool.only_lease());
  CHECK(pool.queue_of(job) == "default");
  pool.pass(seconds(29));
  CHECK(pool.workers_got<Lease>().empty());
  pool.pass(milliseconds(1'250));
  const Lease lease = pool.only_lease();
  CHECK(lease.job == job);
  CHECK(pool.queue_of(job) == "workshop");
}

TEST_CASE("A reservation's user waits where the earlier start can be promised") {
  PartitionedPool pool(reserved(workshop({}, Instant::never())));
  pool.add_slots(1, {"default", "default"});
  const JobId first = pool.admit(pool.wish("nothing", "user:ada"));
  const JobId second = pool.admit(pool.wish("nothing", "user:ada"));
  CHECK(pool.queue_of(first) == "workshop");
  CHECK(pool.queue_of(second) == "default");  // a free slot there is earlier than a wait here
  CHECK(pool.workers_got<Lease>().size() == 2);
  const JobId third = pool.admit(pool.wish("nothing", "user:ada"));
  const JobId fourth = pool.admit(pool.wish("nothing", "user:ada"));
  CHECK(pool.queue_of(third) == "workshop");
  CHECK(pool.queue_of(fourth) == "default");
}

TEST_CASE("Nobody is promised reserved slots that he would have to leave before his job is over") {
  PartitionedPool pool(reserved(workshop({}, opening + seconds(120))));
  pool.add_slots(1, {"default", "default"});
  pool.admit(pool.wish("nothing", "user:ada", seconds(60)));
  pool.admit(pool.wish("nothing", "user:bob", seconds(60)));
  REQUIRE(pool.workers_got<Lease>().size() == 2);
  const JobId waits = pool.admit(pool.wish("nothing", "user:ada", seconds(60)));
  CHECK(pool.queue_of(waits) == "default");
}

TEST_CASE("When a reservation ends its slots serve everybody, and who still waits there too") {
  PartitionedPool pool(reserved(workshop({}, opening + seconds(400))));
  pool.add_slots(1, {"default", "default"});
  pool.admit(pool.wish("nothing", "user:bob"));
  pool.admit(pool.wish("nothing", "user:ada"));
  const auto leases = pool.workers_got<Lease>();
  REQUIRE(leases.size() == 2);
  for (const Lease& lease : leases) pool.begin(lease);
  const JobId waits = pool.admit(pool.wish("nothing", "user:ada"));
  REQUIRE(pool.queue_of(waits) == "workshop");
  pool.pass(seconds(401));
  CHECK(pool.queue_of(waits) == "default");
  pool.finish(leases.back());
  CHECK(pool.only_lease().job == waits);
}

TEST_CASE("A slot that breaks is replaced by another one, and one always stays for everybody") {
  PartitionedPool pool(reserved(workshop({}, Instant::never(), 5)));
  pool.add_slots(1, {"default"});
  const auto reserved_on = [&pool] {
    std::vector<std::uint64_t> nodes;
    for (const auto& [id, node] : pool.core->placement().all())
      for (const PoolSlot& slot : node.slots)
        if (slot.reservation) nodes.push_back(id.value);
    return nodes;
  };
  CHECK(reserved_on().empty());
  TestNode& second = pool.add_slots(2, {"default"});
  CHECK(reserved_on() == std::vector<std::uint64_t>{2});
  pool.add_slots(3, {"default"});
  CHECK(reserved_on() == std::vector<std::uint64_t>{2, 3});
  second.slots.front().state = SlotState::down;
  pool.beat(second);
  CHECK(reserved_on() == std::vector<std::uint64_t>{3});
}

TEST_CASE("A slot that breaks while another comes up is a change, though as many are healthy") {
  PartitionedPool pool(reserved(workshop({}, Instant::never())));
  TestNode& node = pool.add_slots(1, {"default", "default", "default"});
  node.slots[0].state = SlotState::down;
  pool.beat(node);
  const auto reserved_slot = [&pool] {
    for (const PoolSlot& slot : pool.core->placement().all().at(NodeId{1}).slots)
      if (slot.reservation) return static_cast<int>(slot.report.slot.value);
    return -1;
  };
  REQUIRE(reserved_slot() == 2);
  node.slots[2].state = SlotState::down;
  node.slots[0].state = SlotState::free;
  pool.beat(node);
  CHECK(reserved_slot() == 1);
}

TEST_CASE("Without a healthy reserved slot its users wait with everybody") {
  PartitionedPool pool(reserved(workshop({}, Instant::never())));
  pool.add_slots(2, {"default"});
  TestNode& kept = pool.add_slots(1, {"default"});
  pool.pass(seconds(6));
  const JobId runs = pool.admit(pool.wish("nothing", "user:ada"));
  const Lease lease = pool.only_lease();
  REQUIRE(pool.queue_of(runs) == "workshop");
  const JobId other = pool.admit(pool.wish("nothing", "user:bob"));
  REQUIRE(pool.workers_got<Lease>().size() == 1);
  const JobId waits = pool.admit(pool.wish("nothing", "user:ada"));
  REQUIRE(pool.queue_of(waits) == "workshop");
  for (TestNode* node : {&kept, &pool.nodes.at(NodeId{2})}) {
    node->draining = true;
    pool.beat(*node);
  }
  CHECK(pool.queue_of(waits) == "default");
  CHECK(pool.knows(other));
  CHECK(lease.job == runs);
}

TEST_CASE("A hold that comes when its reservation is gone stands in the partition, promised anew") {
  Config config = reserved(workshop({}, Instant::never()));
  PartitionedPool pool(config);
  pool.add_slots(1, {"default", "default"});
  for (const char* user : {"user:ada", "user:bob", "user:eve"})
    pool.admit(pool.wish("nothing", user));
  pool.ledger_answers = false;
  pool.tell(pool.wish("nothing", "user:ada"));
  const auto asked = pool.ledger_asked<Reserve>();
  REQUIRE(asked.back().partition == "workshop");
  config.reservations.clear();
  pool.core->use(config);
  pool.answer_ledger();
  const auto moved = pool.sessions_got<JobMoved>();
  const JobId job = moved.back().event.job;
  CHECK(pool.queue_of(job) == "default");
  CHECK(pool.job(job).promise > asked.back().promise);
}

TEST_CASE("A reservation that is put off lets those who wait in it go on in the partition") {
  Config config = reserved(workshop({}, Instant::never()));
  PartitionedPool pool(config);
  pool.add_slots(1, {"default", "default"});
  for (const char* user : {"user:ada", "user:bob"}) pool.admit(pool.wish("nothing", user));
  for (const Lease& lease : pool.workers_got<Lease>()) pool.begin(lease);
  const JobId waits = pool.admit(pool.wish("nothing", "user:ada"));
  REQUIRE(pool.queue_of(waits) == "workshop");
  config.reservations.front().from = opening + hours(24);
  pool.core->use(config);
  pool.pass(seconds(1));
  CHECK(pool.queue_of(waits) == "default");
  config.reservations.front() = workshop({}, Instant::never());
  config.reservations.front().users = {"bob"};
  PartitionedPool other(reserved(workshop({}, Instant::never())));
  other.add_slots(1, {"default", "default"});
  for (const char* user : {"user:ada", "user:bob"}) other.admit(other.wish("nothing", user));
  const JobId hers = other.admit(other.wish("nothing", "user:ada"));
  REQUIRE(other.queue_of(hers) == "workshop");
  other.core->use(config);
  other.pass(seconds(1));
  CHECK(other.queue_of(hers) == "default");
}

TEST_CASE("A broker in one process with its worker keeps the reservation's queue at a restart") {
  Config config = reserved(workshop({}, Instant::never()));
  config.broker.worker_address.clear();
  PartitionedPool pool(config);
  pool.add_slots(1, {"default", "default"});
  for (const char* user : {"user:ada", "user:bob"}) pool.admit(pool.wish("nothing", user));
  const JobId waits = pool.admit(pool.wish("nothing", "user:ada"));
  REQUIRE(pool.queue_of(waits) == "workshop");
  pool.start();
  CHECK(pool.queue_of(waits) == "workshop");
  pool.nodes.at(NodeId{1}).incarnation = {2};
  pool.join(pool.nodes.at(NodeId{1}));
  CHECK(pool.queue_of(waits) == "workshop");
}

TEST_CASE("A reserved slot that a newcomer was promised is not taken by who waits elsewhere") {
  PartitionedPool pool(reserved(workshop({}, Instant::never())));
  pool.add_slots(1, {"default", "default"});
  pool.admit(pool.wish("nothing", "user:bob"));
  const JobId first = pool.admit(pool.wish("nothing", "user:ada"));
  const auto leases = pool.workers_got<Lease>();
  for (const Lease& lease : leases) pool.begin(lease);
  pool.admit(pool.wish("nothing", "user:ada"));                     // in the workshop
  const JobId last = pool.admit(pool.wish("nothing", "user:ada"));  // in the partition
  REQUIRE(pool.queue_of(last) == "default");
  REQUIRE(pool.queue_of(first) == "workshop");
  pool.finish(leases.back());
  REQUIRE(pool.workers_got<Lease>().size() == 1);
  CHECK(pool.queue_of(last) == "default");
}

TEST_CASE("Operators see the partition of each slot, its reservation, and each job's queue") {
  PartitionedPool pool(reserved(workshop({}, Instant::never())));
  pool.add_slots(1, {"default", "default", "own"});
  const JobId job = pool.admit(pool.wish("nothing", "user:ada"));
  pool.tell(NodesQuery{.ticket = 1});
  const auto nodes = pool.console_got<NodesFound>().front().nodes;
  CHECK(nodes.front().slots[0].reservation.empty());
  CHECK(nodes.front().slots[1].partition == "default");
  CHECK(nodes.front().slots[1].reservation == "workshop");
  CHECK(nodes.front().slots[2].partition == "own");
  CHECK(nodes.front().slots[2].reservation.empty());
  pool.tell(QueueQuery{.ticket = 2, .limit = 10});
  const auto queue = pool.console_got<QueueFound>().front().jobs;
  REQUIRE(queue.size() == 1);
  CHECK(queue.front().job == job);
  CHECK(queue.front().partition == "workshop");
}

}  // namespace gpupool
