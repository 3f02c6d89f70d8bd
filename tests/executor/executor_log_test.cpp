// The log of a run whose two outputs are told apart: each byte is of the output that it was written
// to, however often the run changes between them.
#include "actors/worker/executor_log.h"

#include <catch2/catch.hpp>
#include <string>

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

// What a reader gets who asks for all that there is, piece by piece, and keeps what they have.
void read_on(const RunLogs& logs, const ResultStore& store, FetchLog& fetch, Texts& texts) {
  for (;;) {
    const LogChunk chunk = logs.read(fetch, store);
    REQUIRE(chunk.error == Errc{});
    std::size_t at = 0;
    for (const LogPart& part : chunk.parts) {
      const auto bytes = static_cast<std::size_t>(part.bytes);
      (part.stream == LogStream::error ? texts.error : texts.output) +=
          chunk.bytes.substr(at, bytes);
      at += bytes;
    }
    REQUIRE(at == chunk.bytes.size());
    fetch.offset += std::ssize(chunk.bytes);
    if (fetch.offset >= chunk.total) return;
  }
}

}  // namespace

TEST_CASE("Two outputs stay apart beyond the most changes between them, for whoever reads along") {
  TemporaryFolder folder;
  const auto store = ResultStore::open(folder.path(), {.bytes_max = 64 * 1024 * 1024}, noon);
  REQUIRE(store);
  RunLogs logs;
  logs.begin(slot, job, 1);
  Texts written;
  Texts heard;
  FetchLog fetch{.job = job, .attempt = 1};
  for (int i = 0; i < 3 * limits::log_parts_max; ++i) {
    const std::string number = std::to_string(i) + "\n";
    logs.add(slot, ChildWrote{.job = job, .attempt = 1, .bytes = "out " + number});
    written.output += "out " + number;
    const int errors = i % 100 == 0 ? 3 : 1;
    for (int k = 0; k < errors; ++k)
      logs.add(
          slot,
          ChildWrote{
              .job = job, .attempt = 1, .stream = LogStream::error, .bytes = "error " + number});
    for (int k = 0; k < errors; ++k) written.error += "error " + number;
    if (i % 500 == 0) read_on(logs, **store, fetch, heard);
  }
  const ResultRef kept = logs.end(slot, NodeId{1}, **store);
  CHECK(kept.bytes == std::ssize(written.output) + std::ssize(written.error));
  read_on(logs, **store, fetch, heard);
  CHECK((heard.output == written.output));
  CHECK((heard.error == written.error));
}

TEST_CASE("What is held back counts among the bytes that a log holds") {
  TemporaryFolder folder;
  const auto store = ResultStore::open(folder.path(), {.bytes_max = 64 * 1024 * 1024}, noon);
  REQUIRE(store);
  RunLogs logs;
  logs.begin(slot, job, 1);
  const std::string line(200, 'x');
  for (int i = 0; i < 8'000; ++i)
    logs.add(slot, ChildWrote{.job = job,
                              .attempt = 1,
                              .stream = i % 2 == 0 ? LogStream::output : LogStream::error,
                              .bytes = line});
  const ResultRef kept = logs.end(slot, NodeId{1}, **store);
  CHECK(kept.bytes <= limits::log_bytes_max);
  Texts heard;
  FetchLog fetch{.job = job, .attempt = 1};
  read_on(logs, **store, fetch, heard);
  CHECK(heard.error.find("more bytes were written and not kept") != std::string::npos);
}

}  // namespace gpupool
