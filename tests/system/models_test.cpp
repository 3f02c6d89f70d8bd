// A model that somebody else's program saved, served as it is.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/system/pool_process.h"

namespace gpupool::test {
namespace {

using nlohmann::json;

// Ada's request; the model draws classes.
Output draw(const PoolProcess& pool, const std::string& prompt, const std::string& size) {
  return pool.gpupool(
      "ada", {"generate", prompt, "-o", (pool.folder() / (size + ".png")).string(), "--app", "tiny",
              "--guidance", "4", "--steps", "5", "--seed", "7", "--size", size, "--json"});
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("A pipeline of the diffusers package is served as it was saved, a class as its prompt") {
  const char* const source = std::getenv("GPUPOOL_SOURCE_DIR");
  REQUIRE(source != nullptr);
  PoolProcess pool({.settings = "[[apps]]\nname = \"tiny\"\nmodel = \"" + std::string(source) +
                                "/tests/gpu/golden/like_dit_xl2\"\n"});
  pool.start();
  const Output one = draw(pool, "Golden Retriever", "large");
  INFO(one.out << one.error);
  REQUIRE(one.exit_code == 0);
  const std::string png = bytes_of(pool.folder() / "large.png");
  CHECK(png.starts_with("\x89PNG"));
  // By its number, and by two ranks.
  REQUIRE(draw(pool, "207", "xlarge").exit_code == 0);
  CHECK(bytes_of(pool.folder() / "xlarge.png") == png);

  const Output none = draw(pool, "retriever", "large");
  CHECK(none.exit_code == 4);
  CHECK(none.out.find("is no class of this model") != std::string::npos);
  CHECK(none.out.find("perhaps golden retriever") != std::string::npos);
}

}  // namespace gpupool::test
