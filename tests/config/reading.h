#pragma once
// What tests of configurations read: a file's text, and a text that has to be one.

#include <algorithm>
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

// config/gpupool.toml with the example that begins with this line, up to the next empty line, in
// force; the model's folder is found from anywhere.
inline std::string with_example(const std::string& first_line) {
  std::string text = text_of("config/gpupool.toml");
  const auto from = text.find("# " + first_line);
  REQUIRE(from != std::string::npos);
  const auto end = std::min(text.find("\n\n", from), text.size());
  std::string lines = text.substr(from, end - from);
  for (std::size_t at = 0; at != std::string::npos; at = lines.find("\n# ", at))
    lines.erase(lines[at] == '\n' ? at + 1 : at, 2);
  text.replace(from, end - from, lines);
  text.replace(text.find("../models/emoji"), 15,
               std::filesystem::absolute("models/emoji").string());
  return text;
}

inline Config parsed(const std::string& text, const std::filesystem::path& file = "gpupool.toml") {
  auto config = parse_config(text, file);
  INFO((config ? "" : config.error().detail));
  REQUIRE(config);
  return *std::move(config);
}

}  // namespace gpupool
