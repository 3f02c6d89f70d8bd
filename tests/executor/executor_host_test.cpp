#include <signal.h>
#include <sys/wait.h>

#include "tests/executor/harness.h"

namespace gpupool {
namespace {

std::string stored(const TestHost& test, const ResultRef& ref) {
  const auto piece = test.results->read(ref.hash, 0);
  return piece ? piece->bytes : "";
}

// Runs `body` in a process of its own, as a worker that a test may stop or kill.
pid_t worker_process(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    body();
    ::_exit(0);
  }
  return pid;
}

bool is_running(const TemporaryFolder& folder) {
  return !processes_naming(folder.path().string()).empty();
}

}  // namespace

TEST_CASE("A result is in the store before it is reported") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("draw");
  REQUIRE(test.reports.next<ExecutorBegan>());
  const auto step = test.reports.next<ExecutorStep>();
  REQUIRE(step);
  CHECK(step->of_steps == 2);
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc{});
  CHECK(done->result.node == NodeId{7});
  CHECK(done->result.media_type == "text/plain");
  CHECK(stored(test, done->result) == "picture of draw");
}

TEST_CASE("An executor stays resident and serves run after run") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("one");
  REQUIRE(test.reports.next<ExecutorDone>());
  const auto processes = processes_naming(folder.path().string());
  test.hand_over("two", JobId{2});
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->job == JobId{2});
  CHECK(processes_naming(folder.path().string()) == processes);
}

TEST_CASE("A result that the store can't take ends the run as result_not_stored") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  std::filesystem::remove_all(folder.path() / "results");
  test.run("draw");
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc::result_not_stored);
  CHECK(done->result.hash.empty());
}

TEST_CASE("A program's own failure is reported with its words") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("fail");
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc::program_failed);
  CHECK(done->detail == "it did not want to");
}

TEST_CASE("A crash is reported with its signal, and the slot's executor can be started again") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("crash");
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->signal == SIGSEGV);
  test.run("draw");
  CHECK(test.reports.next<ExecutorDone>());
}

TEST_CASE("An exit is reported with its code") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("exit");
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->signal == 0);
  CHECK(exited->exit_code == 7);
}

TEST_CASE("An executor that speaks nonsense is killed") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("speak nonsense");
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->signal == SIGKILL);
  CHECK_FALSE(is_running(folder));
}

TEST_CASE("A program that is not there or refuses to start is reported as an exit with a reason") {
  TemporaryFolder folder;
  SECTION("it exits at once") {
    TestHost test{folder.path(), "broken"};
    test.host->perform(StartExecutor{.slot = {}, .app = "fake"});
    const auto exited = test.reports.next<ExecutorExited>();
    REQUIRE(exited);
    CHECK(exited->exit_code == 5);
  }
  SECTION("it was taken away after the host had opened") {
    TestHost test{folder.path()};
    const auto program = folder.path() / "program";
    std::filesystem::copy_file(built("gpupool-fake-executor"), program);
    test.host.reset();
    auto opened = ExecutorHost::open(
        test.config, NodeId{7}, {.supervisor = built("gpupool-supervisor"), .diffusion = program},
        *test.results, [&](ToWorker message) { test.reports.add(std::move(message)); });
    REQUIRE(opened);
    test.host = *std::move(opened);
    std::filesystem::remove(program);
    test.host->perform(StartExecutor{.slot = {}, .app = "fake"});
    const auto exited = test.reports.next<ExecutorExited>();
    REQUIRE(exited);
    CHECK(exited->detail.find("No such file") != std::string::npos);
  }
}

TEST_CASE("At its end a run gets SIGTERM, stops, and its executor stays resident") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("draw until stopped");
  REQUIRE(test.reports.next<ExecutorBegan>());
  const Instant asked = boot_time();
  test.end_within(milliseconds(100), seconds(60));
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->stopped);
  CHECK(boot_time() - asked >= milliseconds(100));
  test.host->perform(Disarm{});
  test.hand_over("draw", JobId{2});
  CHECK(test.reports.next<ExecutorDone>());
}

TEST_CASE("A later end replaces an earlier one, and a disarmed one never comes") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("draw until stopped");
  REQUIRE(test.reports.next<ExecutorBegan>());
  // The first end is far enough away to be replaced in time on a machine that is busy.
  test.end_within(milliseconds(1'500), milliseconds(50));
  test.host->perform(Disarm{});
  const Instant asked = boot_time();
  test.end_within(milliseconds(2'500), seconds(60));
  REQUIRE(test.reports.next<ExecutorDone>());
  CHECK(boot_time() - asked >= milliseconds(2'500));
}

TEST_CASE("What ignores SIGTERM is killed after the grace, with everything that it started") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("ignore SIGTERM with a daemon");
  REQUIRE(test.reports.next<ExecutorStep>());
  REQUIRE(eventually([&] { return processes_naming(folder.path().string()).size() == 3; }));
  const Instant asked = boot_time();
  test.end_within(milliseconds(50), milliseconds(150));
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(boot_time() - asked >= milliseconds(200));
  CHECK(exited->signal == SIGKILL);
  CHECK_FALSE(is_running(folder));
}

TEST_CASE("KillExecutor leaves nothing, not even a daemon of an earlier run") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("leave a daemon");
  REQUIRE(test.reports.next<ExecutorDone>());
  test.host->perform(KillExecutor{});
  REQUIRE(test.reports.next<ExecutorExited>());
  CHECK_FALSE(is_running(folder));
}

TEST_CASE("kill -9 of a supervisor leaves nothing and is reported") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("ignore SIGTERM with a daemon");
  REQUIRE(test.reports.next<ExecutorStep>());
  const auto children = descendants_of(::getpid());
  REQUIRE_FALSE(children.empty());
  ::kill(children.front().pid, SIGKILL);  // nearest kin first: the supervisor
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->detail == "its supervisor was killed");
  CHECK_FALSE(is_running(folder));
}

TEST_CASE("A stopped supervisor is killed when KillExecutor is said again") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("ignore SIGTERM");
  REQUIRE(test.reports.next<ExecutorStep>());
  const auto children = descendants_of(::getpid());
  REQUIRE_FALSE(children.empty());
  ::kill(children.front().pid, SIGSTOP);
  test.host->perform(KillExecutor{});
  test.host->perform(KillExecutor{});
  REQUIRE(test.reports.next<ExecutorExited>());
  CHECK_FALSE(is_running(folder));
}

TEST_CASE("A host that goes takes its executors with it") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("ignore SIGTERM with a daemon");
  REQUIRE(test.reports.next<ExecutorStep>());
  test.host.reset();
  CHECK_FALSE(is_running(folder));
}

TEST_CASE("A stopped worker can't let a run go on") {
  TemporaryFolder folder;
  const pid_t worker = worker_process([&] {
    TestHost test{folder.path()};
    test.run("ignore SIGTERM with a daemon");
    test.reports.next<ExecutorStep>();
    test.end_within(milliseconds(300), milliseconds(100));
    test.wait_until_performed();
    ::raise(SIGSTOP);
  });
  int status = 0;
  REQUIRE(::waitpid(worker, &status, WUNTRACED) == worker);
  REQUIRE(WIFSTOPPED(status));
  CHECK(eventually([&] { return !is_running(folder); }));
  ::kill(worker, SIGKILL);
  ::waitpid(worker, &status, 0);
}

TEST_CASE("When a worker is killed, everything that it started dies") {
  TemporaryFolder folder;
  const pid_t worker = worker_process([&] {
    TestHost test{folder.path()};
    test.run("ignore SIGTERM with a daemon");
    test.reports.next<ExecutorStep>();
    ::raise(SIGSTOP);
  });
  int status = 0;
  REQUIRE(::waitpid(worker, &status, WUNTRACED) == worker);
  CHECK(is_running(folder));
  ::kill(worker, SIGKILL);
  ::waitpid(worker, &status, 0);
  CHECK(eventually([&] { return !is_running(folder); }));
}

TEST_CASE("A new host ends what an earlier one left, and only that") {
  TemporaryFolder folder;
  const pid_t stranger = worker_process([] {
    for (;;) ::pause();
  });
  const auto named = process_named(stranger);
  REQUIRE(named);
  const pid_t left_behind = worker_process([] {
    for (;;) ::pause();
  });
  const auto left_name = process_named(left_behind);
  REQUIRE(left_name);
  std::filesystem::create_directories(folder.path() / "executors");
  std::ofstream{folder.path() / "executors" / "slot-0"}
      << boot_id() << "\nno-such-marker\n"
      << named->pid << " " << named->started + 1 << "\n"  // its pid, another process
      << left_name->pid << " " << left_name->started << "\n";
  TestHost test{folder.path()};
  int status = 0;
  REQUIRE(::waitpid(left_behind, &status, 0) == left_behind);
  CHECK(WIFSIGNALED(status));
  CHECK(is_alive(*named));
  CHECK_FALSE(std::filesystem::exists(folder.path() / "executors" / "slot-0"));
  ::kill(stranger, SIGKILL);
  ::waitpid(stranger, &status, 0);
}

TEST_CASE("Two workers can't share a folder") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  const auto second = ExecutorHost::open(
      test.config, NodeId{8},
      {.supervisor = built("gpupool-supervisor"), .diffusion = built("gpupool-fake-executor")},
      *test.results, [](ToWorker) {});
  REQUIRE_FALSE(second);
  CHECK(second.error().code == Errc::journal_locked);
}

TEST_CASE("An executor inherits no descriptor but its socket") {
  TemporaryFolder folder;
  const int leaky = ::dup(STDERR_FILENO);  // without O_CLOEXEC, as libraries do
  TestHost test{folder.path()};
  test.run("count descriptors");
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  // The one is its own: its signalfd.
  CHECK(stored(test, done->result) == "1");
  ::close(leaky);
}

TEST_CASE("An executor of an app that this node doesn't know exits at once, and says why") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.host->perform(StartExecutor{.slot = {}, .app = "unknown"});
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->detail == "no app unknown here");
  CHECK(descendants_of(::getpid()).empty());
}

}  // namespace gpupool
