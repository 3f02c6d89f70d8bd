// What executors do wrong, under real supervisors: only their own job is hurt, the slot comes back,
// and no process is left. And what they write, and how much of a result they may give.
#include <signal.h>

#include "actors/worker/fault.h"
#include "config/limits.h"
#include "tests/executor/harness.h"

namespace gpupool {
namespace {

constexpr SlotIndex other_slot{1};

std::string stored(const TestHost& test, const ResultRef& ref) {
  std::string bytes;
  for (;;) {
    const auto piece = test.results->read(ref.hash, std::ssize(bytes));
    if (!piece || piece->bytes.empty()) return bytes;
    bytes += piece->bytes;
  }
}

// A run on the other slot goes on whatever happens here, and this slot takes the next run.
void check_that_the_rest_is_well(TestHost& test) {
  test.hand_over("draw", JobId{8}, other_slot);
  auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->slot == other_slot);
  CHECK(done->cause == Errc{});
  test.run("draw", JobId{9});
  done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->job == JobId{9});
  CHECK(done->cause == Errc{});
}

std::size_t processes_of_slot() { return descendants_of(::getpid()).size(); }

}  // namespace

TEST_CASE("An executor that takes too much memory hurts its own job only") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.start(other_slot);
  test.run("leak memory");
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->slot == SlotIndex{});
  CHECK((exited->signal != 0 || exited->exit_code != 0));
  check_that_the_rest_is_well(test);
}

TEST_CASE(
    "An executor that hangs is killed with all that it forked, whatever sessions they opened") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.start(other_slot);
  test.run("leave a family");
  REQUIRE(test.reports.next<ExecutorStep>());
  // Two supervisors, two executors, and 3 + 9 + 27 descendants.
  REQUIRE(eventually([] { return processes_of_slot() == 4 + 39; }));
  test.host->perform(KillExecutor{});
  REQUIRE(test.reports.next<ExecutorExited>());
  CHECK(processes_of_slot() == 2);
  check_that_the_rest_is_well(test);
}

TEST_CASE("An executor that stops itself is killed at its end all the same") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.start(other_slot);
  test.run("stop itself");
  REQUIRE(test.reports.next<ExecutorStep>());
  test.end_within(milliseconds(50), milliseconds(100));
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->signal == SIGKILL);
  CHECK(processes_of_slot() == 2);
  check_that_the_rest_is_well(test);
}

TEST_CASE("An executor that writes for ever is killed at its end, its log bounded, others served") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.start(other_slot);
  test.run("write for ever");
  REQUIRE(test.reports.next<ExecutorStep>());
  test.end_within(milliseconds(300), milliseconds(100));
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->log.bytes <= limits::log_bytes_max);
  CHECK_THAT(stored(test, exited->log), Catch::Contains("more bytes were written and not kept"));
  check_that_the_rest_is_well(test);
}

TEST_CASE("What a run writes to stdout and stderr is its log; the next run's is its own") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("write a log");
  auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->log.media_type == "text/plain");
  CHECK(done->log.node == NodeId{7});
  CHECK(stored(test, done->log) == "to stdout\nto stderr\n");
  test.hand_over("draw", JobId{2});
  done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->log.hash.empty());  // it wrote nothing
}

TEST_CASE("The last words of a run that crashed are its log") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("write and crash");
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->exit_code == 9);
  CHECK(stored(test, exited->log) == "last words\n");
}

TEST_CASE("Why an executor could not start stands in its exit's detail") {
  TemporaryFolder folder;
  TestHost test{folder.path(), "broken"};
  test.host->perform(StartExecutor{.slot = {}, .app = "fake"});
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->detail == "the model is no model");
  CHECK(exited->log.hash.empty());
}

TEST_CASE(
    "An executor with a poisoned context is told by its exit code, and its slot takes another") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.start(other_slot);
  test.run("find its context poisoned");
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(exited->signal == 0);
  CHECK(cause_of_exit(exited->signal, exited->exit_code) == Errc::device_failed);
  CHECK(exited->app == "fake");
  check_that_the_rest_is_well(test);
}

TEST_CASE("A log that is too long keeps its beginning, and its last line says what is missing") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  test.run("write much");
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->log.bytes <= limits::log_bytes_max);
  const std::string log = stored(test, done->log);
  CHECK(std::ssize(log) == done->log.bytes);
  const auto line = log.rfind("\n[");
  REQUIRE(line != std::string::npos);
  const std::size_t left_out = std::strtoull(log.c_str() + line + 2, nullptr, 10);
  CHECK(left_out + line + (log[line - 1] == 'x' && line % 64 == 63 ? 1 : 0) == 3U * 1024 * 1024);
}

TEST_CASE("The log of a run that is on can be read so far, and by its run when it is over") {
  TemporaryFolder folder;
  TestHost test{folder.path()};
  FetchLog fetch{.session = SessionId{2}, .query = 4, .job = JobId{1}, .attempt = 1};
  const auto read = [&] { return test.host->logs().read(fetch, *test.results); };
  CHECK(read().error == Errc::result_gone);
  test.run("write and wait");
  REQUIRE(eventually([&] { return read().bytes == "so far\n"; }));
  CHECK_FALSE(read().finished);
  CHECK(read().query == 4);
  CHECK(read().session == SessionId{2});
  fetch.offset = 3;
  CHECK(read().bytes == "far\n");
  CHECK(read().total == 7);
  fetch.attempt = 2;
  CHECK(read().error == Errc::result_gone);
  fetch.attempt = 1;
  test.host->perform(KillExecutor{});
  const auto exited = test.reports.next<ExecutorExited>();
  REQUIRE(exited);
  CHECK(read().finished);
  CHECK(read().bytes == "far\n");
  fetch.hash = exited->log.hash;
  fetch.attempt = 0;
  CHECK(read().bytes == "far\n");
  CHECK(read().finished);
}

TEST_CASE("A result of 64 MiB passes whole") {
  TemporaryFolder folder;
  TestHost test{folder.path(), "model", 4 * limits::result_bytes_max};
  test.run("result of " + std::to_string(limits::result_bytes_max));
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc{});
  CHECK(done->result.bytes == limits::result_bytes_max);
  const std::string bytes = stored(test, done->result);
  CHECK(std::ssize(bytes) == limits::result_bytes_max);
  CHECK(bytes.find_first_not_of('p') == std::string::npos);
}

TEST_CASE("A larger result is refused with the numbers, and nothing of it is kept") {
  TemporaryFolder folder;
  TestHost test{folder.path(), "model", 4 * limits::result_bytes_max};
  test.start(other_slot);
  std::int64_t bytes = 0;
  SECTION("by a byte") { bytes = limits::result_bytes_max + 1; }
  SECTION("by far") { bytes = limits::result_bytes_max + 1'000'000; }
  test.run("result of " + std::to_string(bytes));
  const auto done = test.reports.next<ExecutorDone>();
  REQUIRE(done);
  CHECK(done->cause == Errc::result_not_stored);
  CHECK_THAT(done->detail, Catch::Contains("a result of 6") &&
                               Catch::Contains(std::to_string(limits::result_bytes_max)));
  CHECK(test.results->bytes() == 0);
  test.host->perform(KillExecutor{});
  REQUIRE(test.reports.next<ExecutorExited>());
  CHECK(processes_of_slot() == 2);
  check_that_the_rest_is_well(test);
}

}  // namespace gpupool
