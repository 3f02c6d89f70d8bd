// The built-in executor itself, under its supervisor, with the model of the repository.
#include <sys/wait.h>

#include <cstdlib>

#include "config/limits.h"
#include "tests/executor/harness.h"

namespace gpupool {
namespace {

class DiffusionHost {
 public:
  explicit DiffusionHost(const std::filesystem::path& folder) {
    const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
    config.worker.folder = folder.string();
    config.worker.devices = {DeviceConfig{}, DeviceConfig{}};
    config.apps.front().model =
        (std::filesystem::path(source ? source : ".") / "models/emoji").string();
    auto opened = ResultStore::open(folder / "results", {.bytes_max = 1 << 24}, wall_time());
    REQUIRE(opened);
    results = *std::move(opened);
    auto host_opened = ExecutorHost::open(
        config, NodeId{7},
        {.supervisor = built("gpupool-supervisor"), .diffusion = built("gpupool-diffusion")},
        *results, [this](ToWorker message) { reports.add(std::move(message)); });
    if (!host_opened) FAIL(host_opened.error().detail);
    host = *std::move(host_opened);
    start({0});
  }
  void start(SlotIndex slot) {
    host->perform(StartExecutor{.slot = slot, .app = "emoji"});
    REQUIRE(reports.next<ExecutorReady>());
  }

  ExecutorDone draw(std::vector<Argument> arguments, JobId job = JobId{1}) {
    hand_over(std::move(arguments), job);
    const auto done = reports.next<ExecutorDone>();
    REQUIRE(done);
    CHECK(done->job == job);
    return *done;
  }
  void hand_over(std::vector<Argument> arguments, JobId job) {
    host->perform(StartRun{.slot = {},
                           .job = job,
                           .attempt = 1,
                           .app = "emoji",
                           .body = JobRequest{.app = "emoji", .arguments = std::move(arguments)}});
  }

  Config config = default_config();
  std::unique_ptr<ResultStore> results;
  Reports reports;
  std::unique_ptr<ExecutorHost> host;
};

}  // namespace

TEST_CASE("The diffusion executor draws a picture, and the same one again from the same seed") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  const std::vector<Argument> wish{
      {"prompt", "a red heart"}, {"steps", "2"}, {"seed", "7"}, {"pixels", "64"}};
  const ExecutorDone first = test.draw(wish);
  CHECK(first.cause == Errc{});
  CHECK(first.result.media_type == "image/png");
  const auto piece = test.results->read(first.result.hash, 0);
  REQUIRE(piece);
  CHECK(piece->bytes.substr(1, 3) == "PNG");
  CHECK(piece->total == first.result.bytes);
  CHECK(test.draw(wish, JobId{2}).result.hash == first.result.hash);
}

TEST_CASE(
    "The log of a picture says what the model is, which words it dropped and how fast it was") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  const ExecutorDone done =
      test.draw({{"prompt", "a red blorpish heart"}, {"steps", "2"}, {"pixels", "32"}});
  const auto log = test.results->read(done.log.hash, 0);
  REQUIRE(log);
  CHECK_THAT(log->bytes, Catch::Contains("weights is resident, loaded in") &&
                             Catch::Contains("unknown words, dropped: blorpish") &&
                             Catch::Contains("drawn after 2 of 2 steps in") &&
                             Catch::Contains("ms a step"));
}

TEST_CASE("The diffusion executor tells its steps, one after the other") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  test.hand_over({{"prompt", "a red heart"}, {"steps", "3"}, {"pixels", "32"}}, JobId{1});
  REQUIRE(test.reports.next<ExecutorBegan>());
  for (std::uint32_t step = 1; step <= 3; ++step) {
    const auto told = test.reports.next<ExecutorStep>();
    REQUIRE(told);
    CHECK(told->step == step);
    CHECK(told->of_steps == 3);
  }
}

TEST_CASE("SIGTERM stops the diffusion executor at its next step, and it draws the next picture") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  test.hand_over({{"prompt", "a red heart"}, {"steps", "1000"}}, JobId{1});
  REQUIRE(test.reports.next<ExecutorStep>());
  const Instant now = boot_time();
  test.host->perform(EndBy{.slot = {}, .at = now, .kill_at = now + seconds(60)});
  const auto stopped = test.reports.next<ExecutorDone>();
  REQUIRE(stopped);
  CHECK(stopped->stopped);
  test.host->perform(Disarm{});
  CHECK(test.draw({{"prompt", "a cat"}, {"steps", "1"}}, JobId{2}).cause == Errc{});
}

TEST_CASE("The diffusion executor refuses arguments that it can't read, and goes on") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  const ExecutorDone refused = test.draw({{"steps", "3"}});
  CHECK(refused.cause == Errc::program_failed);
  CHECK(refused.detail == "prompt is missing: 1 to 1000 bytes of text");
  CHECK(test.draw({{"prompt", "a cat"}, {"steps", "1"}}, JobId{2}).cause == Errc{});
}

TEST_CASE("Two executors draw one picture as its ranks, the second as late as it likes") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  test.start({1});
  const std::vector<Argument> wish{
      {"prompt", "a red heart"}, {"steps", "3"}, {"seed", "7"}, {"pixels", "64"}};
  const ExecutorDone alone = test.draw(wish);
  const auto rank = [&](std::uint32_t number) {
    return StartRun{.slot = {number},
                    .job = JobId{2},
                    .attempt = 1,
                    .app = "emoji",
                    .body = JobRequest{.app = "emoji", .arguments = wish},
                    .rank = number,
                    .ranks = 2};
  };
  const auto found_by = [](SlotIndex slot, const RankLeft& left) {
    return RankFound{.slot = slot,
                     .job = left.job,
                     .attempt = left.attempt,
                     .key = left.key,
                     .value = left.value};
  };
  test.host->perform(rank(0));
  const auto first = test.reports.next<RankLeft>();
  REQUIRE(first);
  test.host->perform(rank(1));
  test.host->perform(found_by({1}, *first));  // in one piece with the run
  std::string hash;
  for (int ends = 0; ends < 2;) {
    const auto report = test.reports.next_of<RankLeft, ExecutorDone>();
    REQUIRE(report);
    if (const auto* left = std::get_if<RankLeft>(&*report)) {
      test.host->perform(found_by({1 - left->slot.value}, *left));
      continue;
    }
    const auto& done = std::get<ExecutorDone>(*report);
    INFO(done.detail);
    CHECK(done.cause == Errc{});
    CHECK(done.result.hash.empty() == (done.slot == SlotIndex{1}));
    hash += done.result.hash;
    ++ends;
  }
  CHECK(hash == alone.result.hash);  // the same bytes
}

TEST_CASE("A rank whose peer dies ends with an error, and draws alone afterwards") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  const std::vector<Argument> wish{{"prompt", "a red heart"}, {"steps", "3"}};
  test.host->perform(StartRun{.slot = {},
                              .job = JobId{2},
                              .attempt = 1,
                              .app = "emoji",
                              .body = JobRequest{.app = "emoji", .arguments = wish},
                              .ranks = 2});
  REQUIRE(test.reports.next<RankLeft>());
  test.host->perform(RankFound{
      .slot = {}, .job = JobId{2}, .attempt = 1, .key = "1", .value = "no address of gloo's"});
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc::executor_crashed);
  CHECK(test.draw(wish, JobId{3}).cause == Errc{});
}

TEST_CASE("The diffusion executor refuses cores that are none, or are not there") {
  const auto exit_code = [](const std::string& cores) {
    const char* source = std::getenv("GPUPOOL_SOURCE_DIR");
    const std::string command = built("gpupool-diffusion").string() + " --model " +
                                (source ? source : ".") + "/models/emoji --threads 1 --cores " +
                                cores + " 2> /dev/null";
    return WEXITSTATUS(std::system(command.c_str()));
  };
  for (const std::string cores : {"x", "''", "0,", ",0", "0x", "99999999999"}) {
    INFO(cores);
    CHECK(exit_code(cores) == 2);
  }
  for (const std::string cores : {"-1", "1023", "100000", "0,0"}) {
    INFO(cores);
    CHECK(exit_code(cores) == 1);
  }
}

TEST_CASE("An idle diffusion executor ends by itself on SIGTERM") {
  TemporaryFolder folder;
  DiffusionHost test{folder.path()};
  const Instant now = boot_time();
  test.host->perform(EndBy{.slot = {}, .at = now, .kill_at = now + seconds(60)});
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->signal == 0);
  CHECK(exited->exit_code == 0);
}

}  // namespace gpupool
