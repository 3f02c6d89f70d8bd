// Ranks that draw one picture together: threads here, each with a device and a Comm of its own.
#include "gpu/comm.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>
#include <future>
#include <numeric>
#include <thread>

#include "gpu/bf16.h"
#include "gpu/picture.h"
#include "gpu/sampler.h"
#include "tests/gpu/behind_device.h"
#include "tests/gpu/small_network.h"
#include "tests/gpu/targets.h"
#include "tests/gpu/values.h"

using namespace gpupool;
using reference::Values;

namespace {

// Devices that can meet, one for each rank.
struct Kind {
  std::string name;
  double tolerance = 1e-5;         // of a picture
  Duration patience = seconds(3);  // enough for ranks that are well, to meet too
  std::function<std::unique_ptr<Device>(std::int32_t rank)> make = [](std::int32_t) {
    return make_cpu_device(1);
  };
};

// The CPU, and CUDA devices in each precision where there are as many as ranks.
std::vector<Kind> kinds_for(std::int32_t size) {
  std::vector<Kind> kinds = {{.name = "the CPU"}};
#if defined(GPUPOOL_NCCL)
  const Result<std::int32_t> count = cuda_device_count();
  for (const Dtype precision : {Dtype::f32, Dtype::bf16})
    if (count && *count >= size)
      kinds.push_back({.name = precision == Dtype::f32 ? "CUDA, f32" : "CUDA, bf16",
                       .tolerance = precision == Dtype::f32 ? 1e-4 : 5e-2,
                       .patience = seconds(10),
                       .make = [precision](std::int32_t rank) {
                         return *make_cuda_device({.index = rank, .precision = precision});
                       }});
#endif
  static std::int32_t said_of = 5;
  if (kinds.size() == 1 && size < said_of) {
    said_of = size;
    std::cout << "Not tested on CUDA devices: ranks, " << size << " of them or more\n";
  }
  return kinds;
}

// Calls `work` for every rank, each on a thread of its own, once all have found each other.
void as_ranks(std::int32_t size, const std::function<void(Device&, Comm&)>& work,
              Duration timeout = seconds(20), const Kind& kind = {}) {
  std::signal(SIGPIPE, SIG_IGN);  // what gloo sends to a rank that is gone
  const auto rendezvous = make_shared_rendezvous();
  std::vector<std::thread> threads;
  std::vector<std::string> failures(static_cast<std::size_t>(size));
  for (std::int32_t rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      const auto device = kind.make(rank);
      auto comm = device->meet({.rank = rank, .size = size, .timeout = timeout}, *rendezvous);
      Status met = comm ? ok() : Status(comm.error());
      if (comm) {
        (*comm)->barrier();  // who leaves sooner leaves others that are still on their way
        met = (*comm)->status();
      }
      if (met)
        work(*device, **comm);
      else
        failures[static_cast<std::size_t>(rank)] = met.error().detail;
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) CHECK(failure == "");
}

// What each rank has after `work`, which is given what it had before: of `size` ranks, on each
// kind.
using Exchange = std::function<void(Comm& comm, Activations values)>;
void check_exchange(std::int32_t size, const std::vector<Values>& before, const Exchange& work,
                    const std::function<void(std::size_t rank, const Values& after)>& check) {
  for (const Kind& kind : kinds_for(size)) {
    INFO(kind.name << ", " << size << " ranks");
    std::vector<Values> after = before;
    std::vector<Status> ends(before.size(), ok());
    as_ranks(
        size,
        [&](Device& device, Comm& comm) {
          const auto rank = static_cast<std::size_t>(comm.rank());
          Values& values = after[rank];
          const Buffer held = *device.allocate({values.rows, values.columns});
          device.upload(values.all, held.activations());
          work(comm, held.activations());
          device.download(held.activations(), values.all);
          ends[rank] = device.finish() ? comm.status() : device.finish();
          comm.barrier();
        },
        seconds(20), kind);
    for (std::size_t rank = 0; rank < after.size(); ++rank) {
      CHECK(ends[rank]);
      check(rank, after[rank]);
    }
  }
}

SampleRequest some_request() {
  return {.prompt = prompt_of({1, 2}),
          .without = prompt_of({0}),
          .steps = 6,
          .guidance = 3,
          .seed = Seed{5}};
}

Result<std::optional<std::vector<float>>> draw(Device& device, Comm* ranks,
                                               const OnStep& on_step = {}, float guidance = 3) {
  Weights weights = small_weights();
  const auto network = *Dit::load(device, small_shape(), {}, weights);
  if (const Status used = network->use(ranks); !used) return used.error();
  const auto sampler = *Sampler::make(device, *network);
  SampleRequest request = some_request();
  request.guidance = guidance;
  return sampler->run(request, on_step);
}

}  // namespace

TEST_CASE("Each rank gets the rows of all, in the order of the ranks, however many each has") {
  const auto rows = GENERATE(std::vector<std::int64_t>{5}, std::vector<std::int64_t>{3, 3},
                             std::vector<std::int64_t>{0, 2}, std::vector<std::int64_t>{2, 1, 4},
                             std::vector<std::int64_t>{7, 0, 0, 1}, std::vector<std::int64_t>{0, 0},
                             std::vector<std::int64_t>{1, 1, 1, 1});
  const auto columns = GENERATE(std::int64_t{1}, std::int64_t{67});
  const auto size = static_cast<std::int32_t>(rows.size());
  const std::int64_t count = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  const Values whole = random_values({std::max<std::int64_t>(count, 1), columns}, 1);
  for (const Kind& kind : kinds_for(size)) {
    INFO(kind.name << ", " << size << " ranks");
    std::vector<Values> got(rows.size(), Values({whole.rows, columns}));
    std::vector<Status> ends(rows.size(), ok());
    as_ranks(
        size,
        [&](Device& device, Comm& comm) {
          const auto rank = static_cast<std::size_t>(comm.rank());
          const std::int64_t first =
              std::accumulate(rows.begin(), rows.begin() + comm.rank(), std::int64_t{0});
          // Mine lie between columns that nobody is to see.
          const Buffer wide = *device.allocate({whole.rows, columns + 4});
          const Activations mine =
              wide.activations().column_block(2, columns).row_block(0, rows[rank]);
          device.upload(
              std::span(whole.all).subspan(static_cast<std::size_t>(first * columns),
                                           static_cast<std::size_t>(rows[rank] * columns)),
              mine);
          const Buffer all = *device.allocate({whole.rows, columns});
          comm.all_gather(mine, rows, all.activations().row_block(0, count));
          device.download(all.activations(), got[rank].all);
          comm.barrier();
          ends[rank] = comm.status();
        },
        seconds(20), kind);
    for (const Status& end : ends) CHECK(end);
    for (const Values& values : got)
      CHECK(values.all == (count > 0 ? whole.all : Values({1, columns}).all));
  }
}

TEST_CASE("Halves are gathered as they are, several gathers at once and in place too") {
  const std::vector<std::int64_t> rows = {2, 3};
  std::vector<Bf16> whole(2 * 5 * 3);
  for (std::size_t i = 0; i < whole.size(); ++i) whole[i] = from_float<Bf16>(noise_at(Seed{3}, i));
  std::vector<std::vector<Bf16>> got(2, std::vector<Bf16>(whole.size()));
  std::vector<Status> ends(2, ok());
  as_ranks(2, [&](Device&, Comm& comm) {
    std::vector<Bf16>& mine = got[static_cast<std::size_t>(comm.rank())];
    const Activations both(reinterpret_cast<std::byte*>(mine.data()), 10, 3, Dtype::bf16);
    const std::int64_t first = comm.rank() == 0 ? 0 : 2;
    const std::int64_t count = rows[static_cast<std::size_t>(comm.rank())];
    for (const std::int64_t sample : {0, 5}) {
      std::copy_n(whole.begin() + 3 * (sample + first), 3 * count,
                  mine.begin() + 3 * (sample + first));
      comm.start_gather(both.row_block(sample + first, count), rows, both.row_block(sample, 5));
    }
    comm.finish_gathers();
    comm.barrier();
    ends[static_cast<std::size_t>(comm.rank())] = comm.status();
  });
  for (const Status& end : ends) CHECK(end);
  for (const std::vector<Bf16>& values : got)
    CHECK(std::equal(values.begin(), values.end(), whole.begin(),
                     [](Bf16 a, Bf16 b) { return to_float(a) == to_float(b); }));
}

TEST_CASE("A sum over ranks is the sum, and the same bits for all") {
  const auto size = GENERATE(1, 2, 3, 4);
  const auto count = GENERATE(std::int64_t{1}, std::int64_t{7}, std::int64_t{1001});
  std::vector<Values> before;
  for (std::uint64_t rank = 0; rank < static_cast<std::uint64_t>(size); ++rank) {
    before.push_back(random_values({1, count}, 30 + rank));
    // So that it matters in which order they are added up.
    for (float& value : before.back().all) value *= rank % 2 == 0 ? 1000.0F : 0.001F;
  }
  std::vector<float> first;
  check_exchange(
      size, before, [](Comm& comm, Activations values) { comm.all_reduce(values.f32()); },
      [&](std::size_t rank, const Values& after) {
        if (rank == 0) first = after.all;
        CHECK(after.all == first);
        for (std::size_t i = 0; i < after.all.size(); ++i) {
          double sum = 0;
          for (const Values& values : before) sum += values.all[i];
          REQUIRE(after.all[i] == Approx(sum).margin(1e-3));
        }
      });
}

TEST_CASE("Every rank gets what the root has") {
  const auto size = GENERATE(1, 2, 3, 4);
  for (std::int32_t root = 0; root < size; ++root) {
    std::vector<Values> before;
    for (std::uint64_t rank = 0; rank < static_cast<std::uint64_t>(size); ++rank)
      before.push_back(random_values({3, 37}, 40 + rank));
    check_exchange(
        size, before, [root](Comm& comm, Activations values) { comm.broadcast(values, root); },
        [&](std::size_t, const Values& after) {
          CHECK(after.all == before[static_cast<std::size_t>(root)].all);
        });
  }
}

TEST_CASE("One, two, three and four ranks draw the same picture") {
  // Without guidance two ranks share the tokens; with it each takes a sample.
  const float guidance = GENERATE(1.0F, 3.0F);
  const auto alone = make_cpu_device(1);
  const std::vector<float> expected = **draw(*alone, nullptr, {}, guidance);
  const auto size = GENERATE(1, 2, 3, 4);
  for (const Kind& kind : kinds_for(size)) {
    INFO(kind.name << ", " << size << " ranks");
    std::vector<std::vector<float>> pictures(static_cast<std::size_t>(size));
    as_ranks(
        size,
        [&](Device& device, Comm& comm) {
          const auto picture = draw(device, &comm, {}, guidance);
          if (picture) pictures[static_cast<std::size_t>(comm.rank())] = **picture;
          comm.barrier();
        },
        seconds(20), kind);
    for (const std::vector<float>& picture : pictures) {
      REQUIRE(picture.size() == expected.size());
      for (std::size_t i = 0; i < expected.size(); ++i)
        REQUIRE(picture[i] == Approx(expected[i]).margin(kind.tolerance));
      CHECK(picture == pictures.front());
    }
  }
}

TEST_CASE("More ranks than tokens are refused") {
  std::vector<Errc> codes(17);
  as_ranks(17, [&](Device& device, Comm& comm) {
    const auto picture = draw(device, &comm);
    if (!picture) codes[static_cast<std::size_t>(comm.rank())] = picture.error().code;
  });
  for (const Errc code : codes) CHECK(code == Errc::unsupported);
}

TEST_CASE("A rank that gives up ends the picture of all the others") {
  std::vector<Status> ends(3, ok());
  as_ranks(3, [&](Device& device, Comm& comm) {
    const auto picture = draw(device, &comm, [&](StepProgress progress) {
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
  for (const Kind& kind : kinds_for(2)) {
    INFO(kind.name);
    std::vector<Status> ends(2, ok());
    std::promise<void> over;
    as_ranks(
        2,
        [&](Device&, Comm& comm) {
          if (comm.rank() == 1) {
            if (hangs) over.get_future().wait_for(std::chrono::seconds(60));
            return;  // and its connections close
          }
          comm.barrier();
          ends[0] = comm.status();
          comm.barrier();
          ends[1] = comm.status();
          over.set_value();
        },
        kind.patience, kind);
    REQUIRE_FALSE(ends[0]);
    CHECK(ends[0].error().code == Errc::device_failed);
    REQUIRE_FALSE(ends[1]);
    CHECK(ends[1].error().detail == ends[0].error().detail);  // the first is kept
  }
}

TEST_CASE("A rank that dies between two operations ends those of the others") {
  std::vector<Status> ends(3, ok());
  as_ranks(3, [&](Device& device, Comm& comm) {
    const auto rank = static_cast<std::size_t>(comm.rank());
    const Buffer values = *device.allocate({3, 5});
    for (int i = 0; i < 10 && ends[rank]; ++i) {
      if (rank == 2 && i == 4) return;
      comm.all_gather(values.activations().row_block(comm.rank(), 1), {1, 1, 1},
                      values.activations());
      comm.all_reduce(values.all());
      ends[rank] = comm.status();
    }
  });
  CHECK(ends[2]);
  for (const Status& end : {ends[0], ends[1]}) {
    REQUIRE_FALSE(end);
    CHECK(end.error().code == Errc::device_failed);
  }
}

TEST_CASE("A rank that waits for the others can be called off from another thread") {
  std::promise<void> over;
  std::vector<Status> ends(2, ok());
  as_ranks(2, [&](Device& device, Comm& comm) {
    if (comm.rank() == 1) return over.get_future().wait();  // and never comes to the sum
    std::promise<void> begun;
    std::thread other([&] {
      begun.get_future().wait();
      comm.abort();
      comm.abort();
    });
    const Buffer values = *device.allocate({1, 3});
    begun.set_value();
    comm.all_reduce(values.all());
    other.join();
    ends[0] = comm.status();
    over.set_value();
  });
  REQUIRE_FALSE(ends[0]);
  CHECK_THAT(ends[0].error().detail, Catch::Contains("the ranks of the picture"));
}

TEST_CASE("A step that ranks share is not recorded") {
  class Recorder final : public BehindDevice {
   public:
    using BehindDevice::BehindDevice;
    void repeat(const RepeatKey&, const std::function<void()>& ops) override {
      ++repeats;
      ops();
    }
    int repeats = 0;
  };
  Recorder alone(make_cpu_device(1));
  REQUIRE(draw(alone, nullptr));
  CHECK(alone.repeats == 6);
  std::vector<int> repeats(2, -1);
  as_ranks(2, [&](Device&, Comm& comm) {
    Recorder recorder(make_cpu_device(1));
    if (draw(recorder, &comm)) repeats[static_cast<std::size_t>(comm.rank())] = recorder.repeats;
    comm.barrier();
  });
  CHECK(repeats == std::vector<int>{0, 0});
}

TEST_CASE("Ranks that do not come are told, not waited for") {
  const auto rendezvous = make_shared_rendezvous();
  const auto comm =
      make_gloo_comm({.rank = 0, .size = 2, .timeout = milliseconds(200)}, *rendezvous);
  REQUIRE_FALSE(comm);
  CHECK(comm.error().code == Errc::device_failed);
  CHECK_THAT(comm.error().detail, Catch::Contains("nobody left"));
}
