// The two lanes against an obvious queue that sorts.

#include "actors/broker/queue.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "base/prng.h"

using namespace gpupool;

namespace {

Waiting waiting_of(std::uint64_t job, Duration declared, std::uint32_t slots = 1) {
  return {.job = {job},
          .shape = {.slots = slots},
          .declared = declared,
          .occupancy = declared + seconds(40)};
}

Waiting drawn(Prng& random, std::uint64_t job, std::int64_t longest_s) {
  Waiting waiting =
      waiting_of(job, milliseconds(random.between(1, longest_s * 1000)), random.one_in(5) ? 2 : 1);
  waiting.tier_rank = static_cast<std::uint32_t>(random.below(3));
  waiting.quota_band = static_cast<std::uint32_t>(random.below(8));
  return waiting;
}

const auto every_shape = [](const Shape&) { return true; };

// A vector in order of arrival, and a search for each question.
class SortedQueue {
 public:
  void push(const Waiting& waiting) {
    remove(waiting.job);
    const auto later = [&](const Waiting& one) { return one.job > waiting.job; };
    jobs_.insert(std::find_if(jobs_.begin(), jobs_.end(), later), waiting);
  }
  bool remove(JobId job) {
    return std::erase_if(jobs_, [&](const Waiting& one) { return one.job == job; }) > 0;
  }
  JobId first(Lane lane, std::uint32_t slots) const {
    std::vector<Waiting> left;
    for (const Waiting& one : jobs_)
      if (slots == 0 || one.shape.slots == slots) left.push_back(one);
    if (left.empty()) return {};
    if (lane == Lane::oldest) return left.front().job;
    const auto order = [](const Waiting& one) {
      return std::tuple((one.declared.ms + 999) / 1000, -std::int64_t{one.tier_rank},
                        -std::int64_t{one.quota_band}, one.job);
    };
    return std::min_element(left.begin(), left.end(),
                            [&](const auto& a, const auto& b) { return order(a) < order(b); })
        ->job;
  }
  Ahead older_than(JobId job) const {
    Ahead ahead;
    for (const Waiting& one : jobs_)
      if (one.job < job) ahead.add(one);
    return ahead;
  }
  const std::vector<Waiting>& jobs() const { return jobs_; }

 private:
  std::vector<Waiting> jobs_;
};

void require_same(const Queue& queue, const SortedQueue& sorted) {
  std::size_t place = 0;
  Ahead older;
  queue.walk([&](const Ahead& ahead, const Waiting& waiting) {
    REQUIRE(place < sorted.jobs().size());
    REQUIRE(waiting.job == sorted.jobs()[place++].job);
    REQUIRE(ahead == older);
    REQUIRE(ahead == queue.older_than(waiting.job));
    older.add(waiting);
  });
  REQUIRE(place == sorted.jobs().size());
  REQUIRE(queue.all() == older);
}

JobId job_of(const Waiting* waiting) { return waiting == nullptr ? JobId{} : waiting->job; }

}  // namespace

TEST_CASE(
    "The short lane goes by declared seconds, then tier rank, then quota band, then arrival") {
  Queue queue;
  queue.push({.job = {1}, .declared = milliseconds(9'001), .tier_rank = 0, .quota_band = 7});
  queue.push({.job = {2}, .declared = milliseconds(10'000), .tier_rank = 0, .quota_band = 7});
  queue.push({.job = {3}, .declared = milliseconds(9'500), .tier_rank = 2, .quota_band = 0});
  queue.push({.job = {4}, .declared = milliseconds(9'500), .tier_rank = 2, .quota_band = 3});
  queue.push({.job = {5}, .declared = milliseconds(9'000), .tier_rank = 0, .quota_band = 0});
  std::vector<std::uint64_t> order;
  while (queue.size() > 0) order.push_back(queue.take_first(Lane::shortest, {}).job.value);
  CHECK(order == std::vector<std::uint64_t>{5, 4, 3, 1, 2});
}

TEST_CASE("The old lane goes by arrival, and a job that comes back has its old place") {
  Queue queue;
  for (std::uint64_t job : {10U, 20U, 30U}) queue.push(waiting_of(job, seconds(job)));
  CHECK(queue.take_first(Lane::oldest, {}).job == JobId{10});
  queue.push(waiting_of(10, seconds(10)));
  CHECK(queue.oldest() == JobId{10});
  CHECK(queue.older_than({20}).jobs == 1);
  // One that stood between two that are there, and was never here before.
  queue.push(waiting_of(25, seconds(1)));
  CHECK(queue.older_than({30}).jobs == 3);
  CHECK(queue.take_first(Lane::shortest, {}).job == JobId{25});
}

TEST_CASE("What is older is counted in jobs, gangs and slot-milliseconds") {
  Queue queue;
  queue.push(waiting_of(1, seconds(10)));
  queue.push(waiting_of(2, seconds(20), 2));
  queue.push(waiting_of(3, seconds(30)));
  CHECK(queue.older_than({3}) == Ahead{.jobs = 2, .gangs = 1, .work = 50'000 + 2 * 60'000});
  CHECK(queue.older_than({99}) == queue.all());
  CHECK(queue.older_than({1}) == Ahead{});
}

TEST_CASE("The queue answers as one that sorts, over random commands") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    Prng random(seed);
    CAPTURE(seed);
    Queue queue;
    SortedQueue sorted;
    std::vector<Waiting> left;  // the queue, and may come back
    std::uint64_t last = 0;
    const std::int64_t longest = random.one_in(2) ? 5 : 300;
    for (int step = 0; step < 3'000; ++step) {
      CAPTURE(step);
      const std::uint64_t what = random.below(10);
      if (what < 5) {
        last += random.one_in(50) ? 1'000'000 : 1 + random.below(3);
        const Waiting waiting = drawn(random, last, longest);
        queue.push(waiting);
        sorted.push(waiting);
      } else if (what == 5 && !left.empty()) {
        // As it was, or not; it may wait again by now.
        Waiting back = left[random.below(left.size())];
        if (random.one_in(3)) back = drawn(random, back.job.value, longest);
        queue.push(back);
        sorted.push(back);
      } else if (!sorted.jobs().empty()) {
        Waiting going = sorted.jobs()[random.below(sorted.jobs().size())];
        if (what > 7) {
          const Lane lane = what == 8 ? Lane::oldest : Lane::shortest;
          going = queue.take_first(lane, queue.first(lane, every_shape)->shape);
          REQUIRE(going.job == sorted.first(lane, 0));
        } else {
          REQUIRE(queue.remove(going.job));
          REQUIRE_FALSE(queue.remove(going.job));
        }
        sorted.remove(going.job);
        left.push_back(going);
      }
      REQUIRE(queue.size() == sorted.jobs().size());
      for (const Lane lane : {Lane::oldest, Lane::shortest}) {
        REQUIRE(job_of(queue.first(lane, every_shape)) == sorted.first(lane, 0));
        REQUIRE(job_of(queue.first(lane, [](const Shape& shape) { return shape.slots == 1; })) ==
                sorted.first(lane, 1));
      }
      const JobId asked{random.below(last + 2)};
      REQUIRE(queue.older_than(asked) == sorted.older_than(asked));
    }
    require_same(queue, sorted);
  }
}

// So long that places are closed up and rows are given back.
TEST_CASE("A queue answers as one that sorts when it grew long and became short, twice over") {
  Prng random(1);
  Queue queue;
  SortedQueue sorted;
  std::vector<Waiting> left;
  const auto leave = [&](const Waiting& going) {
    sorted.remove(going.job);
    left.push_back(going);
  };
  for (std::uint64_t round = 0; round < 2; ++round) {
    for (std::uint64_t number = 1; number <= 8'000; ++number) {
      const Waiting waiting = drawn(random, round * 100'000 + 3 * number, 20);
      queue.push(waiting);
      sorted.push(waiting);
    }
    require_same(queue, sorted);
    while (queue.size() > 4'000) leave(queue.take_first(Lane::shortest, {}));
    require_same(queue, sorted);
    while (queue.size() > 300) {
      const Waiting going = sorted.jobs()[random.below(sorted.jobs().size())];
      REQUIRE(queue.remove(going.job));
      leave(going);
    }
    require_same(queue, sorted);
    // Some come back, whose places may be gone, and others come that were never here.
    for (int i = 0; i < 30; ++i) {
      const Waiting back = left[random.below(left.size())];
      for (const std::uint64_t job : {back.job.value, back.job.value + 1}) {
        const Waiting waiting = drawn(random, job, 20);
        queue.push(waiting);
        sorted.push(waiting);
      }
    }
    require_same(queue, sorted);
  }
  while (queue.size() > 0) {
    const JobId first = sorted.first(Lane::shortest, 0);
    const Shape shape = queue.first(Lane::shortest, every_shape)->shape;
    REQUIRE(queue.take_first(Lane::shortest, shape).job == first);
    sorted.remove(first);
  }
  CHECK(queue.by_shape().empty());
}

TEST_CASE("Of the short lane the first single that fits is found, among so many") {
  Queue queue;
  for (std::uint64_t job = 1; job <= 10; ++job) queue.push(waiting_of(job, seconds(job)));
  queue.push(waiting_of(11, seconds(1), 2));
  const auto fits = [](const Waiting& waiting) { return waiting.declared >= seconds(4); };
  CHECK(job_of(queue.first_single_that(fits, 10)) == JobId{4});
  CHECK(queue.first_single_that(fits, 3) == nullptr);
  CHECK(Queue{}.first_single_that(fits, 10) == nullptr);
}
