#pragma once
// Which build these programs are: the version and, when built from a git checkout, its commit and
// whether files had been changed since: "0.1.0+4f2a91c0b1d2.dirty". CMake makes the source behind
// this at every build, and rewrites it only when it says something new (cmake/build_string.cmake).

#include <string>

namespace gpupool {

const std::string& build_string();

}  // namespace gpupool
