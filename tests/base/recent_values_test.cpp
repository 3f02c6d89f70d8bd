#include "base/recent_values.h"

#include <catch2/catch.hpp>

#include "base/prng.h"

using namespace gpupool;

TEST_CASE("Quantiles are by nearest rank") {
  RecentValues values(200);
  values.note(7);
  for (const std::size_t percent : {1U, 50U, 100U}) CHECK(values.quantile(percent) == 7);
  for (std::uint32_t i = 1; i < 100; ++i) values.note(7 + i);
  CHECK(values.quantile(1) == 7);
  CHECK(values.quantile(50) == 56);
  CHECK(values.quantile(99) == 105);
  CHECK(values.quantile(100) == 106);
}

TEST_CASE("The last values count, as sorting them says, whatever comes") {
  Prng random(5);
  for (const std::size_t most : {1U, 2U, 7U, 50U}) {
    RecentValues values(most);
    std::vector<std::uint32_t> all;
    for (int i = 0; i < 300; ++i) {
      const auto value = static_cast<std::uint32_t>(random.below(random.one_in(2) ? 5 : 1'000));
      values.note(value);
      all.push_back(value);
      const std::size_t kept = std::min(all.size(), most);
      std::vector<std::uint32_t> last(all.end() - static_cast<std::ptrdiff_t>(kept), all.end());
      REQUIRE(values.oldest_first() == last);
      REQUIRE(values.size() == kept);
      std::sort(last.begin(), last.end());
      const std::size_t percent = 1 + random.below(100);
      REQUIRE(values.quantile(percent) == last[(kept * percent + 99) / 100 - 1]);
    }
  }
}
