// The log of a run whose two outputs are told apart: each byte is of the output that it was written
// to, however often the run changes between them.
#include "actors/worker/executor_log.h"

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>

#include "config/limits.h"
#include "tests/executor/harness.h"

namespace gpupool {
namespace {

const Instant noon{1'700'000'000'000};
constexpr SlotIndex slot{0};
const JobId job{7};

struct Texts {
  std::string output;
  std::string error;
};

// A run of a command, and somebody who reads its log from where they are.
struct LoggedRun {
  TemporaryFolder folder;
  std::unique_ptr<ResultStore> store;
  RunLogs logs;
  FetchLog fetch{.job = job, .attempt = 1};
  Texts heard;

  LoggedRun() {
    auto opened = ResultStore::open(folder.path(), {.bytes_max = 64 * 1024 * 1024}, noon);
    REQUIRE(opened);
    store = *std::move(opened);
    logs.begin(slot, job, 1);
  }
  void write(LogStream stream, std::string bytes) {
    logs.add(slot, {.job = job, .attempt = 1, .stream = stream, .bytes = std::move(bytes)});
  }
  ResultRef end() { return logs.end(slot, NodeId{1}, *store); }
  // All that there is, piece by piece.
  void read_on() {
    for (;;) {
      const LogChunk chunk = logs.read(fetch, *store);
      REQUIRE(chunk.error == Errc{});
      std::size_t at = 0;
      for (const LogPart& part : chunk.parts) {
        const auto bytes = static_cast<std::size_t>(part.bytes);
        (part.stream == LogStream::error ? heard.error : heard.output) +=
            chunk.bytes.substr(at, bytes);
        at += bytes;
      }
      REQUIRE(at == chunk.bytes.size());
      fetch.offset += std::ssize(chunk.bytes);
      if (fetch.offset >= chunk.total) return;
    }
  }
};

}  // namespace

TEST_CASE("Two outputs stay apart beyond the most changes between them, for whoever reads along") {
  LoggedRun run;
  Texts written;
  for (int i = 0; i < 3 * limits::log_parts_max; ++i) {
    const std::string number = std::to_string(i) + "\n";
    run.write(LogStream::output, "out " + number);
    written.output += "out " + number;
    for (int k = i % 100 == 0 ? 3 : 1; k > 0; --k) {
      run.write(LogStream::error, "error " + number);
      written.error += "error " + number;
    }
    if (i % 500 == 0) run.read_on();
  }
  CHECK(run.end().bytes == std::ssize(written.output) + std::ssize(written.error));
  run.read_on();
  CHECK((run.heard.output == written.output));
  CHECK((run.heard.error == written.error));
}

TEST_CASE("What is held back counts among the bytes that a log holds") {
  LoggedRun run;
  for (int i = 0; i < 8'000; ++i)
    run.write(i % 2 == 0 ? LogStream::output : LogStream::error, std::string(200, 'x'));
  CHECK(run.end().bytes <= limits::log_bytes_max);
  run.read_on();
  CHECK(run.heard.error.find("more bytes were written and not kept") != std::string::npos);
}

}  // namespace gpupool
