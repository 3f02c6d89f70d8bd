#pragma once
// PidFile: holds this process's id while it runs, and the lock that says that it still does. A file
// that a dead process left is replaced; one that a living process holds is respected. Removed at
// the end, by the process that wrote it and no other.

#include <memory>
#include <string>

#include "actors/worker/process.h"
#include "base/result.h"

namespace gpupool {

class PidFile {
 public:
  // Errors: journal_locked (a daemon runs with this file; its id is in `detail`), file_unwritable.
  static Result<std::unique_ptr<PidFile>> take(const std::string& path);
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

 private:
  PidFile(std::string path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  const std::string path_;
  const FileDescriptor file_;
};

}  // namespace gpupool
