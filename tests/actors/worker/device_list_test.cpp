// How a configuration cuts the GPUs of a machine, and what of it can't be.
#include "actors/worker/device_list.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

const std::string first_slice = "MIG-00000000-0000-0000-0000-000000000002";

// GPU 0 whole, GPU 1 in slices.
GpuList two_gpus() {
  return {.driver = "580",
          .gpus = {{.index = 0, .name = "H200", .uuid = "GPU-a", .memory_bytes = 141'000'000'000},
                   {.index = 1,
                    .name = "H200",
                    .uuid = "GPU-b",
                    .is_sliced = true,
                    .slices = {{.uuid = first_slice, .memory_bytes = 71'000'000'000}}}}};
}

DeviceConfig cuda(const std::string& device, std::uint32_t slots = 1) {
  return {.kind = DeviceKind::cuda, .slots = slots, .device = device};
}

std::vector<std::string> problems(std::vector<DeviceConfig> devices) {
  const GpuList list = two_gpus();
  return mismatches({.devices = std::move(devices)}, &list);
}

using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("A device of a configuration is found by number, UUID or slice") {
  const GpuList list = two_gpus();
  CHECK(find_device(list, "0").gpu == &list.gpus[0]);
  CHECK(find_device(list, "GPU-b").gpu == &list.gpus[1]);
  CHECK(find_device(list, first_slice).slice == &list.gpus[1].slices[0]);
  CHECK(find_device(list, first_slice).gpu == &list.gpus[1]);
  CHECK(find_device(list, "7").gpu == nullptr);
}

TEST_CASE("The isolation of a slot is said in words, and that sharing has none most of all") {
  const GpuList list = two_gpus();
  const auto said = [&](const DeviceConfig& one) {
    return isolation_of(one, find_device(list, one.device));
  };
  CHECK(said(cuda("0")) == "the GPU alone");
  CHECK_THAT(said(cuda("0", 2)),
             Contains("2 jobs share the GPU") &&
                 Contains("nothing keeps one from taking memory that another needs"));
  CHECK_THAT(said(cuda(first_slice)), Contains("memory, units and memory errors of its own"));
  CHECK_THAT(said(cuda(first_slice, 2)), Contains("2 jobs share a MIG slice"));
  CHECK(isolation_of({.cores = {1}}, {}) == "threads on cores of its own");
  CHECK_THAT(isolation_of({.slots = 2}, {}), Contains("on any core"));
  // A slice is known by its name where there is no driver to ask.
  CHECK_THAT(isolation_of(cuda(first_slice), {}), Contains("a MIG slice"));
}

TEST_CASE("What a machine does not have, or has in another way, is told device by device") {
  CHECK(problems({cuda("0"), cuda(first_slice), {}}).empty());
  CHECK(problems({cuda("3")}) ==
        std::vector<std::string>{
            "worker.devices[0]: there is no device 3; `gpupoold devices` lists what there is"});
  CHECK_THAT(problems({{}, cuda("1")}).at(0),
             Contains("worker.devices[1]: GPU 1 is cut into MIG slices"));
  CHECK_THAT(problems({cuda("0"), cuda("GPU-a")}).at(0),
             Contains("worker.devices[1]: the same device as worker.devices[0]"));
  DeviceConfig greedy = cuda(first_slice);
  greedy.memory_bytes = 100'000'000'000;
  CHECK_THAT(problems({greedy}).at(0), Contains("memory_bytes is 100 GB, the device has 71.0 GB"));
  CHECK_THAT(mismatches({.devices = {cuda("0")}}, nullptr).at(0),
             Contains("cannot be asked for 0"));
  GpuList lost = two_gpus();
  lost.gpus[0].trouble = "GPU is lost";
  CHECK(mismatches({.devices = {cuda("0")}}, &lost) ==
        std::vector<std::string>{"worker.devices[0]: GPU is lost"});
}
