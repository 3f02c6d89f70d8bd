// The text of key files: each form gives the same 32 bytes, and nothing else passes.

#include "config/key_file.h"

#include <catch2/catch.hpp>

namespace gpupool {
namespace {

// The key pair of RFC 8410, section 10, in each of its forms.
const std::string public_hex = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
const std::string public_pem =
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
    "-----END PUBLIC KEY-----\n";
const std::string secret_hex = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842";
const std::string secret_pem =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    "-----END PRIVATE KEY-----\n";

TEST_CASE("A public key is the same in hex, base64url and PEM") {
  const auto key = ed25519_public_key_in(public_hex + "\n");
  REQUIRE(key);
  CHECK(key->size() == 32);
  CHECK(ed25519_public_key_in("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE") == key);
  CHECK(ed25519_public_key_in(public_pem) == key);
}

TEST_CASE("A secret key is the same in hex, base64url and PEM") {
  const auto key = ed25519_seed(secret_hex);
  REQUIRE(key);
  CHECK(ed25519_seed("1O5y2_kTWErVttjx92n4rTr-fCjL8dT74JeojxR1WEI") != key);  // one letter off
  CHECK(ed25519_seed("1O5y2_kTWErVttjx92n4rTr-fCjL8dT74Jeoj0R1WEI") == key);
  CHECK(ed25519_seed(secret_pem) == key);
}

TEST_CASE("What is no key is none, and the two halves are not taken for each other in PEM") {
  for (const std::string& text :
       {std::string{}, std::string{"x"}, std::string(63, 'a'), std::string(65, 'a'),
        std::string(64, 'g'), std::string(42, 'A'), std::string(44, 'A'), secret_pem,
        public_pem.substr(0, 60), std::string{"-----BEGIN PUBLIC KEY-----"}}) {
    INFO(text);
    CHECK_FALSE(ed25519_public_key_in(text));
  }
  CHECK_FALSE(ed25519_seed(public_pem));
  // Bits left over behind the last byte would give one key two spellings.
  CHECK_FALSE(ed25519_public_key_in("Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuF"));
}

TEST_CASE("A CURVE key has forty characters of Z85") {
  CHECK(is_z85_key("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"));
  CHECK_FALSE(is_z85_key("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf"));
  CHECK_FALSE(is_z85_key("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]y~7"));
}

}  // namespace
}  // namespace gpupool
