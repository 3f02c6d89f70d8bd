// Where ranks listen: found out by the way to a broker, without sending anything.
#include "cli/rank_address.h"

#include <catch2/catch.hpp>

namespace gpupool {

TEST_CASE("A rank listens on the address by which this machine reaches its broker") {
  CHECK(address_towards("127.0.0.1:7401") == "127.0.0.1");
  CHECK(address_towards("localhost:7401").find_first_not_of("0123456789.:") == std::string::npos);
}

TEST_CASE("Of several brokers the first that there is a way to counts, and else the loopback") {
  CHECK(address_towards("nonsense,no.such.host.invalid:1,127.0.0.1:7401") == "127.0.0.1");
  CHECK(address_towards("no.such.host.invalid:1") == "127.0.0.1");
  CHECK(address_towards("") == "127.0.0.1");
}

TEST_CASE("The interface of an address is the one that has it") {
  CHECK(interface_of("127.0.0.1") == "lo");
  CHECK(interface_of("192.0.2.1").empty());
  CHECK(interface_of("").empty());
}

}  // namespace gpupool
