#include "actors/broker/observed.h"

#include <catch2/catch.hpp>

using namespace gpupool;

namespace {

const AccountId ada{"user:ada"};
const AccountId bob{"user:bob"};

}  // namespace

TEST_CASE("A likely duration is the mean of the account's last two runs, else the app's median") {
  ObservedDurations observed;
  CHECK_FALSE(observed.likely(ada, "draw"));
  observed.note(ada, "draw", seconds(100));
  CHECK(observed.likely(ada, "draw") == seconds(100));
  observed.note(ada, "draw", seconds(10));
  observed.note(ada, "draw", seconds(20));
  CHECK(observed.likely(ada, "draw") == seconds(15));
  CHECK(observed.likely(bob, "draw") == seconds(20));
  CHECK_FALSE(observed.likely(ada, "paint"));
}

TEST_CASE("Of an app the last runs count, and of accounts the latest are remembered") {
  ObservedDurations observed(2);
  for (int i = 0; i < 101; ++i) observed.note(ada, "draw", seconds(1));
  for (int i = 0; i < 101; ++i) observed.note(bob, "draw", seconds(9));
  CHECK(observed.likely({"user:new"}, "draw") == seconds(9));
  observed.note({"user:third"}, "draw", seconds(9));
  CHECK(observed.likely(ada, "draw") == seconds(9));  // forgotten: as anybody
  CHECK(observed.likely(bob, "draw") == seconds(9));
}
