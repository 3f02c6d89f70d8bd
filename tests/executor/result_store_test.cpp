#include "actors/worker/result_store.h"

#include <algorithm>

#include "config/limits.h"
#include "tests/executor/harness.h"

namespace gpupool {
namespace {

constexpr Instant noon{1'800'000'000'000};
constexpr std::int64_t block = 4096;  // what a small result counts

std::unique_ptr<ResultStore> open_store(const TemporaryFolder& folder, Instant now = noon,
                                        std::int64_t bytes_max = 100 * block) {
  auto store = ResultStore::open(folder.path(), {.keep = hours(24), .bytes_max = bytes_max}, now);
  REQUIRE(store);
  return *std::move(store);
}

std::string stored(ResultStore& store, Instant now, const std::string& bytes) {
  auto hash = store.store(now, bytes);
  REQUIRE(hash);
  return *hash;
}

bool has(const ResultStore& store, const std::string& hash) {
  return static_cast<bool>(store.read(hash, 0));
}

std::ptrdiff_t files_in(const TemporaryFolder& folder) {
  const std::filesystem::directory_iterator all{folder.path()};
  return std::distance(begin(all), end(all));
}

}  // namespace

TEST_CASE("A result is named by its SHA-256 and read back") {
  TemporaryFolder folder;
  const auto store = open_store(folder);
  const std::string hash = stored(*store, noon, "abc");
  // The example of FIPS 180-4.
  CHECK(hash == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const auto piece = store->read(hash, 0);
  REQUIRE(piece);
  CHECK(piece->bytes == "abc");
  CHECK(piece->total == 3);
}

TEST_CASE("A large result is read in pieces, and past its end there are no bytes") {
  TemporaryFolder folder;
  const auto store = open_store(folder);
  std::string bytes(static_cast<std::size_t>(limits::chunk_bytes_max) * 2 + 5, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7 / 5);
  const std::string hash = stored(*store, noon, bytes);
  std::string read;
  std::size_t pieces = 0;
  for (; read.size() < bytes.size(); ++pieces) {
    const auto piece = store->read(hash, std::ssize(read));
    REQUIRE(piece);
    REQUIRE_FALSE(piece->bytes.empty());
    CHECK(piece->total == std::ssize(bytes));
    read += piece->bytes;
  }
  CHECK(read == bytes);
  CHECK(pieces == 3);
  CHECK(store->read(hash, std::ssize(bytes))->bytes.empty());
}

TEST_CASE("Only a whole hash is a name, so no path leads out of the folder") {
  TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "results");
  std::ofstream{folder.path() / "secret"} << "secret";
  auto store = ResultStore::open(folder.path() / "results", {.bytes_max = block}, noon);
  REQUIRE(store);
  const std::string hash = stored(**store, noon, "abc");
  std::string upper = hash;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return static_cast<char>(std::toupper(c)); });
  for (const std::string& name : {std::string("../secret"), std::string(), hash + "/", upper,
                                  hash.substr(1), std::string(64, '.'), std::string(64, '\0')})
    CHECK((*store)->read(name, 0).error().code == Errc::result_gone);
  CHECK((*store)->read(hash, -1).error().code == Errc::result_gone);
}

TEST_CASE("Results survive a restart, and what an interrupted store left is swept") {
  TemporaryFolder folder;
  const std::string hash = stored(*open_store(folder), noon, "abc");
  std::ofstream{folder.path() / ("unfinished-" + hash)} << "ab";
  std::ofstream{folder.path() / "notes.txt"} << "somebody else's";
  const auto store = open_store(folder, noon + hours(1));
  CHECK(store->read(hash, 0)->bytes == "abc");
  CHECK(store->bytes() == block);
  CHECK(files_in(folder) == 2);  // the result, and what isn't ours
}

TEST_CASE("A result is kept for 24 hours, across restarts") {
  TemporaryFolder folder;
  auto store = open_store(folder);
  const std::string hash = stored(*store, noon, "abc");
  store = open_store(folder, noon + hours(24) - milliseconds(1));
  CHECK(has(*store, hash));
  store->drop_old(noon + hours(24));
  CHECK_FALSE(has(*store, hash));
  CHECK(store->bytes() == 0);
  CHECK(files_in(folder) == 0);
}

TEST_CASE("At the byte limit the oldest results go first") {
  TemporaryFolder folder;
  const auto store = open_store(folder, noon, 3 * block);
  const std::string first = stored(*store, noon, "first");
  const std::string second = stored(*store, noon + seconds(1), "second");
  const std::string third = stored(*store, noon + seconds(2), "third");
  SECTION("the oldest goes") {
    stored(*store, noon + seconds(3), "fourth");
    CHECK_FALSE(has(*store, first));
    CHECK(has(*store, second));
  }
  SECTION("a result that was made again is young again") {
    CHECK(stored(*store, noon + seconds(3), "first") == first);
    stored(*store, noon + seconds(4), "fourth");
    CHECK(has(*store, first));
    CHECK_FALSE(has(*store, second));
  }
  SECTION("a smaller limit holds after a restart") {
    const auto smaller = open_store(folder, noon + seconds(3), block);
    CHECK(has(*smaller, third));
    CHECK(smaller->bytes() == block);
  }
  CHECK(store->bytes() <= 3 * block);
}

TEST_CASE("A result that can't be kept is refused with its bytes, and the others stay") {
  TemporaryFolder folder;
  const auto store = open_store(folder, noon, 2 * block);
  const std::string kept = stored(*store, noon, "abc");
  SECTION("it is larger than the store") {
    const auto refused = store->store(noon, std::string(2 * block + 1, 'x'));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::result_not_stored);
    CHECK(refused.error().want == 2 * block + 1);
    CHECK(refused.error().have == 2 * block);
    CHECK(has(*store, kept));
  }
  SECTION("its folder is gone") {
    std::filesystem::remove_all(folder.path());
    CHECK(store->store(noon, "def").error().code == Errc::result_not_stored);
    CHECK(store->read(kept, 0).error().code == Errc::result_gone);
    // The same bytes are not taken for stored because they were once.
    CHECK(store->store(noon, "abc").error().code == Errc::result_not_stored);
  }
}

TEST_CASE("A chunk names its question and carries the bytes or the error") {
  TemporaryFolder folder;
  const auto store = open_store(folder);
  const std::string hash = stored(*store, noon, "abc");
  const FetchResult fetch{
      .session = SessionId{4}, .query = 9, .job = JobId{1}, .hash = hash, .offset = 1};
  const ResultChunk chunk = read_chunk(*store, fetch);
  CHECK(chunk.session == SessionId{4});
  CHECK(chunk.query == 9);
  CHECK(chunk.job == JobId{1});
  CHECK(chunk.offset == 1);
  CHECK(chunk.total == 3);
  CHECK(chunk.bytes == "bc");
  CHECK(chunk.error == Errc{});
  CHECK(read_chunk(*store, FetchResult{.hash = "unknown"}).error == Errc::result_gone);
}

}  // namespace gpupool
