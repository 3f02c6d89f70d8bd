#pragma once
// One example of every message of the client protocol, with no field left at its default, for the
// golden vectors and the wire tests.

#include <string>
#include <variant>
#include <vector>

#include "net/wire.h"

namespace gpupool {

struct Sample {
  std::string name;  // of its golden file
  std::variant<FromClient, ToClient> message;
};

std::vector<Sample> every_message();

}  // namespace gpupool
