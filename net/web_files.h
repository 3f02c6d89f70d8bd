#pragma once
// The files of the page (web/), which the build puts into the program. Their text lives as long as
// the process.

#include <string_view>

namespace gpupool {

struct WebFile {
  std::string_view path;  // "/app.js"
  std::string_view media_type;
  std::string_view text;
};

// What is at this path; "/" is the page itself. Null: nothing.
const WebFile* web_file(std::string_view path);

}  // namespace gpupool
