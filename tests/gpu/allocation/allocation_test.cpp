// A program of its own, because it counts every operator new of the process, whatever thread calls
// it. What oneDNN allocates inside its own calls is told apart by the caller's address: it makes a
// list of the arguments of each product, and no interface of it does without.
#include <dlfcn.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <new>
#include <string_view>

#include "gpu/sampler.h"
#include "tests/gpu/small_network.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int> ours{0};
std::atomic<int> of_onednn{0};

void count(const void* caller) {
  if (!counting.load()) return;
  Dl_info place{};
  const bool found = dladdr(caller, &place) != 0 && place.dli_fname != nullptr;
  const bool inside = found && std::string_view(place.dli_fname).find("dnnl") != std::string::npos;
  ++(inside ? of_onednn : ours);
}

void* allocate(std::size_t size, std::size_t alignment, const void* caller) {
  count(caller);
  const std::size_t whole = (size + alignment) / alignment * alignment;  // at least one
  void* const memory = std::aligned_alloc(alignment, whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t), __builtin_return_address(0));
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

using namespace gpupool;

namespace {

// Counts from the end of one step to the end of a later one, in a picture like one drawn before.
int allocations_between(std::int32_t first, std::int32_t last, const CpuOptions& options) {
  const auto device = *make_cpu_device(options);
  Weights weights = small_weights();
  const auto network = *Dit::load(*device, small_shape(), {}, weights);
  const auto sampler = *Sampler::make(*device, *network);
  const SampleRequest request{.prompt = prompt_of({1, 2}),
                              .without = prompt_of({0}),
                              .steps = 20,
                              .guidance = 3,
                              .seed = Seed{5}};
  REQUIRE(sampler->run(request, {}));
  ours = 0;
  const auto drawn = sampler->run(request, [&](StepProgress progress) {
    if (progress.finished == first) counting = true;
    if (progress.finished == last) counting = false;
    return StepVerdict::go_on;
  });
  REQUIRE(drawn);
  return ours;
}

}  // namespace

TEST_CASE("Steps on the CPU device allocate nothing") {
  for (const std::int32_t threads : {1, 3}) {
    INFO(threads << " threads");
    CHECK(allocations_between(2, 12, {.threads = threads}) == 0);
    if (!make_cpu_device(CpuOptions{.precision = Dtype::bf16})) continue;
    CHECK(allocations_between(2, 12, {.threads = threads, .precision = Dtype::bf16}) == 0);
  }
}

TEST_CASE("The count of allocations sees those between other steps") {
  // Conditions are prepared sixteen steps ahead: the seventeenth step makes the next ones.
  CHECK(allocations_between(12, 18, {.threads = 2}) > 0);
}
