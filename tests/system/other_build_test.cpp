// One pool runs one build: a worker of another one is refused, and both sides say which they are.
#include <catch2/catch.hpp>
#include <fstream>

#include "tests/folder.h"
#include "tests/system/jobs.h"
#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using Catch::Contains;

// The daemon's program with another version written into it, beside links to the other programs.
std::filesystem::path make_other_build(const std::filesystem::path& folder,
                                       const std::string& build, const std::string& other) {
  std::filesystem::create_directory(folder);
  for (const char* name : {"gpupool-supervisor", "gpupool-diffusion"})
    std::filesystem::create_symlink(program(name), folder / name);
  std::string bytes = content_of(program("gpupoold"));
  // The compiler may have cut the text into pieces of 8 bytes and more.
  const std::string start = build.substr(0, 8);
  for (auto at = bytes.find(start); at != std::string::npos; at = bytes.find(start, at + 1))
    bytes.replace(at, start.size(), other.substr(0, 8));
  std::ofstream(folder / "gpupoold", std::ios::binary) << bytes;
  std::filesystem::permissions(folder / "gpupoold", std::filesystem::perms::owner_all);
  return folder / "gpupoold";
}

std::size_t count_of(const std::string& words, const std::string& text) {
  std::size_t count = 0;
  for (auto at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("A worker of another build is refused, and both logs name both builds") {
  PoolProcess pool({.two_processes = true, .worker_settings = one_slot});
  pool.start();
  const std::string version = pool.gpupoold({"--version"}).out;
  const std::string build = version.substr(9, version.size() - 10);
  std::string other = build;
  other[0] = other[0] == '7' ? '8' : '7';
  const auto program = make_other_build(pool.folder() / "other", build, other);
  pool.start_another_worker("node-2", {.pki = {}, .program = program});
  const std::string both = "this pool runs build " + build + ", the worker " + other;
  CHECK(pool.log_says("warning node_refused node=node-2: "));
  CHECK(pool.log_says("error refused node=node-2: the broker does not take this node: "));
  CHECK(pool.log_says("install the pool's build on this machine"));
  // Once by each, though the worker asks several times a second.
  CHECK(count_of(both, pool.log()) == 2);
  const auto client = pool.client("ada");
  submit_picture(*client, 40);
  const auto done = wait_for_end(*client);
  REQUIRE(done);
  CHECK(done->receipt.node == "node-1");
  CHECK(count_of(both, pool.log()) == 2);
}

}  // namespace gpupool::test
