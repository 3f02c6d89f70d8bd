// Where a client looks for its pool, and what it says when it finds none.
#include "net/endpoints.h"

#include <catch2/catch.hpp>

namespace gpupool {
namespace {

using Failure = Endpoints::Failure;

bool says(const std::string& text, const std::string& part) {
  INFO(text);
  return text.find(part) != std::string::npos;
}

TEST_CASE("Each endpoint says why its last attempt came to nothing") {
  Endpoints two = *Endpoints::read("tcp://a:1, tcp://b:2");
  two.pass_over(Failure::other_language);
  CHECK(two.present() == "tcp://b:2");
  two.pass_over(Failure::silent);
  CHECK(two.present() == "tcp://a:1");
  CHECK(says(two.nobody_answers(false),
             "no pool answers at tcp://a:1 or tcp://b:2: the pool at "
             "tcp://a:1 takes encrypted connections only"));
  two.pass_over(Failure::silent);
  CHECK(two.nobody_answers(false) == "no pool answers at tcp://a:1 or tcp://b:2");
}

TEST_CASE("An attempt that had no time to end leaves the reason of the one before it") {
  Endpoints one = *Endpoints::read("tcp://a:1");
  one.pass_over(Failure::no_handshake);
  one.pass_over(Failure::cut_short);
  CHECK(says(one.nobody_answers(true), "is not the pool of this --server-key"));
  one.pass_over(Failure::silent);
  CHECK(one.nobody_answers(true) == "no pool answers at tcp://a:1");
}

TEST_CASE("Text that names no endpoint is told with what an endpoint is") {
  for (const char* text : {"", ",", "tcp://", "tcp://a", "tcp://a:port", "tcp://a:1,,tcp://b:2"}) {
    INFO(text);
    const Result<Endpoints> none = Endpoints::read(text);
    REQUIRE_FALSE(none);
    CHECK(says(none.error().detail, "an endpoint is such as tcp://127.0.0.1:7400"));
  }
}

}  // namespace
}  // namespace gpupool
