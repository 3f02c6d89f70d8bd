// What of NCCL works without a device. With devices comm_test runs over it.
#include <catch2/catch.hpp>
#include <iostream>
#include <thread>

#include "tests/gpu/targets.h"

#if defined(GPUPOOL_NCCL)

#include "gpu/comm_nccl.h"

using namespace gpupool;

TEST_CASE("Ranks agree on the name that rank 0 got from NCCL once all were there") {
  const auto rendezvous = make_shared_rendezvous();
  std::vector<Result<std::string>> names(3, Result<std::string>(""));
  std::vector<std::thread> threads;
  for (std::int32_t rank = 0; rank < 3; ++rank)
    threads.emplace_back([&, rank] {
      names[static_cast<std::size_t>(rank)] =
          agree_on_name({.rank = rank, .size = 3, .timeout = seconds(20)}, *rendezvous);
    });
  for (std::thread& thread : threads) thread.join();
  for (const Result<std::string>& name : names) {
    REQUIRE(name);
    CHECK(name->size() == 256);
    CHECK(name->find_first_not_of("0123456789abcdef") == std::string::npos);
    CHECK(*name == *names.front());
  }
}

TEST_CASE(
    "Rank 0 names nothing while another rank has not come, and the others wait for the name") {
  const auto rendezvous = make_shared_rendezvous();
  for (const std::int32_t rank : {0, 1}) {
    const auto name =
        agree_on_name({.rank = rank, .size = 3, .timeout = milliseconds(50)}, *rendezvous);
    REQUIRE_FALSE(name);
    CHECK(name.error().code == Errc::device_failed);
    CHECK_THAT(name.error().detail, Catch::Contains("nobody left \"nccl"));
  }
}

TEST_CASE("A name that is none of NCCL's is refused") {
  const auto name = GENERATE(std::string(), std::string(256, 'g'), std::string(255, 'a'),
                             std::string(255, 'a') + "+", std::string(4096, 'a'));
  const auto rendezvous = make_shared_rendezvous();
  rendezvous->put("nccl", name);
  const auto comm = make_nccl_comm({.rank = 1, .size = 2}, *rendezvous, nullptr);
  REQUIRE_FALSE(comm);
  CHECK_THAT(comm.error().detail, Catch::Contains("none of NCCL's"));
}

TEST_CASE("Without a CUDA device NCCL says so") {
  if (const auto count = cuda_device_count(); count && *count > 0) return;
  const auto comm = make_nccl_comm({}, *make_shared_rendezvous(), nullptr);
  REQUIRE_FALSE(comm);
  CHECK(comm.error().code == Errc::device_failed);
  CHECK_THAT(comm.error().detail, Catch::Contains("no CUDA device"));
}

#else

TEST_CASE("Tests of NCCL say that there is none") {
  std::cout << "Not tested, NCCL: this build has none\n";
}

#endif
