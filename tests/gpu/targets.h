#pragma once
// The devices that the conformance tests run on: the CPU on one thread and on three, in f32 and in
// bf16, and every CUDA device that is there, in both. Which ones are not there is said aloud, once.

#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gpu/cpu/device_cpu.h"
#if defined(GPUPOOL_CUDA)
#include "gpu/cuda/device_cuda.h"
#endif

namespace gpupool {

struct Target {
  std::string name;
  std::unique_ptr<Device> device;
  bool is_bf16 = false;

  // Of results: a bf16 value is good to 2^-9 of itself, whatever its sums were.
  double tolerance(double of_f32) const { return is_bf16 ? 8e-3 : of_f32; }
};

inline std::vector<Target> all_targets() {
  std::vector<Target> targets;
  for (const std::int32_t threads : {1, 3}) {
    const std::string name = "the CPU on " + std::to_string(threads) + " threads";
    targets.push_back({.name = name, .device = make_cpu_device(threads)});
    auto bf16 = make_cpu_device(CpuOptions{.threads = threads, .precision = Dtype::bf16});
    if (bf16) {
      targets.push_back({.name = name + ", bf16", .device = *std::move(bf16), .is_bf16 = true});
    } else if (static bool told = false; !std::exchange(told, true)) {
      std::cout << "Not tested: " << bf16.error().detail << "\n";
    }
  }
  static bool said = false;
  const auto absent = [](const std::string& why) {
    if (!std::exchange(said, true)) std::cout << "Not tested, no CUDA device: " << why << "\n";
  };
#if defined(GPUPOOL_CUDA)
  const Result<std::int32_t> count = cuda_device_count();
  if (!count) {
    absent(count.error().detail);
    return targets;
  }
  if (*count == 0) absent("the driver counts none");
  for (std::int32_t i = 0; i < *count; ++i)
    for (const Dtype precision : {Dtype::f32, Dtype::bf16}) {
      const bool is_bf16 = precision == Dtype::bf16;
      targets.push_back(
          {.name = "CUDA device " + std::to_string(i) + (is_bf16 ? ", bf16" : ", f32"),
           .device = *make_cuda_device({.index = i, .precision = precision}),
           .is_bf16 = is_bf16});
    }
#else
  absent("this build has no CUDA");
#endif
  return targets;
}

}  // namespace gpupool
