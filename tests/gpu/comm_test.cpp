// Ranks that draw one picture together: threads here, each with a device and a Comm of its own.
#include "gpu/comm.h"

#include <catch2/catch.hpp>
#include <functional>
#include <future>
#include <thread>

#include "gpu/picture.h"
#include "gpu/sampler.h"
#include "tests/gpu/small_network.h"
#include "tests/gpu/values.h"

using namespace gpupool;
using reference::Values;

namespace {

// Calls `work` for every rank, each on a thread of its own, once all have found each other.
void as_ranks(std::int32_t size, const std::function<void(Comm&)>& work,
              Duration timeout = seconds(20)) {
  const auto rendezvous = make_shared_rendezvous();
  std::vector<std::thread> threads;
  std::vector<std::string> failures(static_cast<std::size_t>(size));
  for (std::int32_t rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      auto comm = make_gloo_comm({.rank = rank, .size = size, .timeout = timeout}, *rendezvous);
      if (comm)
        work(**comm);
      else
        failures[static_cast<std::size_t>(rank)] = comm.error().detail;
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) CHECK(failure == "");
}

SampleRequest some_request() {
  return {.prompt = prompt_of({1, 2}),
          .without = prompt_of({0}),
          .steps = 6,
          .guidance = 3,
          .seed = Seed{5}};
}

Result<std::optional<std::vector<float>>> draw(Comm* ranks, const OnStep& on_step = {},
                                               float guidance = 3) {
  const auto device = make_cpu_device(1);
  Weights weights = small_weights();
  const auto network = *Dit::load(*device, small_shape(), {}, weights);
  if (const Status used = network->use(ranks); !used) return used.error();
  const auto sampler = *Sampler::make(*device, *network);
  SampleRequest request = some_request();
  request.guidance = guidance;
  return sampler->run(request, on_step);
}

Matrix view_of(Values& values) {
  return {values.all.data(), values.rows, values.columns, values.columns};
}

}  // namespace

TEST_CASE("Each rank gets the rows of all, in the order of the ranks, however many each has") {
  const std::vector<std::int64_t> rows = {2, 1, 4};
  const Values whole = random_values({7, 5}, 1);
  std::vector<Values> got(3, Values({7, 5}));
  as_ranks(3, [&](Comm& comm) {
    const auto rank = static_cast<std::size_t>(comm.rank());
    Values wide({rows[rank], 9});
    const std::int64_t first = rank == 0 ? 0 : rank == 1 ? 2 : 3;
    for (std::int64_t r = 0; r < rows[rank]; ++r)
      for (std::int64_t c = 0; c < 5; ++c) wide.at(r, c + 2) = whole.at(first + r, c);
    comm.all_gather(view_of(wide).column_block(2, 5), rows, view_of(got[rank]));
    comm.barrier();
  });
  for (const Values& values : got) CHECK(values.all == whole.all);
}

TEST_CASE("One, two, three and four ranks draw the same picture") {
  // Without guidance two ranks share the tokens; with it each takes a sample.
  const float guidance = GENERATE(1.0F, 3.0F);
  const std::vector<float> expected = **draw(nullptr, {}, guidance);
  const auto size = GENERATE(1, 2, 3, 4);
  std::vector<std::vector<float>> pictures(static_cast<std::size_t>(size));
  as_ranks(size, [&](Comm& comm) {
    const auto picture = draw(&comm, {}, guidance);
    if (picture) pictures[static_cast<std::size_t>(comm.rank())] = **picture;
  });
  for (const std::vector<float>& picture : pictures) {
    REQUIRE(picture.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      REQUIRE(picture[i] == Approx(expected[i]).margin(1e-5));
    CHECK(picture == pictures.front());
  }
}

TEST_CASE("More ranks than tokens are refused") {
  std::vector<Errc> codes(17);
  as_ranks(17, [&](Comm& comm) {
    const auto picture = draw(&comm);
    if (!picture) codes[static_cast<std::size_t>(comm.rank())] = picture.error().code;
  });
  for (const Errc code : codes) CHECK(code == Errc::unsupported);
}

TEST_CASE("A rank that gives up ends the picture of all the others") {
  std::vector<Status> ends(3, ok());
  as_ranks(3, [&](Comm& comm) {
    const auto picture = draw(&comm, [&](StepProgress progress) {
      if (comm.rank() == 1 && progress.finished == 3) comm.abort();
      return StepVerdict::go_on;
    });
    if (!picture) ends[static_cast<std::size_t>(comm.rank())] = picture.error();
  });
  for (const Status& end : ends) {
    REQUIRE_FALSE(end);
    CHECK(end.error().code == Errc::device_failed);
    CHECK_THAT(end.error().detail, Catch::Contains("the ranks of the picture"));
  }
}

TEST_CASE("A rank that is gone ends the picture of the others, and one that hangs does in time") {
  const bool hangs = GENERATE(false, true);
  std::vector<Status> ends(2, ok());
  std::promise<void> over;
  as_ranks(
      2,
      [&](Comm& comm) {
        if (comm.rank() == 1) {
          if (hangs) over.get_future().wait();
          return;  // and its connections close
        }
        comm.barrier();
        ends[0] = comm.status();
        comm.barrier();
        ends[1] = comm.status();
        over.set_value();
      },
      milliseconds(500));
  REQUIRE_FALSE(ends[0]);
  CHECK(ends[0].error().code == Errc::device_failed);
  REQUIRE_FALSE(ends[1]);
  CHECK(ends[1].error().detail == ends[0].error().detail);  // the first is kept
}

TEST_CASE("Ranks that do not come are told, not waited for") {
  const auto rendezvous = make_shared_rendezvous();
  const auto comm =
      make_gloo_comm({.rank = 0, .size = 2, .timeout = milliseconds(200)}, *rendezvous);
  REQUIRE_FALSE(comm);
  CHECK(comm.error().code == Errc::device_failed);
  CHECK_THAT(comm.error().detail, Catch::Contains("nobody left"));
}
