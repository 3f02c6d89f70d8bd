// What becomes of a slot, and of the run on it, when its device fails or is not well.
#include "actors/worker/fault.h"
#include "actors/worker/slot_share.h"
#include "tests/actors/worker/node.h"

using namespace gpupool;

namespace {

constexpr std::uint64_t no_errors = 0;

// One slot on a GPU, whose health is looked at every 5 s.
Config gpu_config() {
  Config config = test_config();
  config.worker.devices = {
      {.kind = DeviceKind::cuda, .device = "0", .temperature_max = 80},
  };
  return config;
}

DeviceHealth at(std::uint32_t temperature, std::uint64_t errors = no_errors) {
  return {.temperature = temperature, .uncorrected_errors = errors};
}

ExecutorExited exit_with(ExecutorExit ending, std::string detail = {}) {
  return {.slot = {}, .exit_code = static_cast<int>(ending), .detail = std::move(detail)};
}

void check_uncharged(const RunEnded& ended, Errc cause) {
  CHECK(ended.pool_fault);
  CHECK(ended.outcome == Outcome::failed);
  CHECK(ended.cause == cause);
}

}  // namespace

TEST_CASE("Faults are transient, of the device, or the program's own; only the last is charged") {
  CHECK(fault_of(Errc::program_failed) == Fault::program);
  CHECK(fault_of(Errc::device_failed) == Fault::device);
  for (const Errc cause : {Errc::executor_crashed, Errc::executor_stalled, Errc::result_not_stored,
                           Errc::start_limit_missed})
    CHECK(fault_of(cause) == Fault::transient);
  CHECK(cause_of_exit(0, static_cast<int>(ExecutorExit::device)) == Errc::device_failed);
  CHECK(cause_of_exit(0, static_cast<int>(ExecutorExit::poisoned)) == Errc::device_failed);
  CHECK(cause_of_exit(0, static_cast<int>(ExecutorExit::model)) == Errc::executor_crashed);
  CHECK(cause_of_exit(11, static_cast<int>(ExecutorExit::device)) == Errc::executor_crashed);
}

TEST_CASE("A slot whose device is not there goes down, says why at once, and is tried again") {
  Node node(gpu_config());
  node.join();
  node.tell(exit_with(ExecutorExit::device, "No CUDA GPUs are available"));
  const SlotChanged changed = only<SlotChanged>(node.effects);
  CHECK(changed.why == "No CUDA GPUs are available");
  CHECK(changed.name == node.config.worker.name);
  CHECK(node.slot().state == SlotState::down);
  CHECK(node.slot().why == "No CUDA GPUs are available");
  // Not after the second of a start that merely failed.
  CHECK(none<StartExecutor>(node.pass(seconds(9))));
  CHECK(all<StartExecutor>(node.pass(seconds(2))).size() == 1);
  node.tell(exit_with(ExecutorExit::device, "No CUDA GPUs are available"));
  CHECK(none<SlotChanged>(node.effects));  // it is known
  CHECK(none<StartExecutor>(node.pass(seconds(19))));
  CHECK(all<StartExecutor>(node.pass(seconds(2))).size() == 1);
  node.ready();
  CHECK(only<SlotChanged>(node.effects).why.empty());
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE(
    "A run whose executor ends with a poisoned context is the pool's fault, and its slot rests") {
  Node node(gpu_config());
  node.begin();
  node.tell(exit_with(ExecutorExit::poisoned));
  check_uncharged(only<RunEnded>(node.effects), Errc::device_failed);
  CHECK_FALSE(only<RunEnded>(node.effects).slots_free);
  CHECK(node.slot().state == SlotState::down);
  node.tell(node.lease(JobId{2}));
  CHECK(all<LeaseRefused>(node.effects).size() == 1);
  CHECK(none<StartExecutor>(node.pass(seconds(9))));
  CHECK(all<StartExecutor>(node.pass(seconds(2))).size() == 1);
}

TEST_CASE(
    "An executor that says its device failed is ended, and the slot checked before it is lent") {
  Node node(gpu_config());
  node.begin();
  node.tell(ExecutorDone{.slot = {},
                         .job = JobId{1},
                         .attempt = 1,
                         .cause = Errc::device_failed,
                         .detail = "an illegal memory access was encountered"});
  check_uncharged(only<RunEnded>(node.effects), Errc::device_failed);
  CHECK(all<KillExecutor>(node.effects).size() == 1);
  CHECK(node.slot().state == SlotState::down);
  CHECK(node.slot().why == "an illegal memory access was encountered");
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  CHECK(node.slot().why == "an illegal memory access was encountered");
  CHECK(all<StartExecutor>(node.pass(seconds(11))).size() == 1);
  node.ready();
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A device that fails run after run rests longer each time, until a run succeeds") {
  Node node(gpu_config());
  node.join();
  node.ready();
  const auto fail = [&](JobId job) {
    node.take(node.lease(job));
    node.tell(ExecutorBegan{.slot = {}, .job = job, .attempt = 1});
    node.tell(exit_with(ExecutorExit::poisoned));
    node.tell(EndSeen{job, 1});
  };
  const auto rest = [&] {
    Duration rested{};
    while (none<StartExecutor>(node.pass(seconds(1))) && rested < seconds(1000))
      rested = rested + seconds(1);
    node.ready();
    return rested;
  };
  fail(JobId{1});
  CHECK(rest() == seconds(9));
  fail(JobId{2});
  CHECK(rest() == seconds(19));
  node.take(node.lease(JobId{3}));
  node.tell(ExecutorBegan{.slot = {}, .job = JobId{3}, .attempt = 1});
  node.finish(JobId{3});
  node.tell(EndSeen{JobId{3}, 1});
  fail(JobId{4});
  CHECK(rest() == seconds(9));
}

TEST_CASE("A crash and a failing program leave the slot as ready as ever") {
  Node node(gpu_config());
  node.begin();
  node.tell(ExecutorDone{.slot = {}, .job = JobId{1}, .attempt = 1, .cause = Errc::program_failed});
  CHECK_FALSE(only<RunEnded>(node.effects).pool_fault);
  CHECK(node.slot().state == SlotState::free);
  node.tell(EndSeen{JobId{1}, 1});
  node.take(node.lease(JobId{2}));
  node.tell(ExecutorBegan{.slot = {}, .job = JobId{2}, .attempt = 1});
  node.tell(ExecutorExited{.slot = {}, .signal = 11});
  check_uncharged(only<RunEnded>(node.effects), Errc::executor_crashed);
  CHECK(all<StartExecutor>(node.effects).size() == 1);  // at once
}

TEST_CASE(
    "A lost GPU takes its run with it, uncharged, and its slots out until an operator resumes") {
  Node node(gpu_config());
  node.begin();
  node.tell(DeviceHealth{.lost = true, .detail = "GPU is lost"});
  CHECK(all<KillExecutor>(node.effects).size() == 1);
  node.tell(ExecutorExited{.slot = {}, .signal = 9});
  const RunEnded ended = only<RunEnded>(node.effects);
  check_uncharged(ended, Errc::device_failed);
  CHECK(ended.detail == "GPU lost: GPU is lost");
  CHECK(node.slot().state == SlotState::down);
  CHECK(none<StartExecutor>(node.pass(seconds(60))));
  node.tell(at(40));
  CHECK(node.slot().state == SlotState::down);
  node.tell(ResumeSlots{.epoch = node.epoch});
  CHECK(all<StartExecutor>(node.effects).size() == 1);
  node.ready();
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("Memory errors that were not corrected drain the slot; what runs goes on") {
  Node node(gpu_config());
  node.begin();
  node.tell(at(40, 2));
  CHECK(none<KillExecutor>(node.effects));
  CHECK(only<SlotChanged>(node.effects).why == "2 uncorrected memory errors");
  CHECK(node.slot().state == SlotState::running);
  node.finish();
  CHECK(only<RunEnded>(node.effects).outcome == Outcome::succeeded);
  CHECK_FALSE(only<RunEnded>(node.effects).slots_free);
  CHECK(node.slot().state == SlotState::down);
  // An operator has seen them; more of them count again.
  node.tell(ResumeSlots{.epoch = node.epoch});
  CHECK(node.slot().state == SlotState::free);
  node.tell(at(40, 2));
  CHECK(node.slot().state == SlotState::free);
  node.tell(at(40, 3));
  CHECK(node.slot().why == "1 uncorrected memory errors");
}

TEST_CASE("A GPU that is too hot for a while gets no jobs until it is cooler") {
  Node node(gpu_config());
  node.join();
  node.ready();
  node.tell(at(81));
  node.pass(seconds(29));
  CHECK(node.slot().state == SlotState::free);
  node.tell(at(80));  // not over its limit: the while begins anew
  node.tell(at(95));
  node.pass(seconds(29));
  node.tell(at(95));
  CHECK(node.slot().state == SlotState::free);
  node.pass(seconds(1));
  node.tell(at(95));
  CHECK(node.slot().state == SlotState::down);
  CHECK(node.slot().why == "over 80 degrees Celsius for 30 s");
  node.tell(at(78));
  CHECK(node.slot().state == SlotState::down);
  node.tell(at(75));
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("A driver that stops answering takes the slot out until it answers again") {
  Node node(gpu_config());
  node.join();
  node.ready();
  CHECK(none<SlotChanged>(node.pass(seconds(120))));  // none was ever heard: nothing is watched
  node.tell(at(40));
  CHECK(none<SlotChanged>(node.pass(seconds(59))));
  CHECK_FALSE(none<SlotChanged>(node.pass(seconds(2))));
  CHECK(node.slot().why == "its driver has not answered for 60 s");
  node.tell(at(40));
  CHECK(node.slot().state == SlotState::free);
}

TEST_CASE("Health is of the slots of its device alone, and of no CPU") {
  Config config = gpu_config();
  config.worker.devices.push_back({.kind = DeviceKind::cuda, .slots = 2, .device = "1"});
  config.worker.devices.push_back({});
  Node node(config);
  node.join();
  for (std::uint32_t slot = 0; slot < 4; ++slot)
    node.tell(ExecutorReady{.slot = {slot}, .app = "emoji"});
  const auto states = [&] {
    std::vector<SlotState> all;
    for (const SlotReport& one : node.worker.slot_reports()) all.push_back(one.state);
    return all;
  };
  using enum SlotState;
  node.tell(DeviceHealth{.device = 1, .lost = true});
  CHECK(states() == std::vector{free, down, down, free});
  node.tell(DeviceHealth{.device = 2, .lost = true});
  node.tell(DeviceHealth{.device = 9, .lost = true});
  CHECK(states() == std::vector{free, down, down, free});
  node.tell(ResumeSlots{.epoch = Epoch{node.epoch.value - 1}});  // a broker that leads no more
  CHECK(states() == std::vector{free, down, down, free});
}

TEST_CASE("Resuming tries a resting slot at once") {
  Node node(gpu_config());
  node.join();
  node.tell(exit_with(ExecutorExit::device, "No CUDA GPUs are available"));
  node.tell(ResumeSlots{.epoch = node.epoch});
  CHECK(all<StartExecutor>(node.effects).size() == 1);
}

TEST_CASE("Why a slot is down fits into every heartbeat, cut between characters") {
  Node node(gpu_config());
  node.join();
  std::string words;
  for (int i = 0; i < 100; ++i) words += "\xc3\xa4";
  node.tell(exit_with(ExecutorExit::device, words + "."));
  CHECK(node.slot().why == words.substr(0, 120));
  node.tell(ResumeSlots{.epoch = node.epoch});
  node.tell(exit_with(ExecutorExit::device, "." + words));
  CHECK(node.slot().why == "." + words.substr(0, 118));
}

TEST_CASE(
    "A slot's share is what its executor is told: threads and cores, or the one GPU it sees") {
  const WorkerConfig worker{
      .devices = {{.threads = 4, .slots = 2, .cores = {3, 4, 7, 9}},
                  {.threads = 1, .slots = 2},
                  {.kind = DeviceKind::cuda, .device = "MIG-1", .precision = Precision::bf16}}};
  const std::vector<SlotShare> shares = shares_of(worker);
  using Words = std::vector<std::string>;
  REQUIRE(shares.size() == 5);
  CHECK(shares[0].arguments == Words{"--threads", "2", "--cores", "3,4"});
  CHECK(shares[1].arguments == Words{"--threads", "2", "--cores", "7,9"});
  CHECK(shares[3].arguments == Words{"--threads", "1"});
  CHECK(shares[3].environment.empty());
  CHECK(shares[4].arguments == Words{"--device", "cuda:MIG-1", "--precision", "bf16"});
  CHECK(shares[4].environment ==
        Words{"CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=MIG-1"});
}
