// Where jobs go, against an obvious placement that looks at every set of slots there is.

#include "actors/broker/placement.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <set>
#include <tuple>
#include <vector>

#include "base/prng.h"

using namespace gpupool;

namespace {

constexpr Instant now{1'000'000};
constexpr Duration unknown = seconds(500);
const std::string app = "emoji";

// Of one partition, without reservations: those are tested in partition_test.
Placement drawn_pool(Prng& random) {
  Placement pool;
  const auto nodes = static_cast<std::uint64_t>(random.between(1, 4));
  for (std::uint64_t id = 1; id <= nodes; ++id) {
    Join join{.node = {id}, .name = "node-" + std::to_string(id), .incarnation = {1}};
    const auto slots = static_cast<std::uint32_t>(random.between(1, 4));
    for (std::uint32_t i = 0; i < slots; ++i) {
      SlotReport slot{.slot = {i}, .device = static_cast<std::uint32_t>(random.below(3))};
      slot.state = random.one_in(6) ? SlotState::down : SlotState::free;
      if (random.one_in(8)) slot.state = SlotState::checking;
      if (random.one_in(3)) slot.warm_app = app;
      join.slots.push_back(slot);
    }
    join.draining = random.one_in(8);
    Node& node = pool.join(now, join);
    node.suspected = random.one_in(8);
    pool.update(node);
    for (PoolSlot& slot : node.slots) {
      const PlacedSlot placed{node.id, slot.report.slot};
      const Duration lasts = seconds(random.between(1, 9));
      if (slot.report.state == SlotState::free && random.one_in(2))
        pool.lend({.slots = {placed}}, {id * 100 + placed.slot.value}, {now, now + lasts});
      if (random.one_in(6)) pool.pin({.slots = {placed}}, {1});
    }
  }
  return pool;
}

struct Each {
  const Node* node = nullptr;
  const PoolSlot* slot = nullptr;
};

bool is_up(const Each& one) { return one.slot->report.state != SlotState::down; }
bool is_free(const Each& one) {
  return one.slot->report.state == SlotState::free && !one.slot->leased_to;
}
bool is_warm(const Each& one) { return one.slot->report.warm_app == app; }
std::int64_t warm_of(const std::vector<Each>& set) {
  return std::count_if(set.begin(), set.end(), is_warm);
}

std::size_t nodes_of(const std::vector<Each>& set) {
  std::set<const Node*> nodes;
  for (const Each& one : set) nodes.insert(one.node);
  return nodes.size();
}

bool lies_as(Spread spread, const std::vector<Each>& set) {
  std::set<std::pair<const Node*, std::uint32_t>> devices;
  for (const Each& one : set) devices.insert({one.node, one.slot->report.device});
  if (spread == Spread::device) return devices.size() == 1;
  return devices.size() == set.size() && (spread == Spread::nodes || nodes_of(set) == 1);
}

// Every set of so many slots that lie as they should, each of which `may` be in it.
std::vector<std::vector<Each>> sets_of(const Placement& pool, const Shape& shape,
                                       const std::function<bool(const Each&)>& may) {
  std::vector<Each> all;
  for (const auto& [id, node] : pool.all())
    for (const PoolSlot& slot : node.slots)
      if (may({&node, &slot})) all.push_back({&node, &slot});
  std::vector<std::vector<Each>> found;
  for (std::uint32_t bits = 0; bits < 1U << all.size(); ++bits) {
    if (static_cast<std::uint32_t>(__builtin_popcount(bits)) != shape.slots) continue;
    std::vector<Each> set;
    for (std::size_t i = 0; i < all.size(); ++i)
      if ((bits >> i & 1U) != 0) set.push_back(all[i]);
    if (lies_as(shape.spread, set)) found.push_back(std::move(set));
  }
  return found;
}

std::vector<Each> look_up(const Placement& pool, const Place& place) {
  std::vector<Each> set;
  for (const PlacedSlot& placed : place.slots) {
    const Node& node = pool.all().at(placed.node);
    set.push_back({&node, node.slot(placed.slot)});
  }
  return set;
}

Instant free_at(const Each& one) {
  if (is_free(one)) return now;
  return one.slot->leased_until > now ? one.slot->leased_until : now + unknown;
}

Instant free_at(const std::vector<Each>& set) {
  Instant last = now;
  for (const Each& one : set) last = std::max(last, free_at(one));
  return last;
}

template <class Of>
auto least(const std::vector<std::vector<Each>>& sets, const Of& of) {
  auto least = of(sets.front());
  for (const auto& set : sets) least = std::min(least, of(set));
  return least;
}

std::int64_t free_beside(const Node& node) {
  return std::count_if(node.slots.begin(), node.slots.end(), [&node](const PoolSlot& slot) {
    return is_free({&node, &slot}) && !slot.pinned_for;
  });
}

// Of equally warm places, the one on the node with the least free, and then the lowest number.
void compare_tightness(const Placement& pool, const Shape& shape, const std::vector<Each>& taken) {
  const auto free = sets_of(pool, shape, [](const Each& one) {
    return one.node->takes_leases_now() && is_free(one) && !one.slot->pinned_for;
  });
  const auto rank = [](const std::vector<Each>& set) {
    return std::tuple(-warm_of(set), free_beside(*set.front().node), set.front().node->id);
  };
  for (const auto& other : free)
    if (nodes_of(other) == 1) CHECK(rank(taken) <= rank(other));
}

void compare_start(const Placement& pool, const Shape& shape) {
  const Need need{.shape = shape, .now = now, .ends = now + seconds(60)};
  const auto place = pool.pick(need, app);
  const auto free = sets_of(pool, shape, [](const Each& one) {
    return one.node->takes_leases_now() && is_free(one) && !one.slot->pinned_for;
  });
  REQUIRE(place.has_value() == !free.empty());
  if (!place) return;
  const auto taken = look_up(pool, *place);
  REQUIRE(taken.size() == shape.slots);
  CHECK(lies_as(shape.spread, taken));
  for (const Each& one : taken) CHECK((is_free(one) && !one.slot->pinned_for));
  CHECK((is_warm(taken.front()) || warm_of(taken) == 0));
  CHECK(nodes_of(taken) == least(free, nodes_of));
  if (nodes_of(taken) > 1) return;
  for (const auto& other : free)
    if (nodes_of(other) == 1) CHECK(warm_of(taken) >= warm_of(other));
  if (shape.spread != Spread::device || shape.slots == 1) compare_tightness(pool, shape, taken);
}

void compare_later(const Placement& pool, const Shape& shape) {
  const Need need{.shape = shape, .now = now, .ends = now + seconds(60)};
  const auto joint = pool.earliest(need, unknown);
  const auto up = sets_of(pool, shape, [](const Each& one) {
    return one.node->takes_leases() && is_up(one) && !one.slot->pinned_for;
  });
  REQUIRE(joint.has_value() == !up.empty());
  if (!joint) return;
  const auto taken = look_up(pool, joint->place);
  REQUIRE(taken.size() == shape.slots);
  CHECK(lies_as(shape.spread, taken));
  const auto when = [](const auto& set) { return free_at(set); };
  CHECK(free_at(taken) == joint->ends);
  CHECK(joint->ends == least(up, when));
  CHECK(joint->is_sure == std::all_of(taken.begin(), taken.end(), [](const Each& one) {
          return is_free(one) || one.slot->leased_until > now;
        }));
}

void compare_shapes(const Placement& pool, const Shape& shape) {
  const auto lends = [](const Each& one) { return one.node->takes_leases() && is_up(one); };
  CHECK(pool.has({}, shape) == !sets_of(pool, shape, lends).empty());
  const auto any = [](const Each&) { return true; };
  CHECK((pool.largest({}, shape.spread) >= shape.slots) == !sets_of(pool, shape, any).empty());
}

}  // namespace

TEST_CASE("A place is found where there is one: what lies best of every set of slots there is") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Prng random(seed);
    const Placement pool = drawn_pool(random);
    for (const Spread spread : {Spread::devices, Spread::device, Spread::nodes})
      for (const std::uint32_t slots : {1, 2, 3, 4}) {
        const Shape shape = shape_for(slots, spread);
        INFO("seed " << seed << ", " << slots << " slots, spread " << static_cast<int>(spread));
        compare_start(pool, shape);
        compare_later(pool, shape);
        compare_shapes(pool, shape);
      }
    pool.check_index();
  }
}

TEST_CASE("What is pinned, lent or given back is so on all nodes of its place") {
  Placement pool;
  for (const std::uint64_t id : {1, 2})
    pool.join(now, {.node = {id}, .slots = {{.slot = {0}, .state = SlotState::free}}});
  const Place both{.slots = {{{2}, {0}}, {{1}, {0}}}};
  CHECK(both.node() == NodeId{2});
  CHECK(both.nodes() == std::vector<NodeId>{{2}, {1}});
  CHECK(both.on({1}) == std::vector<SlotIndex>{{0}});
  pool.pin(both, {7});
  CHECK(pool.is_pinned(both, {7}, {}));
  CHECK(pool.free_slots() == 0);
  pool.unpin(both);
  CHECK(pool.free_slots() == 2);
  pool.lend(both, {7}, {now, now + seconds(9)});
  CHECK_FALSE(pool.is_free(both));
  pool.find({1})->lost = true;
  pool.update(*pool.find({1}));
  CHECK_FALSE(pool.is_pinned(both, {7}, {}));
  pool.take_back(both, {7});
  CHECK_FALSE(pool.lends_any());
}

TEST_CASE("The index of free slots says what the nodes say, whatever happens to them") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    INFO("seed " << seed);
    Prng random(seed);
    Placement pool = drawn_pool(random);
    const PartitionId own = pool.partition("own");
    for (int change = 0; change < 40; ++change) {
      const auto number = static_cast<std::uint64_t>(random.between(1, 4));
      Node* node = pool.find({number});
      if (node == nullptr) continue;
      PoolSlot& slot = node->slots[random.below(node->slots.size())];
      const Place place{.slots = {{node->id, slot.report.slot}}};
      const bool is_lendable = slot.report.state == SlotState::free && !slot.leased_to;
      if (random.one_in(3)) node->suspected = random.one_in(2);
      if (random.one_in(9)) node->lost = random.one_in(2);
      if (random.one_in(3)) slot.report.warm_app = random.one_in(2) ? app : "other";
      if (random.one_in(5)) slot.partition = random.one_in(2) ? own : PartitionId{};
      if (!slot.leased_to && random.one_in(4))
        slot.report.state = random.one_in(3) ? SlotState::down : SlotState::free;
      pool.update(*node);
      if (is_lendable && slot.report.state == SlotState::free && random.one_in(2))
        pool.lend(place, {number}, {now, now + seconds(5)});
      else
        pool.take_back(place, slot.leased_to);
      if (random.one_in(6))
        pool.reserve({{.id = pool.partition("workshop"), .of = {}, .slots = 2}});
      if (random.one_in(6)) pool.reserve({});
      if (random.one_in(9)) pool.drain({"node-1"});
      pool.check_index();
      for (const PartitionId partition : {PartitionId{}, own}) {
        std::uint32_t healthy = 0;
        std::uint32_t free = 0;
        const Need need{.partition = partition, .now = now, .ends = now};
        for (const auto& [id, each] : pool.all())
          for (const PoolSlot& one : each.slots) {
            healthy += each.takes_leases() && is_up({&each, &one}) && one.belongs_to() == partition
                           ? 1U
                           : 0U;
            free += each.takes_leases_now() && is_free({&each, &one}) && !one.pinned_for &&
                            one.serves(partition, now, now)
                        ? 1U
                        : 0U;
          }
        CHECK(pool.healthy_slots(partition) == healthy);
        CHECK(pool.free_slots(need) == free);
      }
    }
  }
}
