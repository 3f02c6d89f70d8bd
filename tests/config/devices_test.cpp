// What a node lends, as a configuration says it: cpu and cuda devices, their keys and mistakes.
#include "config/devices.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "config/reload.h"
#include "tests/config/reading.h"

using namespace gpupool;
namespace fs = std::filesystem;

namespace {

const std::string gpu = "GPU-8f1b3c5e-0a1b-2c3d-4e5f-0123456789AB";
const std::string slice = "MIG-8f1b3c5e-0a1b-2c3d-4e5f-0123456789ab";

std::string device(const std::string& lines) { return "[[worker.devices]]\n" + lines + "\n"; }
std::string cuda(const std::string& name, const std::string& lines = "") {
  return device("kind = \"cuda\"\ndevice = \"" + name + "\"\n" + lines);
}

// "LINE: the rest"; empty: it loads.
std::string problem(const std::string& text) {
  const auto config = parse_config(text, "gpupool.toml");
  if (config) return {};
  return config.error().detail.substr(std::string("gpupool.toml:").size());
}

// Takes the comment off the lines from `first` up to the next line that does not start with "# ".
std::string uncommented(std::string text, const std::string& first) {
  auto at = text.find("# " + first);
  REQUIRE(at != std::string::npos);
  while (at < text.size() && text.compare(at, 2, "# ") == 0) {
    text.erase(at, 2);
    at = text.find('\n', at) + 1;
  }
  return text;
}

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

}  // namespace

TEST_CASE("A cuda device is a GPU by number or UUID, or a MIG slice by UUID") {
  const Config config = parsed(cuda("0",
                                    "precision = \"bf16\"\nslots = 2\nmemory_bytes = 1000\n"
                                    "temperature_max = 80") +
                               cuda(gpu) + cuda(slice));
  REQUIRE(config.worker.devices.size() == 3);
  const DeviceConfig& first = config.worker.devices[0];
  CHECK(first.kind == DeviceKind::cuda);
  CHECK(first.device == "0");
  CHECK(first.precision == Precision::bf16);
  CHECK(first.slots == 2);
  CHECK(first.slot_memory() == 500);
  CHECK(first.temperature_max == 80);
  CHECK(config.worker.devices[1].device == gpu);
  CHECK(config.worker.devices[1].precision == Precision::f32);
  CHECK(config.worker.devices[2].device == slice);
  for (const std::string bad : {"", "00", "1000", "-1", "GPU-8f1b", "gpu 0", "MIG-GPU-8f1b/1/0",
                                "CPU-8f1b3c5e-0a1b-2c3d-4e5f-0123456789ab"}) {
    INFO(bad);
    CHECK_THAT(problem(cuda(bad)), StartsWith("3: worker.devices[0].device: expected the GPU's"));
  }
  CHECK_THAT(problem(device("kind = \"cuda\"")),
             Contains("1: worker.devices[0].device: expected the GPU's number") &&
                 Contains("found no such key"));
}

TEST_CASE("A key that means nothing for a kind of device is an error on its line") {
  CHECK_THAT(problem(cuda("0", "threads = 2")),
             StartsWith("4: worker.devices[0].threads: expected nothing, as a cuda device"));
  CHECK_THAT(problem(cuda("0", "cores = [1]")), StartsWith("4: worker.devices[0].cores: expected"));
  CHECK_THAT(problem(device("threads = 1\ndevice = \"0\"")),
             StartsWith("3: worker.devices[0].device: expected nothing, as a cpu device"));
  CHECK_THAT(problem(device("temperature_max = 80")),
             StartsWith("2: worker.devices[0].temperature_max: expected nothing"));
  CHECK_THAT(problem(cuda("0", "temperature_max = 10")), StartsWith("4: "));
  CHECK_THAT(problem(cuda("0", "precision = \"f16\"")),
             StartsWith("4: worker.devices[0].precision: expected \"f32\" or \"bf16\""));
  CHECK_THAT(problem(device("memory_bytes = -1")), StartsWith("2: "));
  CHECK_THAT(problem("[worker]\nhealth_interval_s = 0\n"), StartsWith("2: "));
}

TEST_CASE("A GPU, and a core, belongs to one device") {
  CHECK_THAT(problem(cuda("0") + cuda("1") + cuda("0")),
             StartsWith("11: worker.devices[2].device: expected a GPU or slice that no other"));
  CHECK_THAT(problem(device("cores = [0, 1]") + device("cores = [2, 1]")),
             StartsWith("4: worker.devices[1].cores: expected cores that no other device has"));
}

TEST_CASE("Cores are one for each thread, and slots share them evenly") {
  const Config config = parsed(device("cores = [4, 5, 6, 7]\nslots = 2"));
  CHECK(config.worker.devices[0].threads == 4);
  CHECK(config.worker.devices[0].cores == std::vector<std::uint32_t>{4, 5, 6, 7});
  CHECK(problem(device("threads = 2\ncores = [0, 1]")).empty());
  CHECK_THAT(problem(device("threads = 3\ncores = [0, 1]")),
             StartsWith("3: worker.devices[0].cores: expected one core for each of the 3 threads"));
  CHECK_THAT(problem(device("cores = [0, 1, 2]\nslots = 2")),
             StartsWith("2: worker.devices[0].cores: expected as many for each of the 2 slots"));
  for (const std::string bad : {"[0, 0]", "[-1]", "[1024]", "[\"0\"]", "3", "[0.5]"}) {
    INFO(bad);
    CHECK_THAT(problem(device("cores = " + bad)),
               StartsWith("2: worker.devices[0].cores: expected a list of different whole"));
  }
}

TEST_CASE("An app that can't fit into a slot which it may run on is an error") {
  const auto app = [](const std::string& lines) {
    return "[[apps]]\nname = \"n\"\nexecutor = \"noop\"\n" + lines + "\n";
  };
  const std::string half = device("slots = 2\nmemory_bytes = 1000");
  CHECK(problem(half + app("memory_bytes = 500")).empty());
  CHECK(problem(half + app("")).empty());
  CHECK_THAT(problem(half + app("memory_bytes = 501")),
             StartsWith("7: apps[0].memory_bytes: expected at most 500, what a slot of "
                        "worker.devices[0] has, found 501"));
  CHECK(problem(device("") + app("memory_bytes = 501")).empty());  // a device without a limit
  CHECK(problem(device("partition = \"other\"\nmemory_bytes = 1") + device("") +
                app("memory_bytes = 501"))
            .empty());
}

TEST_CASE("The example GPU of gpupool.toml loads once it is uncommented") {
  std::string text = text_of("config/gpupool.toml");
  text.replace(text.find("../models/emoji"), 15, fs::absolute("models/emoji").string());
  const Config config =
      parsed(uncommented(text, "[[worker.devices]]\n# kind = \"cuda\""), "config/gpupool.toml");
  REQUIRE(config.worker.devices.size() == 3);
  const DeviceConfig& last = config.worker.devices.back();
  CHECK(last.kind == DeviceKind::cuda);
  CHECK(is_gpu_uuid(last.device));
  CHECK(last.precision == Precision::bf16);
  CHECK(last.temperature_max == DeviceConfig{}.temperature_max);
}

TEST_CASE("h200.toml is eight whole H200, and its halves load once they are uncommented") {
  const auto whole = load_config("config/h200.toml");
  INFO((whole ? "" : whole.error().detail));
  REQUIRE(whole);
  REQUIRE(whole->worker.devices.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(whole->worker.devices[i].kind == DeviceKind::cuda);
    CHECK(whole->worker.devices[i].device == std::to_string(i));
    CHECK(whole->worker.devices[i].slots == 1);
  }
  std::string text = text_of("config/h200.toml");
  text = uncommented(text,
                     "[[worker.devices]]\n# kind = \"cuda\"\n# device = \"MIG-00000000-0000-"
                     "0000-0000-000000000071\"");
  text = uncommented(text,
                     "[[worker.devices]]\n# kind = \"cuda\"\n# device = \"MIG-00000000-0000-"
                     "0000-0000-000000000072\"");
  text.replace(text.find("../models/emoji"), 15, fs::absolute("models/emoji").string());
  const Config sliced = parsed(text, "config/h200.toml");
  REQUIRE(sliced.worker.devices.size() == 10);
  CHECK(is_mig_uuid(sliced.worker.devices[9].device));
  // Sharing stands in place of a GPU's own table.
  CHECK_THAT(problem(uncommented(text, "[[worker.devices]]\n# kind = \"cuda\"\n# device = \"6\"")),
             Contains("device: expected a GPU or slice that no other device has"));
}

TEST_CASE("What a node lends changes with a restart, every key of it") {
  const Config running = parsed(cuda("0") + device(""));
  const auto waits = [&](const std::string& text) {
    const auto next = reload(running, parsed(text));
    REQUIRE(next);
    return next->waiting;
  };
  CHECK(waits(cuda("0") + device("")).empty());
  const std::vector<std::string> devices{"worker.devices"};
  CHECK(waits(cuda("1") + device("")) == devices);
  CHECK(waits(cuda("0", "precision = \"bf16\"") + device("")) == devices);
  CHECK(waits(cuda("0", "temperature_max = 80") + device("")) == devices);
  CHECK(waits(cuda("0", "memory_bytes = 5") + device("")) == devices);
  CHECK(waits(cuda("0") + device("cores = [0]")) == devices);
  CHECK(waits(cuda("0") + device("") + "[worker]\noverheat_s = 1\n") ==
        std::vector<std::string>{"worker.overheat_s"});
}
