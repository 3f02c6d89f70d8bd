#pragma once
// Where a result goes. The place is tried before the job is submitted, so that nobody pays for a
// result that can't be written, and the result appears under its name whole or not at all.

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gpupool {

// file_unwritable, with the system's words, unless a file can be made at `path`. Leaves nothing.
Status check_writable(const std::filesystem::path& path);

// A file on its way to `path`: written beside it, piece by piece, and moved there by finish(), to
// the disk and over an earlier file. Without finish() nothing is left. A device or a pipe, such as
// /dev/null, is never replaced: it gets the pieces as they come.
class OutputFile {
 public:
  static Result<std::unique_ptr<OutputFile>> open(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  Status write(std::string_view bytes);
  Status finish();

 private:
  explicit OutputFile(std::filesystem::path path);

  const std::filesystem::path path_;
  std::string name_;  // of the file beside it; empty: `path_` itself is written to
  int descriptor_ = -1;
  bool moved_ = false;
};

// A new file that only its owner may read, for secrets. file_unwritable if there is one already.
Status write_secret(const std::filesystem::path& path, std::string_view bytes);

// Writes a file beside `path`, to the disk, and moves it there. An earlier file is replaced.
Status write_whole(const std::filesystem::path& path, const std::string& bytes);

// `stem``extension` in the present folder, or `stem`-2 and so on: a name that nothing has yet.
std::filesystem::path free_name(const std::string& stem, const std::string& extension = ".png");

}  // namespace gpupool
