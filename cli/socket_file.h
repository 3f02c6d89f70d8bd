#pragma once
// The socket file of an "ipc://" client endpoint. What a dead daemon left is removed; one that
// somebody still answers on is never taken away from them. Any other file is left alone.

#include <string>

#include "base/result.h"

namespace gpupool {

inline constexpr unsigned socket_file_mode = 0660;

// Makes room for binding `endpoint`; nothing to do for tcp. Errors: system_failed with EADDRINUSE
// (somebody listens there), file_unwritable.
Status clear_socket_file(const std::string& endpoint);

// Takes away the file of a socket that this process bound: ZeroMQ leaves it.
void remove_socket_file(const std::string& endpoint);

// While it lives, files are made with `mode` at most. The process makes its socket under it.
class FileMode {
 public:
  explicit FileMode(unsigned mode);
  ~FileMode();
  FileMode(const FileMode&) = delete;
  FileMode& operator=(const FileMode&) = delete;

 private:
  const unsigned before_;
};

}  // namespace gpupool
