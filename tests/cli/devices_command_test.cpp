#include "cli/devices_command.h"

#include <catch2/catch.hpp>

using namespace gpupool;
using Catch::Matchers::Contains;

namespace {

Machine machine() {
  return {.cpu = {.model = "EPYC 9554",
                  .cores = 2,
                  .features = {"avx2", "avx512f"},
                  .memory_bytes = 8'000'000'000},
          .gpus = GpuList{.driver = "580.65.06",
                          .gpus = {{.index = 0,
                                    .name = "NVIDIA H200",
                                    .uuid = "GPU-a",
                                    .memory_bytes = 150'754'820'096,
                                    .memory_used_bytes = 1'000'000'000,
                                    .temperature = 41,
                                    .uncorrected_errors = 0},
                                   {.index = 1,
                                    .name = "NVIDIA H200",
                                    .uuid = "GPU-b",
                                    .is_sliced = true,
                                    .slices = {{.uuid = "MIG-c", .name = "3g.71gb"}}},
                                   {.index = 2, .trouble = "GPU is lost"}}}};
}

}  // namespace

TEST_CASE("The CPU's facts are read from what Linux says of it") {
  const CpuFacts facts = facts_of(
      {.cpuinfo = "processor\t: 0\nmodel name\t: EPYC 9554 64-Core\nflags\t\t: fpu avx2 fma "
                  "avx512f avx512_bf16\n\nprocessor\t: 1\nmodel name\t: other\n",
       .meminfo = "MemTotal:       16384 kB\nMemFree:  1 kB\n"},
      3);
  CHECK(facts.model == "EPYC 9554 64-Core");
  CHECK(facts.cores == 3);
  CHECK(facts.features == std::vector<std::string>{"avx2", "fma", "avx512f", "avx512_bf16"});
  CHECK(facts.memory_bytes == 16384 * 1024);
  const CpuFacts unknown = facts_of({}, 1);
  CHECK(unknown.model.empty());
  CHECK(unknown.features.empty());
  CHECK(unknown.memory_bytes == 0);
  CHECK(facts_of({.cpuinfo = "flags : avx2x xfma\n", .meminfo = ""}, 1).features.empty());
}

TEST_CASE("What a machine has is listed line by line") {
  const std::string text = text_of(machine(), {});
  CHECK_THAT(text, Contains("cpu: EPYC 9554, 2 cores, 8.0 GB, avx2 avx512f\n"));
  CHECK_THAT(text, Contains("driver: 580.65.06\n"));
  CHECK_THAT(text, Contains("gpu 0: NVIDIA H200, GPU-a, 151 GB (1.0 GB used), 41 degrees Celsius, "
                            "0 uncorrected memory errors\n"));
  CHECK_THAT(text, Contains("gpu 1: NVIDIA H200, GPU-b, memory errors are not counted, MIG: 1 "
                            "slices\n  MIG-c: 3g.71gb\n"));
  CHECK_THAT(text, Contains("gpu 2: cannot be used: GPU is lost\n"));
  CHECK_THAT(text_of({.cpu = {.cores = 1}, .without = "no driver here"}, {}),
             Contains("no GPU: no driver here\n"));
  CHECK_THAT(text_of({.gpus = GpuList{.driver = "580"}}, {}),
             Contains("no GPU: driver 580 has found none"));
}

TEST_CASE("How a configuration cuts a machine is listed slot by slot, with what can't be") {
  const WorkerConfig worker{
      .devices = {{.threads = 4},
                  {.kind = DeviceKind::cuda,
                   .slots = 2,
                   .device = "0",
                   .precision = Precision::bf16,
                   .memory_bytes = 130'000'000'000},
                  {.kind = DeviceKind::cuda, .partition = "halves", .device = "MIG-c"},
                  {.kind = DeviceKind::cuda, .device = "5"}}};
  const std::string text = text_of(machine(), Cut{.file = "lab.toml", .worker = &worker});
  CHECK_THAT(text, Contains("lab.toml lends:\n  slot 0: cpu, 4 threads, f32, partition default: "));
  CHECK_THAT(text, Contains("  slots 1 to 2: cuda 0 (NVIDIA H200), bf16, 65.0 GB a slot, partition "
                            "default: 2 jobs share the GPU"));
  CHECK_THAT(text, Contains("  slot 3: cuda MIG-c (3g.71gb), f32, partition halves: a MIG slice"));
  CHECK_THAT(text, Contains("problem: worker.devices[3]: there is no device 5"));
  CHECK_THAT(text, Contains("problem: worker.devices[0]: 4 threads on 2 cores take turns"));
  const Json json = json_of(machine(), Cut{.file = "lab.toml", .worker = &worker});
  CHECK(json["gpus"].size() == 3);
  CHECK(json["gpus"][0]["temperature"] == 41);
  CHECK(json["gpus"][1]["slices"][0]["uuid"] == "MIG-c");
  CHECK(json["gpus"][2]["trouble"] == "GPU is lost");
  CHECK(json["devices"][1]["first_slot"] == 1);
  CHECK(json["devices"][2]["partition"] == "halves");
  CHECK(json["devices"][3]["found"] == false);
  CHECK(json["problems"].size() == 2);
  CHECK(json["no_driver"].is_null());
}
