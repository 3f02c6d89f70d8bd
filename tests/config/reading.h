#pragma once
// What tests of configurations read: a file's text, and a text that has to be one.

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "config/load.h"

namespace gpupool {

inline std::string text_of(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  REQUIRE_FALSE(text.str().empty());
  return text.str();
}

inline Config parsed(const std::string& text, const std::filesystem::path& file = "gpupool.toml") {
  auto config = parse_config(text, file);
  INFO((config ? "" : config.error().detail));
  REQUIRE(config);
  return *std::move(config);
}

}  // namespace gpupool
