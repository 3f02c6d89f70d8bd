#include "cli/ready_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace gpupool {

Status write_ready_file(const std::string& path,
                        const std::vector<std::pair<std::string, std::string>>& lines) {
  const std::string temporary = path + ".new";
  errno = 0;
  std::ofstream file(temporary);
  for (const auto& [key, value] : lines)
    if (!value.empty()) file << key << " = " << value << "\n";
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0)
    return Error{.code = Errc::file_unwritable,
                 .detail = "the ready file " + path + ": " + std::strerror(errno)};
  return ok();
}

}  // namespace gpupool
